"""A lane: a few devices that share slots and parameters, and which sequence each slot holds.

Slots come in length classes. A class has as much cache as its longest sequence needs, in steps of the buckets; a
sequence that has filled its slot moves into a longer one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence as Several

import jax
import numpy as np
from jax.sharding import Mesh

from selfexec_jax.model.cache import kept
from selfexec_jax.model.sharding import one_at_a_time
from selfexec_jax.model.transformer import Transformer
from selfexec_jax.rollout import decode
from selfexec_jax.rollout.waiting import Prompt, Sequence


class Lane:
    """Slots on the devices of one mesh.

    slots: of each length class; longest: tokens a slot of each, growing; buckets: lengths that prompts are padded to
    and that the cache of a class may have; rows: prompts of each bucket that are prefilled at once.
    """

    def __init__(
        self, model: Transformer, mesh: Mesh, slots: Several[int], longest: Several[int], buckets: Several[int],
        rows: Several[int], is_int8: bool,
    ):  # fmt: skip
        self.mesh, self.longest = mesh, tuple(longest)
        self.held: list[list[Sequence | None]] = [[None] * n for n in slots]
        self._model, self._is_int8, self._buckets, self.params = model, is_int8, tuple(buckets), {}
        self._rows = dict(zip(buckets, rows, strict=True))
        self._lengths = [min(buckets[0], n) for n in longest]  # that the cache of each class has now
        self._prefilled: tuple[dict[Prompt, int], list] = ({}, [])  # the last prompts and their cache
        self._flight: list[jax.Array] = []
        self._prefill, self._decode = one_at_a_time(decode.prefill, mesh), one_at_a_time(decode.decode, mesh)
        with jax.set_mesh(mesh):
            self.slots = decode.empty_slots(sum(slots))
            self.caches = [
                decode.empty(model.cfg, n, length, is_int8) for n, length in zip(slots, self._lengths, strict=True)
            ]

    def drop_weights(self) -> None:
        """Forgets the weights, and prompts that were prefilled with them."""
        self.params, self._prefilled = {}, ({}, [])

    def load(self, params: dict) -> None:
        """New weights, already on this lane's devices."""
        self.drop_weights()
        self.params = params

    @property
    def known(self) -> dict[Prompt, int]:
        """Prompts whose cache is at hand."""
        return self._prefilled[0]

    def sequences(self) -> list[Sequence]:
        return [s for held in self.held for s in held if s is not None]

    def n_slots(self) -> int:
        return sum(map(len, self.held))

    def n_idle(self) -> int:
        """Slots that would not decode: free ones, and those whose sequence has filled them."""
        return self.n_slots() - len(self.sequences()) + sum(len(self._full(c)) for c in range(len(self.held)))

    def _full(self, c: int) -> list[int]:
        """Slots of a class that their sequence has filled."""
        held = enumerate(self.held[c])
        return [slot for slot, s in held if s is not None and s.position >= self.longest[c]]

    def _free(self, c: int) -> list[int]:
        return [slot for slot, s in enumerate(self.held[c]) if s is None]

    def _open(self, bucket: int) -> list[tuple[int, int]]:
        """(class, slot) where prompts of a bucket may go, short ones first; none where a sequence is to move to."""
        classes = [c for c in range(len(self.held)) if self.longest[c] >= bucket and not any(map(self._full, range(c)))]
        return [(c, slot) for c in classes for slot in self._free(c)]

    def room(self, bucket: int) -> int:
        """Free slots for prompts of a bucket."""
        return len(self._open(bucket))

    def place(self, sequences: list[Sequence], bucket: int, pad: int) -> int:
        """Puts sequences whose prompts are all in one bucket into free slots; how many prompts had to be prefilled."""
        prompts = list(dict.fromkeys(s.request.prompt_tokens for s in sequences))
        is_new = prompts[0] not in self.known
        if is_new:
            tokens_RxL = np.full((self._rows[bucket], bucket), pad, np.int32)
            for row, prompt in enumerate(prompts):
                tokens_RxL[row, : len(prompt)] = prompt
            with jax.set_mesh(self.mesh):
                cache = self._prefill(self._model, self.params, tokens_RxL, self._is_int8)
            self._prefilled = {prompt: row for row, prompt in enumerate(prompts)}, cache
        placed = zip(self._open(bucket), sequences, strict=False)
        for c, given in itertools.groupby(placed, key=lambda pair: pair[0][0]):
            given = [(slot, s) for (_, slot), s in given]
            self._grow(c, bucket)
            self._insert(c, self._prefilled[1], [(self.known[s.request.prompt_tokens], slot, s) for slot, s in given])
        return is_new * len(prompts)

    def promote(self) -> int:
        """Moves sequences that have filled their slots into longer ones where there are free ones; how many."""
        n = 0
        for c, to in itertools.combinations(range(len(self.held)), 2):
            pairs = zip(self._full(c), self._free(to), strict=False)
            moves = [(slot, free, self.held[c][slot]) for slot, free in pairs]
            if moves:
                self._grow(to, self.longest[c] + 1)
                self._insert(to, self.caches[c], moves)
                for slot, _, _ in moves:
                    self.held[c][slot] = None
                n += len(moves)
        return n

    def _insert(self, c: int, source: list, moves: list[tuple[int, int, Sequence | None]]) -> None:
        """Copies rows of a cache into slots of class c: (row, slot, sequence)."""
        n = len(self.held[c])
        row_M, slot_M = np.zeros(n, np.int32), np.zeros(n, np.int32)
        new = {name: np.zeros(n, dtype) for name, dtype in decode.FIELDS.items()}
        new["key"] = np.zeros((n, 2), np.uint32)
        for m, (row, slot, s) in enumerate(moves):
            r = s.request
            row_M[m], slot_M[m] = row, slot
            # The newest token is decoded again, so that a prefill needs no logits.
            new["token"][m], new["position"][m] = (s.tokens or r.prompt_tokens)[-1], s.position
            new["left"][m], new["temperature"][m] = r.max_new_tokens - len(s.tokens), r.temperature
            new["top_p"][m], new["top_k"][m] = r.top_p, r.top_k
            new["key"][m] = (r.seed & 0xFFFFFFFF, (r.seed >> 32 & 0xFFFFF) << 12 | s.index)
            self.held[c][slot] = s
        place_M = slot_M + sum(map(len, self.held[:c]))
        with jax.set_mesh(self.mesh):
            self.caches[c], self.slots = decode.insert(
                self.caches[c], self.slots, source, row_M, slot_M, place_M, np.int32(len(moves)), new
            )

    def _bucket(self, c: int, n: int) -> int:
        return next((b for b in self._buckets if n <= b <= self.longest[c]), self.longest[c])

    def _grow(self, c: int, n: int) -> None:
        if n > self._lengths[c]:
            self._resize(c, self._bucket(c, n))

    def _resize(self, c: int, length: int) -> None:
        with jax.set_mesh(self.mesh):
            for layer, entry in enumerate(self.caches[c]):
                self.caches[c][layer] = decode.resize(entry, kept(self._model.cfg, layer, length))
        self._lengths[c] = length

    def start(self, steps: int, until_idle: int, end: int) -> None:
        """Begins to decode, up to `steps` tokens a slot or until so many slots are idle; see `finish`."""
        for c, held in enumerate(self.held):
            needed = self._bucket(c, max((s.position + steps for s in held if s is not None), default=1))
            # Moving a cache costs as much as reading it, so it shrinks only where that pays.
            if needed > self._lengths[c] or 2 * needed <= self._lengths[c]:
                self._resize(c, needed)
        wants = [s.request for s in self.sequences()]
        self._dispatch(steps, until_idle, any(r.temperature > 0 and (r.top_p < 1 or r.top_k) for r in wants), end)

    def _dispatch(self, steps: int, until_idle: int, is_restricted: bool, end: int) -> None:
        with jax.set_mesh(self.mesh):
            self.caches, self.slots, *self._flight = self._decode(
                self._model, self.params, self.caches, self.slots, tuple(self._lengths), steps,
                np.int32(until_idle), is_restricted, np.int32(end),
            )  # fmt: skip

    def is_decoding(self) -> bool:
        return bool(self._flight)

    def is_ready(self) -> bool:
        return all(a.is_ready() for a in self._flight)

    def finish(self) -> tuple[int, int]:
        """Waits for what was begun and gives the sequences their tokens. Returns steps taken and tokens decoded."""
        steps, tokens_SxB, logprobs_SxB = (np.asarray(a) for a in self._flight)
        self._flight = []
        n_B = (tokens_SxB >= 0).sum(axis=0)  # idle steps only follow active ones
        for b, s in enumerate(itertools.chain(*self.held)):
            if s is not None:
                s.tokens += tokens_SxB[: n_B[b], b].tolist()
                s.logprobs += logprobs_SxB[: n_B[b], b].tolist()
        return int(steps), int(n_B.sum())

    def release(self, gone: list[Sequence], are_stopped: bool) -> None:
        """Frees the slots of sequences; are_stopped: some of them would decode on."""
        ids = set(map(id, gone))
        self.held = [[None if id(s) in ids else s for s in held] for held in self.held]
        if are_stopped:
            is_held_B = np.array([s is not None for s in itertools.chain(*self.held)])
            with jax.set_mesh(self.mesh):
                self.slots["left"] = decode.release(self.slots["left"], is_held_B)

    def clear(self) -> None:
        """Forgets everything that is held or under way."""
        self._flight = []
        self.release(self.sequences(), are_stopped=True)

    def warm_up(self, steps: int) -> None:
        """Compiles every function for all lengths and options, on idle slots."""
        lengths = [[b for b in self._buckets if b <= longest] for longest in self.longest]
        prompts = {}
        for bucket, rows in self._rows.items():
            with jax.set_mesh(self.mesh):
                tokens_RxL = np.zeros((rows, bucket), np.int32)
                prompts[bucket] = self._prefill(self._model, self.params, tokens_RxL, self._is_int8)
        for c, own in enumerate(lengths):
            for now, then in itertools.product(own, own):
                self._resize(c, now)
                self._resize(c, then)
            for now in own:
                self._resize(c, now)
                for bucket in (b for b in own if b <= now):
                    self._insert(c, prompts[bucket], [])
                for below in range(c):
                    if now > self.longest[below]:
                        self._resize(below, self.longest[below])
                        self._insert(c, self.caches[below], [])
        for each in itertools.product(*lengths):
            for c, now in enumerate(each):
                self._resize(c, now)
            for is_restricted in (False, True):
                self._dispatch(steps, 0, is_restricted, -1)
        self.clear()
