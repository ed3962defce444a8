"""Programs that a model writes for problems."""

from __future__ import annotations

from collections.abc import Sequence

from selfexec_jax.problems import Problem
from selfexec_jax.rollout import Engine, Request
from selfexec_jax.self_execution.simulate import Asking, request_seed
from selfexec_jax.tasks import solve


def candidates(
    engine: Engine, tokenizer, problems: Sequence[Problem], n: int, seed: int, asking: Asking
) -> list[list[str]]:
    """`n` answers a problem, as programs; one that was cut off or holds no program is left out."""
    requests = [
        Request(
            tuple(tokenizer.encode_prompt(solve.render(problem, asking.template))), n=n,
            max_new_tokens=asking.max_new_tokens, temperature=asking.temperature, top_p=asking.top_p,
            seed=request_seed(seed, "candidates", problem.id),
        )
        for problem in problems
    ]  # fmt: skip
    return [
        [source for s in samples if s.finish_reason != "length" and (source := solve.extract(s.text, asking.template))]
        for samples in engine.generate(requests)
    ]
