"""What runs come to, by the config: outputs alone, or also how they end that give none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from selfexec_jax.problems import Problem
from selfexec_jax.problems.endings import ending, ending_name
from selfexec_jax.problems.judge import answer_of, limits_of, outcome_of
from selfexec_jax.sandbox import Execution, Run, SandboxPool, Trace, TraceBudget
from selfexec_jax.stages.verdicts import then
from selfexec_jax.traces import limited, recorded_for


def outcome_by(config) -> Callable[[Problem, Execution], str | None]:
    """What an execution came to, as tests, feedback and simulations are compared with it."""
    return outcome_of if config.tasks.outcomes else answer_of


def recorded(config, pool: SandboxPool, runs: Iterable[tuple[Problem, Run]]) -> list[Future[Execution]]:
    """Runs, traced as the style tells them; what is told of one that takes too long is the beginning of its trace.

    Whether it does is seen without the tracer, which slows programs down, and by the limits that judge it.
    """
    budget = TraceBudget(of=recorded_for(config.tasks.style))
    return [_recorded(config, pool, problem, run, pool.submit(dataclasses.replace(run, trace=budget)))
            for problem, run in runs]  # fmt: skip


def _recorded(config, pool: SandboxPool, problem: Problem, run: Run, traced: Future[Execution]) -> Future[Execution]:
    def seen(execution: Execution) -> Execution | Future[Execution]:
        if not config.tasks.outcomes or execution.status != "timeout" or execution.trace is None:
            return execution
        trace = told_of(config, execution.trace, ending("timeout"))
        alone = pool.submit(run, limits_of(problem, problem.public_tests + problem.private_tests))
        return then(alone, lambda real: dataclasses.replace(real, trace=trace if real.status == "timeout" else None))

    return then(traced, seen)


def told_of(config, trace: Trace, came_to: str | None) -> Trace:
    """What is told of a recorded run that came to this: of one that takes too long the beginning. Any other is told as
    far as it was recorded, though its recording alone took too long or was cut off."""
    if ending_name(came_to) != "timeout":
        return trace
    return limited(trace, config.tasks.most_rounds, config.tasks.told_rounds) or trace
