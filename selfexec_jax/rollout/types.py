"""What an engine is asked for and what it answers."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Request:
    """`n` answers to one prompt. Sample j depends on (seed, j) and the parameters alone, up to
    the rounding of sums over caches of different lengths."""

    prompt_tokens: tuple[int, ...]
    n: int = 1
    max_new_tokens: int = 256
    temperature: float = 1.0  # 0: greedy
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    stop: tuple[str, ...] = ()  # strings that end an answer
    seed: int = 0
    deadline_s: float = 0.0  # seconds after it was handed in; what there is by then comes back. 0: none


@dataclasses.dataclass(frozen=True)
class Sample:
    """One answer: its tokens (end mark included), their log-probabilities and how it ended.

    `finish_reason`: stop; length, cut off at max_new_tokens; cancelled; deadline; or too_long, no answer because the
    prompt leaves no room for one, and `error` says so. `text` has no end mark. Log-probabilities are over the full
    vocabulary at the sampling temperature. `index`: of the sample within its request.
    """

    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: str
    params_version: int
    index: int = 0
    error: str = ""


@dataclasses.dataclass
class Counts:
    """What an engine has done so far."""

    dispatches: int = 0  # of decoding
    decoded: int = 0  # tokens
    prefilled: int = 0  # prompts
    promoted: int = 0  # sequences that moved into longer slots
    offered: int = 0  # steps of all slots while samples waited for one
    used: int = 0  # those of them that decoded a token

    def since(self, before: Counts) -> Counts:
        """What was done after `before` was."""
        return Counts(*(a - b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(before), strict=True)))

    @property
    def occupancy(self) -> float:
        """Share of the slots' steps that decoded a token, while samples waited for a slot."""
        return self.used / self.offered if self.offered else 1.0
