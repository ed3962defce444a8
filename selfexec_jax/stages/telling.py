"""What a fix turn is told of a failing test besides its output: where the run left what is wanted, or all of it."""

from __future__ import annotations

from selfexec_jax.problems import Problem
from selfexec_jax.problems.judge import run_on
from selfexec_jax.sandbox import Execution, Run, TraceBudget
from selfexec_jax.self_execution.fix import Words
from selfexec_jax.stages.outcomes import told_of
from selfexec_jax.traces import narrate, recorded_for
from selfexec_jax.traces.departure import STYLES as TOLD
from selfexec_jax.traces.departure import departure

KINDS = ("output", "departure", "narration")


def words_of(config) -> Words | None:
    """How feedback is told by the config; None: outputs alone. Raises ValueError for a kind that there is not."""
    kind, style = config.tasks.feedback, config.tasks.style
    if kind not in KINDS:
        raise ValueError(f"tasks.feedback={kind!r} is none of {', '.join(KINDS)}")
    if kind == "output":
        return None
    if style == "direct":
        raise ValueError(f"tasks.feedback={kind}: tasks.style=direct narrates nothing to tell it from")
    if kind == "narration":
        return lambda said, wanted, source: said
    if style not in TOLD:
        raise ValueError(f"tasks.feedback=departure: tasks.style={style} does not say how values come about")
    return lambda said, wanted, source: departure(said, style, wanted, source)


def traced(config, source: str, problem: Problem, text: str) -> Run:
    """The run of a program that words are told of."""
    return run_on(source, problem, text, TraceBudget(of=recorded_for(config.tasks.style)))


def told(config, words: Words, execution: Execution, came_to: str | None, wanted: str, source: str) -> str:
    """The words on a real run that came to this; none where it was not recorded."""
    if execution.trace is None:
        return ""
    return words(narrate(told_of(config, execution.trace, came_to), config.tasks.style).text, wanted, source)
