"""Continuous batching: finished sequences are replaced while the others decode.

An engine drives the local devices of one host, each with slots and parameters of its own (a lane), so
that no device waits for another inside a step. A prompt is prefilled once and its cache copied into the
slots of all its samples. Many tokens are decoded a dispatch, on the device, in one compiled loop.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from selfexec_jax.model.transformer import Transformer, for_sampling
from selfexec_jax.rollout import decode
from selfexec_jax.rollout.types import Request, Sample


@dataclasses.dataclass
class _Sequence:
    """One sample in the making, on the host."""

    request: int
    index: int  # of the sample within its request
    tokens: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)


def _is_restricted(request: Request) -> bool:
    """Whether top_p or top_k matter; a greedy choice is the same without them."""
    return request.temperature > 0 and (request.top_p < 1 or request.top_k > 0)


class _Lane:
    """One device with its slots: the device state, and which sequence each slot holds."""

    def __init__(self, device, n_slots: int):
        self.device = device
        self.params = None
        self.state: dict = {}
        self.held: list[_Sequence | None] = [None] * n_slots

    def free(self) -> list[int]:
        return [slot for slot, held in enumerate(self.held) if held is None]


class Engine:
    """Answers requests with one model. `slots` are divided over the local devices.

    Raises ValueError for a prompt that leaves no room in `cache_length`, before anything is decoded.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer,
        slots: int = 64,
        cache_length: int = 512,
        prompt_buckets: Sequence[int] = (64, 128, 256),
        prefill_rows: int = 16,
        steps_per_dispatch: int = 16,
        devices: Sequence | None = None,
    ):
        devices = jax.local_devices() if devices is None else devices
        if slots % len(devices):
            raise ValueError(f"rollout.slots={slots} does not divide over {len(devices)} devices")
        # Adapters are merged and weights cast when they are loaded, not at every step.
        self._model = Transformer(dataclasses.replace(model.cfg, lora_rank=0, scan_layers=False, remat="none"))
        self._prepare = jax.jit(functools.partial(for_sampling, cfg=model.cfg))
        self._is_ready = not model.cfg.lora_rank and model.cfg.compute_dtype == "float32"
        self._tokenizer = tokenizer
        self._cache_length, self._prefill_rows = cache_length, prefill_rows
        self._buckets = sorted(b for b in prompt_buckets if b < cache_length) + [cache_length]
        self._steps = steps_per_dispatch
        self._lanes = [_Lane(device, slots // len(devices)) for device in devices]
        self._version = -1
        self._cancelled: set[int] = set()
        self.dispatches = 0  # decode dispatches so far: the clock of a run
        for lane in self._lanes:
            with jax.default_device(lane.device):
                lane.state = jax.device_put(decode.empty_state(self._model, len(lane.held), cache_length), lane.device)

    def load(self, params: dict, version: int) -> Engine:
        """Takes new weights without recompiling; samples carry `version`."""
        params = params if self._is_ready else self._prepare(params)
        for lane in self._lanes:
            lane.params = jax.device_put(params, lane.device)
        self._version = version
        return self

    def generate(self, requests: Sequence[Request]) -> list[list[Sample]]:
        """All samples of all requests, in order."""
        answers: list[dict[int, Sample]] = [{} for _ in requests]
        for i, j, done in self._run(requests):
            answers[i][j] = done
        return [[found[j] for j in sorted(found)] for found in answers]

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, Sample]]:
        """Samples as they are finished, each with the index of its request."""
        for i, _, done in self._run(requests):
            yield i, done

    def cancel(self, i: int) -> None:
        """Ends request i of the running stream; what was decoded of it comes back as `cancelled`."""
        self._cancelled.add(i)

    def fits(self, n_prompt: int, max_new_tokens: int) -> bool:
        """Whether a prompt of so many tokens leaves room for its answer."""
        return n_prompt + max_new_tokens <= self._cache_length

    def _check(self, requests: Sequence[Request]) -> None:
        for i, request in enumerate(requests):
            n = len(request.prompt_tokens)
            if not n or request.max_new_tokens < 1 or request.n < 1:
                raise ValueError(f"request {i}: needs a prompt, max_new_tokens and n of at least 1")
            if not self.fits(n, request.max_new_tokens):
                raise ValueError(
                    f"request {i}: a prompt of {n} and {request.max_new_tokens} new tokens do not fit"
                    f" rollout.cache_length={self._cache_length}"
                )

    def _run(self, requests: Sequence[Request]) -> Iterator[tuple[int, int, Sample]]:
        self._check(requests)
        if self._version < 0:
            raise ValueError("the engine has no weights: call load(params, version) first")
        self._cancelled.clear()
        waiting = collections.deque((i, j) for i, r in enumerate(requests) for j in range(r.n))
        try:
            while waiting or any(held for lane in self._lanes for held in lane.held):
                for lane in self._lanes:
                    self._fill(lane, waiting, requests)
                started = [(lane, *self._dispatch(lane, requests)) for lane in self._lanes if any(lane.held)]
                for lane, tokens, logprobs in started:
                    yield from self._collect(lane, np.asarray(tokens), np.asarray(logprobs), requests)
        finally:  # an abandoned stream leaves no sequence behind
            for lane in self._lanes:
                lane.held = [None] * len(lane.held)
                lane.state["left"] = jnp.zeros_like(lane.state["left"])

    def _fill(self, lane: _Lane, waiting: collections.deque, requests: Sequence[Request]) -> None:
        """Puts waiting sequences into free slots, a prefill of a few distinct prompts at a time.

        A busy lane waits until enough slots are free: a prefill costs the same for one prompt as for many.
        """
        free = lane.free()
        if len(free) < min(self._prefill_rows, len(lane.held)) and any(lane.held) and len(free) < len(waiting):
            return
        while free and waiting:
            bucket = self._bucket(len(requests[waiting[0][0]].prompt_tokens))
            rows: dict[tuple[int, ...], int] = {}
            taken: list[tuple[int, int, int]] = []  # (row, request, sample)
            while waiting and len(taken) < len(free):
                i, j = waiting[0]
                prompt = requests[i].prompt_tokens
                if prompt not in rows:
                    if len(rows) == self._prefill_rows or self._bucket(len(prompt)) != bucket:
                        break
                    rows[prompt] = len(rows)
                taken.append((rows[prompt], i, j))
                waiting.popleft()
            slots, free = free[: len(taken)], free[len(taken) :]
            self._place(lane, bucket, list(rows), taken, slots, requests)

    def _bucket(self, n: int) -> int:
        return next(b for b in self._buckets if b >= n)

    def _place(self, lane: _Lane, bucket: int, prompts: list, taken: list, slots: list, requests) -> None:
        tokens = np.full((self._prefill_rows, bucket), self._tokenizer.pad_id, np.int32)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = prompt
        n = len(lane.held)
        row_M, slot_M = np.zeros(n, np.int32), np.full(n, n, np.int32)
        fields = {"token": np.int32, "position": np.int32, "left": np.int32, "top_k": np.int32,
                  "temperature": np.float32, "top_p": np.float32}  # fmt: skip
        new = {name: np.zeros(n, dtype) for name, dtype in fields.items()} | {"key": np.zeros((n, 2), np.uint32)}
        for m, ((row, i, j), slot) in enumerate(zip(taken, slots, strict=True)):
            request = requests[i]
            row_M[m], slot_M[m] = row, slot
            # The last prompt token is decoded again, so that a prefill needs no logits.
            new["token"][m], new["position"][m] = request.prompt_tokens[-1], len(request.prompt_tokens) - 1
            new["left"][m], new["temperature"][m] = request.max_new_tokens, request.temperature
            new["top_p"][m], new["top_k"][m] = request.top_p, request.top_k
            new["key"][m] = (request.seed & 0xFFFFFFFF, (request.seed >> 32 & 0xFFFFF) << 12 | j)
            lane.held[slot] = _Sequence(i, j)
        prefilled = decode.prefill(self._model, lane.params, jax.device_put(tokens, lane.device))
        lane.state = decode.insert(lane.state, prefilled, row_M, slot_M, new)

    def _dispatch(self, lane: _Lane, requests: Sequence[Request]) -> tuple[jax.Array, jax.Array]:
        held = [s for s in lane.held if s is not None]
        longest = max(len(requests[s.request].prompt_tokens) + len(s.tokens) for s in held)
        view = self._bucket(min(longest + self._steps, self._cache_length))
        is_restricted = any(_is_restricted(requests[s.request]) for s in held)
        end = self._tokenizer.end_id
        lane.state, tokens, logprobs = decode.decode(
            self._model, lane.params, lane.state, end, self._steps, view, is_restricted
        )
        self.dispatches += 1
        return tokens, logprobs

    def _collect(self, lane: _Lane, tokens_SxB, logprobs_SxB, requests) -> Iterator[tuple[int, int, Sample]]:
        for slot, held in enumerate(lane.held):
            if held is None:
                continue
            request = requests[held.request]
            n = int((tokens_SxB[:, slot] >= 0).sum())  # idle steps only follow active ones
            held.tokens += tokens_SxB[:n, slot].tolist()
            held.logprobs += logprobs_SxB[:n, slot].tolist()
            reason = self._finish_reason(held, request)
            if reason is not None:
                lane.held[slot] = None
                if reason in ("cancelled", "stop_string"):
                    lane.state["left"] = lane.state["left"].at[slot].set(0)
                yield held.request, held.index, self._sample(held, request, reason)

    def _finish_reason(self, held: _Sequence, request: Request) -> str | None:
        if request.stop and any(s in self._tokenizer.decode(held.tokens) for s in request.stop):
            return "stop_string"  # before the end mark, which may have come in the same dispatch
        if held.tokens and held.tokens[-1] == self._tokenizer.end_id:
            return "stop"
        if len(held.tokens) >= request.max_new_tokens:
            return "length"
        return "cancelled" if held.request in self._cancelled else None

    def _sample(self, held: _Sequence, request: Request, reason: str) -> Sample:
        tokens, logprobs = held.tokens, held.logprobs
        if reason == "stop_string":  # keep the shortest prefix that holds a stop string
            decode = self._tokenizer.decode
            n = next(n for n in range(1, len(tokens) + 1) if any(s in decode(tokens[:n]) for s in request.stop))
            tokens, logprobs, reason = tokens[:n], logprobs[:n], "stop"
        text = self._tokenizer.decode(t for t in tokens if t != self._tokenizer.end_id)
        return Sample(request.prompt_tokens, tuple(tokens), tuple(logprobs), text, reason, self._version)
