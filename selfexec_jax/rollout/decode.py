"""The device side of the engine: prompts into caches, caches into slots, slots a few tokens on.

Each function is compiled once a model and shape, whatever the number of engines.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from selfexec_jax.model.cache import empty_cache
from selfexec_jax.model.transformer import Transformer
from selfexec_jax.rollout.sampling import sample


def empty_state(model: Transformer, n: int, cache_length: int) -> dict:
    zeros = lambda dtype: jnp.zeros((n,), dtype)  # noqa: E731
    return {
        "cache": empty_cache(model.cfg, n, cache_length),
        "token": zeros(jnp.int32),  # the newest token of a slot, not yet in the cache
        "position": zeros(jnp.int32),  # where it goes
        "left": zeros(jnp.int32),  # tokens that may still be decoded; 0: idle
        "key": jnp.zeros((n, 2), jnp.uint32),
        "temperature": jnp.ones((n,), jnp.float32),
        "top_p": jnp.ones((n,), jnp.float32),
        "top_k": zeros(jnp.int32),
    }


@functools.partial(jax.jit, static_argnums=(0,))
def prefill(model: Transformer, params: dict, tokens_RxL: jax.Array) -> list[dict]:
    """Keys and values of prompts, one {"k", "v"} RxKxLxH a layer. Padding is never read: later
    positions are overwritten before they are attended to."""
    return model.apply({"params": params}, tokens_RxL, method="prefill")


@functools.partial(jax.jit, donate_argnums=(0,))
def insert(state: dict, prefilled: list[dict], row_M: jax.Array, slot_M: jax.Array, new: dict) -> dict:
    """Copies prefilled rows into slots; slots out of range (padding) are dropped."""
    L = prefilled[0]["k"].shape[2]
    put = lambda old, rows: old.at[slot_M, :, :L].set(rows[row_M], mode="drop")  # noqa: E731
    cache = [
        {"k": put(old["k"], rows["k"]), "v": put(old["v"], rows["v"])}
        for old, rows in zip(state["cache"], prefilled, strict=True)
    ]
    rest = {name: state[name].at[slot_M].set(values, mode="drop") for name, values in new.items()}
    return {"cache": cache} | rest


@functools.partial(jax.jit, static_argnums=(0, 3, 4, 5, 6), donate_argnums=(2,))
def decode(
    model: Transformer, params: dict, state: dict, end: int, steps: int, view: int, is_restricted: bool
) -> tuple[dict, jax.Array, jax.Array]:
    """Decodes up to `steps` tokens a slot, over the first `view` cache positions.

    Returns the state, tokens SxB (-1 where a slot was idle) and log-probabilities SxB.
    """
    index_S = jnp.arange(view)
    full = state["cache"]
    short = [{k: v[:, :, :view] for k, v in entry.items()} for entry in full]

    def step(carry: tuple, _) -> tuple:
        cache, token, position, left = carry
        is_active = left > 0
        mask = index_S[None, None, :] <= position[:, None, None]
        logits, cache = model.apply({"params": params}, token[:, None], position[:, None], cache, mask, method="extend")
        knobs = (state["temperature"], state["top_p"], state["top_k"])
        drawn, logprob = sample(logits[:, 0], state["key"], position, *knobs, is_restricted)
        drawn = drawn.astype(jnp.int32)
        left = jnp.where(is_active, jnp.where(drawn == end, 0, left - 1), 0)
        token = jnp.where(is_active, drawn, token)
        position = jnp.where(is_active, jnp.minimum(position + 1, view - 1), position)
        return (cache, token, position, left), (jnp.where(is_active, drawn, -1), logprob)

    carry = (short, state["token"], state["position"], state["left"])
    carry, (tokens_SxB, logprobs_SxB) = jax.lax.scan(step, carry, None, length=steps)
    short, token, position, left = carry
    cache = [
        {k: jax.lax.dynamic_update_slice(whole[k], part[k], (0, 0, 0, 0)) for k in whole}
        for whole, part in zip(full, short, strict=True)
    ]
    state = state | {"cache": cache, "token": token, "position": position, "left": left}
    return state, tokens_SxB, logprobs_SxB
