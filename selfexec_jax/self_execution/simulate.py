"""Simulated runs: the model says what a program would do, batched over a whole evaluation."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from selfexec_jax.rollout import Engine, Request
from selfexec_jax.tasks import predict


@dataclasses.dataclass(frozen=True)
class Asking:
    """How the model is asked: the template and how answers are sampled."""

    template: str = "paper"
    temperature: float = 1.0
    top_p: float = 0.95
    max_new_tokens: int = 256


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One simulated run: the predicted output (None when the answer claims none), the whole answer, and its tokens.

    Of several votes on one case the prompt is read once, so whoever adds up counts `n_prompt` once.
    """

    output: str | None
    text: str
    finish_reason: str
    n_tokens: int
    n_prompt: int


def request_seed(seed: int, *names: str) -> int:
    """A seed for one request out of the run's seed and what the request is about, whatever its place in a batch."""
    digest = hashlib.blake2b("\0".join([str(seed), *names]).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")


def simulate(
    engine: Engine,
    tokenizer,
    cases: Sequence[tuple[str, str]],
    votes: int,
    seed: int,
    asking: Asking,
    kind: str = "stdio",
) -> list[list[Prediction]]:
    """`votes` simulated runs of each case (source, stdin or call), in order; equal cases are simulated once.

    An answer that was cut off predicts nothing, nor does one to a program too long for the engine ("too_long").
    """
    distinct = list(dict.fromkeys(cases))
    requests = [
        Request(
            prompt_tokens=tuple(tokenizer.encode_prompt(predict.render(source, given, asking.template, kind))),
            n=votes,
            max_new_tokens=asking.max_new_tokens,
            temperature=asking.temperature,
            top_p=asking.top_p,
            seed=request_seed(seed, "simulate", source, given),
        )
        for source, given in distinct
    ]
    found = {
        case: [
            Prediction(
                predict.extract(s.text, kind) if s.finish_reason == "stop" else None,
                s.text,
                s.finish_reason,
                len(s.tokens),
                len(s.prompt_tokens),
            )
            for s in samples
        ]
        for case, samples in zip(distinct, engine.generate(requests), strict=True)
    }
    return [found[case] for case in cases]
