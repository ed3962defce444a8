"""Continuous batching: finished sequences are replaced while the others decode.

An engine drives the local devices of one host in lanes: one device each, or a few that share heads and weights. Lanes
have slots and parameters of their own and never wait for each other. A prompt is prefilled once a lane and its cache
copied into the slots of all its samples. Many tokens are decoded a dispatch, on the device, in one compiled loop, which
ends early when slots are to be refilled.
"""

from __future__ import annotations

import functools
import heapq
import time
from collections.abc import Iterator
from collections.abc import Sequence as Several

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from selfexec_jax.model.decoding import decoding_config, decoding_params, decoding_shardings
from selfexec_jax.model.sharding import make_mesh
from selfexec_jax.model.transformer import Transformer
from selfexec_jax.rollout.lane import Lane
from selfexec_jax.rollout.types import Counts, Request, Sample
from selfexec_jax.rollout.waiting import Sequence, Waiting

_POLL_S = 1e-4  # between looks at lanes of which none is ready


class Engine:
    """Answers requests with one model.

    slots: sequences decoded at once, over all local devices. cache_length: tokens of a slot, prompt and answer.
    short_slots: (how many, tokens each) of slots that are shorter; sequences that fill them move into longer ones.
    prompt_buckets: lengths that prompts are padded to, and that caches grow by. prefill_tokens: prompts times their
    bucket that are prefilled at once. tensor: devices that share a sequence. int8_cache: keys and values in 8 bits.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer,
        slots: int = 64,
        cache_length: int = 512,
        short_slots: Several[tuple[int, int]] = (),
        prompt_buckets: Several[int] = (64, 128, 256),
        prefill_tokens: int = 1024,
        steps_per_dispatch: int = 16,
        tensor: int = 1,
        int8_cache: bool = False,
        devices: Several | None = None,
    ):
        everywhere = list(devices or sorted(jax.devices(), key=lambda d: (d.process_index, d.id)))
        n_lanes, rest = divmod(sum(d.process_index == jax.process_index() for d in everywhere), tensor)
        if rest or not n_lanes:
            raise ValueError(f"rollout.tensor={tensor} does not divide a host's devices")
        classes = sorted(short_slots, key=lambda c: c[1])
        classes.append((slots - sum(n for n, _ in classes), cache_length))
        counts, longest = zip(*classes, strict=True)
        if min(counts) < 1 or len(set(longest)) < len(longest) or max(longest) > cache_length:
            raise ValueError(
                f"rollout.short_slots={tuple(short_slots)}: slots of different lengths below"
                f" rollout.cache_length={cache_length}, fewer in all than rollout.slots={slots}"
            )
        if any(n % n_lanes for n in counts):
            raise ValueError(f"rollout.slots={slots} does not divide over {n_lanes} lanes (short_slots {short_slots})")
        self._tokenizer, self._cache_length, self._prefill_tokens = tokenizer, cache_length, prefill_tokens
        self._buckets = sorted({b for b in prompt_buckets if b < cache_length} | set(longest))
        self._steps = steps_per_dispatch
        cfg = decoding_config(model.cfg, tensor)
        self._prepare = jax.jit(functools.partial(decoding_params, cfg=model.cfg, tensor=tensor))
        # A mesh may order its devices as their links ask for, so a lane's order is that of its mesh everywhere.
        groups = [everywhere[i : i + tensor] for i in range(0, len(everywhere), tensor)]
        meshes = [make_mesh(tensor=tensor, devices=group) for group in groups]
        apart = dict.fromkeys(tuple(m.devices.flat) for m in meshes)  # lanes may share devices
        self._all_lanes = Mesh(np.array(list(apart)).reshape(-1, tensor), ("lane", "tensor"))
        self.lanes = []
        own, rows = [n // n_lanes for n in counts], [self._rows(bucket) for bucket in self._buckets]
        for mesh in (m for m in meshes if m.devices.flat[0].process_index == jax.process_index()):
            self.lanes.append(Lane(Transformer(cfg, mesh), mesh, own, longest, self._buckets, rows, int8_cache))
        self._version = -1
        self.counts = Counts()
        self._reset()

    def _reset(self) -> None:
        self._waiting, self._is_running = Waiting(), False
        self._requests: list[Request] = []
        self._ended: dict[int, str] = {}  # requests that are to end before their time, and why
        self._deadlines: list[tuple[float, int]] = []
        self._refused: list[int] = []

    def load(self, params: dict, version: int) -> Engine:
        """Takes new weights without recompiling; samples carry `version`. Of several hosts, all must call it."""
        params = self._prepare(params)  # where they are, so that what travels is small
        for lane in self.lanes:
            lane.drop_weights()  # the old ones and the new ones need not fit together
        params = jax.device_put(params, decoding_shardings(params, self._all_lanes))
        for lane in self.lanes:
            lane.load(jax.tree.map(functools.partial(_on_lane, lane.mesh), params))
        self._version = version
        return self

    def generate(self, requests: Several[Request]) -> list[list[Sample]]:
        """All samples of all requests, in order."""
        answers: list[list[Sample]] = [[] for _ in requests]
        for i, sample in self.stream(requests):
            answers[i].append(sample)
        return [sorted(found, key=lambda sample: sample.index) for found in answers]

    def stream(self, requests: Several[Request]) -> Iterator[tuple[int, Sample]]:
        """Samples as they are finished, each with the number of its request.

        Requests handed in by `submit` while it runs are answered too, numbered on. A prompt that leaves no room for
        its answer comes back as `too_long`. Raises ValueError for what is no request, before anything is decoded.
        """
        if self._version < 0:
            raise ValueError("the engine has no weights: call load(params, version) first")
        self._check_free()
        for i, request in enumerate(requests):
            _check(i, request)
        return self._run(requests)

    def _check_free(self) -> None:
        if self._is_running:
            raise RuntimeError("the engine answers a stream already: end it, or hand requests to it with submit")

    def submit(self, request: Request) -> int:
        """Adds a request to the running stream and returns its number there."""
        if not self._is_running:
            raise RuntimeError("no stream is running: begin one with stream(requests)")
        _check(len(self._requests), request)
        return self._add(request)

    def cancel(self, i: int) -> None:
        """Ends request i of the running stream; what was decoded of it comes back as `cancelled`."""
        if not self._is_running:
            raise RuntimeError("no stream is running: there is nothing to cancel")
        self._ended.setdefault(i, "cancelled")

    def warm_up(self) -> Engine:
        """Compiles all that any request may need, which takes long for many buckets; else each is compiled when met."""
        for lane in self.lanes:
            lane.warm_up(self._steps)
        return self

    def _add(self, request: Request) -> int:
        i, n = len(self._requests), len(request.prompt_tokens)
        self._requests.append(request)
        if n + request.max_new_tokens > self._cache_length:
            self._refused.append(i)
            return i
        if request.deadline_s:
            heapq.heappush(self._deadlines, (time.monotonic() + request.deadline_s, i))
        for j in range(request.n):
            self._waiting.add(self._bucket(n), Sequence(request, i, j))
        return i

    def _bucket(self, n: int) -> int:
        return next(b for b in self._buckets if b >= n)

    def _rows(self, bucket: int) -> int:
        """Prompts of a bucket that are prefilled at once."""
        return max(1, self._prefill_tokens // bucket)

    def _run(self, requests: Several[Request]) -> Iterator[tuple[int, Sample]]:
        self._check_free()  # another stream may have begun before this one was first asked
        self._is_running = True
        try:
            for request in requests:
                self._add(request)
            while True:
                yield from self._without_decoding()
                for lane in self.lanes:
                    if not lane.is_decoding():
                        self._start(lane)
                if not any(lane.is_decoding() for lane in self.lanes):
                    if self._waiting or self._refused:  # handed in meanwhile
                        continue
                    return
                yield from self._collect(self._first_ready())
        finally:  # an abandoned stream leaves no sequence behind
            for lane in self.lanes:
                lane.clear()
            self._reset()

    def _without_decoding(self) -> Iterator[tuple[int, Sample]]:
        """What ends before it has a slot: prompts that do not fit, what was cancelled or came too late."""
        while self._refused:
            i = self._refused.pop()
            request = self._requests[i]
            error = (
                f"request {i}: a prompt of {len(request.prompt_tokens)} and {request.max_new_tokens} new tokens do not"
                f" fit rollout.cache_length={self._cache_length}"
            )
            for j in range(request.n):
                yield i, Sample(request.prompt_tokens, (), (), "", "too_long", self._version, j, error)
        while self._deadlines and self._deadlines[0][0] <= time.monotonic():
            self._ended.setdefault(heapq.heappop(self._deadlines)[1], "deadline")
        if self._ended and self._waiting:
            for sequence in self._waiting.drop(self._ended):
                yield sequence.number, self._sample(sequence, self._ended[sequence.number])

    def _start(self, lane: Lane) -> None:
        """Refills a lane's slots, if enough are free for a prefill to be worth its while, and lets it decode."""
        self.counts.promoted += lane.promote()
        wanted = self._wanted(lane)
        if self._waiting and (lane.n_idle() >= wanted or not lane.sequences()):
            for bucket in self._waiting.buckets():
                while room := lane.room(bucket):
                    sequences = self._waiting.take(bucket, room, self._rows(bucket), lane.known)
                    if not sequences:
                        break
                    self.counts.prefilled += lane.place(sequences, bucket, self._tokenizer.pad_id)
        if lane.sequences():
            until_idle = lane.n_slots()
            if self._waiting:
                until_idle = min(max(self._wanted(lane), lane.n_idle() + 1), until_idle)
            lane.start(self._steps, until_idle, self._tokenizer.end_id)

    def _wanted(self, lane: Lane) -> int:
        """Idle slots at which a lane is refilled: a prefill costs the same for one prompt as for a few."""
        bucket = next(iter(self._waiting.buckets()), self._buckets[0])
        return max(1, min(self._rows(bucket), lane.n_slots() // 8, len(self._waiting)))

    def _first_ready(self) -> Lane:
        decoding = [lane for lane in self.lanes if lane.is_decoding()]
        while len(decoding) > 1:
            for lane in decoding:
                if lane.is_ready():
                    return lane
            time.sleep(_POLL_S)
        return decoding[0]

    def _collect(self, lane: Lane) -> Iterator[tuple[int, Sample]]:
        steps, decoded = lane.finish()
        self.counts.dispatches += 1
        self.counts.decoded += decoded
        if self._waiting:
            self.counts.offered += steps * lane.n_slots()
            self.counts.used += decoded
        ended = [(s, reason) for s in lane.sequences() if (reason := self._finish_reason(s)) is not None]
        are_stopped = any(reason not in ("stop", "length") for _, reason in ended)
        lane.release([s for s, _ in ended], are_stopped)
        for sequence, reason in ended:
            yield sequence.number, self._sample(sequence, reason)

    def _finish_reason(self, s: Sequence) -> str | None:
        if self._stops(s):
            return "stop_string"  # before the end mark, which may have come in the same dispatch
        if s.tokens and s.tokens[-1] == self._tokenizer.end_id:
            return "stop"
        if len(s.tokens) >= s.request.max_new_tokens:
            return "length"
        return self._ended.get(s.number)

    def _stops(self, s: Sequence) -> bool:
        """Whether a stop string is in what was decoded last; a token that shows adds at least a byte."""
        if not s.request.stop:
            return False
        decode, stop = self._tokenizer.decode, s.request.stop
        tail = self._steps + max(len(x.encode()) for x in stop) + 8
        return all(any(x in decode(tokens) for x in stop) for tokens in (s.tokens[-tail:], s.tokens))

    def _sample(self, s: Sequence, reason: str) -> Sample:
        tokens, logprobs = s.tokens, s.logprobs
        if reason == "stop_string":  # keep the shortest prefix that holds a stop string
            decode, stop = self._tokenizer.decode, s.request.stop
            n = next(n for n in range(1, len(tokens) + 1) if any(x in decode(tokens[:n]) for x in stop))
            tokens, logprobs, reason = tokens[:n], logprobs[:n], "stop"
        text = self._tokenizer.decode(t for t in tokens if t != self._tokenizer.end_id)
        prompt = s.request.prompt_tokens
        return Sample(prompt, tuple(tokens), tuple(logprobs), text, reason, self._version, s.index)


def _on_lane(mesh: Mesh, array: jax.Array) -> jax.Array:
    """What lies on a lane's devices, as an array of its own."""
    parts = {s.device: s.data for s in array.addressable_shards}
    sharding = NamedSharding(mesh, array.sharding.spec)
    return jax.make_array_from_single_device_arrays(array.shape, sharding, [parts[d] for d in mesh.devices.flat])


def _check(i: int, request: Request) -> None:
    if not request.prompt_tokens or request.max_new_tokens < 1 or request.n < 1:
        raise ValueError(f"request {i}: needs a prompt, max_new_tokens and n of at least 1")
