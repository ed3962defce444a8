"""Samples that wait for a slot, those of one prompt together, so that a prompt is prefilled once for all of them."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Container

from selfexec_jax.rollout.types import Request

Prompt = tuple[int, ...]


@dataclasses.dataclass
class Sequence:
    """One sample in the making: which one, of which request, and what there is of it."""

    request: Request
    number: int  # of the request in its stream
    index: int  # of the sample within its request
    tokens: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)

    @property
    def position(self) -> int:
        """Where its newest token goes in a cache."""
        return len(self.request.prompt_tokens) + len(self.tokens) - 1


class Waiting:
    """Queues by prefill bucket. Within one, prompts in the order in which they came first."""

    def __init__(self) -> None:
        self._queues: dict[int, dict[Prompt, collections.deque[tuple[int, Sequence]]]] = {}
        self._order = itertools.count()
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, bucket: int, sequence: Sequence) -> None:
        prompts = self._queues.setdefault(bucket, {})
        same = prompts.setdefault(sequence.request.prompt_tokens, collections.deque())
        same.append((next(self._order), sequence))
        self._n += 1

    def buckets(self) -> list[int]:
        """Those in which something waits, the one whose first has waited longest first."""
        first = {bucket: next(iter(prompts.values()))[0][0] for bucket, prompts in self._queues.items() if prompts}
        return sorted(first, key=first.get)

    def take(self, bucket: int, n: int, n_prompts: int, known: Container[Prompt]) -> list[Sequence]:
        """Up to n sequences of up to n_prompts prompts, either all of them `known` or none."""
        prompts = self._queues.get(bucket, {})
        taken: list[Sequence] = []
        if not prompts:
            return taken
        is_known = next(iter(prompts)) in known
        for prompt in itertools.islice(list(prompts), n_prompts):
            if len(taken) == n or (prompt in known) != is_known:
                break
            same = prompts[prompt]
            taken += [same.popleft()[1] for _ in range(min(n - len(taken), len(same)))]
            if not same:
                del prompts[prompt]
        self._n -= len(taken)
        return taken

    def drop(self, numbers: Container[int]) -> list[Sequence]:
        """Takes out all sequences of the requests with these numbers."""
        dropped: list[Sequence] = []
        for prompts in self._queues.values():
            for prompt in list(prompts):
                gone = [s for _, s in prompts[prompt] if s.number in numbers]
                if gone:
                    dropped += gone
                    prompts[prompt] = collections.deque(x for x in prompts[prompt] if x[1].number not in numbers)
                    if not prompts[prompt]:
                        del prompts[prompt]
        self._n -= len(dropped)
        return dropped
