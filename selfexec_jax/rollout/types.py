"""What an engine is asked for and what it answers."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Request:
    """`n` answers to one prompt. Sample j depends on (seed, j) and the parameters alone."""

    prompt_tokens: tuple[int, ...]
    n: int = 1
    max_new_tokens: int = 256
    temperature: float = 1.0  # 0: greedy
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    stop: tuple[str, ...] = ()  # strings that end an answer
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Sample:
    """One answer: its tokens (end mark included), their log-probabilities and how it ended.

    `finish_reason`: stop, length or cancelled. `text` has no end mark. Log-probabilities are over the
    full vocabulary at the sampling temperature.
    """

    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: str
    params_version: int
