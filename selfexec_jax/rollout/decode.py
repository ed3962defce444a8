"""The device side of the engine: prompts into caches, caches into slots, slots some tokens on.

Each function is compiled once a model, lane and shape, whatever the number of engines. They run under the mesh of a
lane (`jax.set_mesh`), whose devices share every slot: heads lie on its axis `tensor`.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from selfexec_jax.model.cache import Entry, copy_row, empty_cache, entry_of, resized, rows
from selfexec_jax.model.config import ModelConfig
from selfexec_jax.model.transformer import Transformer
from selfexec_jax.rollout.sampling import sample

FIELDS = {"token": jnp.int32, "position": jnp.int32, "left": jnp.int32, "temperature": jnp.float32,
          "top_p": jnp.float32, "top_k": jnp.int32}  # fmt: skip


def _by_heads(cache):
    """Fixes how a cache lies on the devices, so that what goes in and what comes out is of one kind."""
    return jax.tree.map(lambda a: jax.lax.with_sharding_constraint(a, P(None, "tensor")), cache)


def _whole(arrays):
    return jax.tree.map(lambda a: jax.lax.with_sharding_constraint(a, P()), arrays)


@functools.partial(jax.jit, static_argnums=(0,))
def empty_slots(n: int) -> dict[str, jax.Array]:
    """Of n idle slots, the newest token, not yet in the cache; the position where it goes; how many tokens are left
    to be decoded, 0 for an idle slot; and what its request wants of sampling."""
    plain = {name: jnp.zeros((n,), dtype) for name, dtype in FIELDS.items()}
    return _whole({"key": jnp.zeros((n, 2), jnp.uint32)} | plain)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def empty(cfg: ModelConfig, n: int, length: int, is_int8: bool) -> list[Entry]:
    """The cache of n slots of one length, an entry a layer."""
    return _by_heads(empty_cache(cfg, n, length, is_int8))


@functools.partial(jax.jit, static_argnums=(0, 3))
def prefill(model: Transformer, params: dict, tokens_RxL: jax.Array, is_int8: bool) -> list[Entry]:
    """The cache of prompts, an entry a layer. Padding is never read: it is overwritten before it is attended to."""
    found = model.apply({"params": params}, tokens_RxL, method="prefill")
    dtype = jnp.dtype(model.cfg.compute_dtype)
    return _by_heads([entry_of(k.astype(dtype), v.astype(dtype), is_int8) for k, v in found])


@functools.partial(jax.jit, donate_argnums=(0, 1))
def insert(
    cache: list[Entry], slots: dict, source: list[Entry], row_M: jax.Array, slot_M: jax.Array, place_M: jax.Array,
    count: jax.Array, new: dict,
) -> tuple[list[Entry], dict]:  # fmt: skip
    """Copies rows of `source`, prefilled prompts or shorter slots, into slots, one after the other, in place.

    Of the M places only the first `count` are meant. slot: in `cache`; place: among all slots; new: what these hold.
    """

    def one(m: jax.Array, cache: list[Entry]) -> list[Entry]:
        pairs = zip(cache, source, strict=True)
        return [copy_row(entry, given, slot_M[m], row_M[m], new["position"][m]) for entry, given in pairs]

    cache = jax.lax.fori_loop(0, count, one, cache)
    place_M = jnp.where(jnp.arange(len(place_M)) < count, place_M, len(slots["left"]))  # out of range: dropped
    slots = {name: a.at[place_M].set(new[name], mode="drop") for name, a in slots.items()}
    return _by_heads(cache), _whole(slots)


@functools.partial(jax.jit, static_argnums=(1,))
def resize(entry: Entry, size: int) -> Entry:
    """Room for `size` tokens in one layer: layer by layer, no more than one is there twice."""
    return _by_heads(resized(entry, size))


@functools.partial(jax.jit, donate_argnums=(0,))
def release(left_B: jax.Array, is_held_B: jax.Array) -> jax.Array:
    """Stops the slots that nobody holds."""
    return _whole(jnp.where(is_held_B, left_B, 0))


@functools.partial(jax.jit, static_argnums=(0, 4, 5, 7), donate_argnums=(2, 3))
def decode(
    model: Transformer, params: dict, caches: list[list[Entry]], slots: dict, lengths: tuple[int, ...],
    steps: int, until_idle: jax.Array, is_restricted: bool, end: jax.Array,
) -> tuple[list[list[Entry]], dict, jax.Array, jax.Array, jax.Array]:  # fmt: skip
    """Decodes up to `steps` tokens a slot, and no more once `until_idle` slots are idle.

    caches: of each length class, whose slots follow each other; lengths: what each has room for, and a slot that has
    reached it waits. end: the token that ends an answer. Returns caches, slots, the steps taken, tokens SxB (-1 where a
    slot was idle) and log-probabilities SxB.
    """
    room_B = np.repeat(lengths, [rows(cache) for cache in caches]).astype(np.int32)
    knobs = slots["temperature"], slots["top_p"], slots["top_k"]

    def is_active(position: jax.Array, left: jax.Array) -> jax.Array:
        return (left > 0) & (position < room_B)

    def goes_on(carry: tuple) -> jax.Array:
        t, _, _, position, left, _, _ = carry
        return (t < steps) & (jnp.sum(~is_active(position, left)) < until_idle)

    def step(carry: tuple) -> tuple:
        t, caches, token, position, left, tokens_SxB, logprobs_SxB = carry
        active = is_active(position, left)
        logits, caches = model.apply({"params": params}, token, position, active, caches, method="step")
        drawn, logprob = sample(logits, slots["key"], position, *knobs, is_restricted)
        drawn = drawn.astype(jnp.int32)
        left = jnp.where(active, jnp.where(drawn == end, 0, left - 1), left)
        token, position = jnp.where(active, drawn, token), position + active
        tokens_SxB = tokens_SxB.at[t].set(jnp.where(active, drawn, -1))
        return t + 1, caches, token, position, left, tokens_SxB, logprobs_SxB.at[t].set(logprob)

    found = jnp.full((steps, len(room_B)), -1, jnp.int32), jnp.zeros((steps, len(room_B)), jnp.float32)
    carry = (0, caches, slots["token"], slots["position"], slots["left"], *found)
    t, caches, token, position, left, *found = jax.lax.while_loop(goes_on, step, carry)
    slots = _whole(slots | {"token": token, "position": position, "left": left})
    return _by_heads(caches), slots, t, *_whole(found)
