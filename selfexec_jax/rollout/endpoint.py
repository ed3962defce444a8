"""A served model behind the engine's `generate`.

It takes messages, not tokens, so `Chat` stands where a tokenizer would: its ids are the bytes of the messages.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from selfexec_jax.problems.served import Served
from selfexec_jax.rollout.types import Request, Sample

_SEEDS = 1 << 31  # endpoints take seeds below this


class Chat:
    """Stands for the tokenizer of a model whose tokens are its server's own business."""

    def encode_prompt(self, messages: list[dict[str, str]]) -> list[int]:
        """The bytes of the messages as JSON."""
        return list(json.dumps(messages).encode())


class Endpoint:
    """Answers requests by asking a server, several at a time; fields and errors as `Served`.

    The endpoint says how many tokens an answer has, not which: `Sample.tokens` holds so many zeros.
    """

    def __init__(
        self, url: str, model: str, file: Path | None = None, at_once: int = 16, timeout_s: float = 600.0,
        retries: int = 8,
    ):  # fmt: skip
        self._served = Served(url, model, file, at_once, timeout_s, retries)

    def generate(self, requests: Sequence[Request]) -> list[list[Sample]]:
        """The samples of every request, in order. Raises RuntimeError where the server does not answer."""
        rows = iter(self._served.answers(_asked(request, j) for request in requests for j in range(request.n)))
        return [[_sample(request, j, next(rows)) for j in range(request.n)] for request in requests]


def _asked(request: Request, j: int) -> dict:
    return {
        "messages": json.loads(bytes(request.prompt_tokens)), "temperature": request.temperature,
        "top_p": request.top_p, "max_tokens": request.max_new_tokens, "seed": (request.seed + j) % _SEEDS,
        **({"stop": list(request.stop)} if request.stop else {}),
        **({"extra_body": {"top_k": request.top_k}} if request.top_k else {}),
    }  # fmt: skip


def _sample(request: Request, j: int, row: dict) -> Sample:
    return Sample(request.prompt_tokens, (0,) * row["n_tokens"], (), row["text"], row["finish_reason"], 0, j)
