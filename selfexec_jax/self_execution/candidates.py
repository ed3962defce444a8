"""Programs that a model writes for problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from selfexec_jax.problems import Problem
from selfexec_jax.problems.splits import program_key
from selfexec_jax.rollout import Engine, Request, Sample
from selfexec_jax.self_execution.simulate import Asking, request_seed
from selfexec_jax.tasks import solve


def candidates(
    engine: Engine, tokenizer, problems: Sequence[Problem], n: int, seed: int, asking: Asking
) -> list[list[Sample]]:
    """`n` answers a problem, in order."""
    requests = [
        Request(
            tuple(tokenizer.encode_prompt(solve.render(problem, asking.template))), n=n,
            max_new_tokens=asking.max_new_tokens, temperature=asking.temperature, top_p=asking.top_p,
            seed=request_seed(seed, "candidates", problem.id),
        )
        for problem in problems
    ]  # fmt: skip
    return engine.generate(requests)


def program_of(sample: Sample, template: str) -> str | None:
    """The program of an answer; None where it was cut off or holds none."""
    return None if sample.finish_reason != "stop" else solve.extract(sample.text, template)


def frequencies(sources: Sequence[str | None]) -> list[float]:
    """Of each candidate the share of all that are the same program but for its names; 0 for none."""
    keys = [None if source is None else program_key(source) for source in sources]
    counts = Counter(keys)
    return [0.0 if key is None else counts[key] / len(keys) for key in keys]
