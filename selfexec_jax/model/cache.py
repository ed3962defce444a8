"""The key/value cache of decoding: one entry a layer, so that donation updates each in place.

An entry is {"k", "v"} of shape BxKxSxH, a token at its position. A layer with a window keeps its newest tokens alone, a
token at its position modulo their number, so that for every layer what a token at position p may see are the places up
to p. As int8, the keys of a token and head share a scale, and so do its values: {"k_scale", "v_scale"}, BxKxS.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from selfexec_jax.model.attention import attend
from selfexec_jax.model.config import ModelConfig

Entry = dict[str, jax.Array]


def entry_of(k_BxKxSxH: jax.Array, v_BxKxSxH: jax.Array, is_int8: bool) -> Entry:
    """Keys and values as they are kept."""
    if not is_int8:
        return {"k": k_BxKxSxH, "v": v_BxKxSxH}
    (k, k_scale), (v, v_scale) = _quantized(k_BxKxSxH), _quantized(v_BxKxSxH)
    return {"k": k, "v": v, "k_scale": k_scale, "v_scale": v_scale}


def _quantized(x_BxKxSxH: jax.Array) -> tuple[jax.Array, jax.Array]:
    x32 = x_BxKxSxH.astype(jnp.float32)
    scale_BxKxS = jnp.maximum(jnp.max(jnp.abs(x32), axis=-1), 1e-30) / 127
    return jnp.round(x32 / scale_BxKxS[..., None]).astype(jnp.int8), scale_BxKxS


def kept(cfg: ModelConfig, layer: int, length: int) -> int:
    """Tokens that a layer keeps of `length`."""
    return min(cfg.window(layer) or length, length)


def empty_cache(cfg: ModelConfig, batch: int, length: int, is_int8: bool = False) -> list[Entry]:
    """Of each layer an entry for `batch` rows of up to `length` tokens, in the compute dtype."""

    def one(layer: int) -> Entry:
        shape = (batch, cfg.n_kv_heads, kept(cfg, layer, length), cfg.head_dim)
        return entry_of(*(jnp.zeros(shape, jnp.dtype(cfg.compute_dtype)) for _ in "kv"), is_int8)

    return [one(layer) for layer in range(cfg.n_layers)]


def rows(entries: list[Entry]) -> int:
    return entries[0]["k"].shape[0]


def write(
    entry: Entry, k_BxKx1xH: jax.Array, v_BxKx1xH: jax.Array, position_B: jax.Array, is_active_B: jax.Array
) -> Entry:
    """Puts one token a row at its place; nothing for rows that are not active."""
    B, K, S, _ = entry["k"].shape
    place_B = jnp.where(is_active_B, position_B % S, S)  # out of range: dropped
    at = jnp.arange(B)[:, None], jnp.arange(K)[None], place_B[:, None]
    new = entry_of(k_BxKx1xH, v_BxKx1xH, "k_scale" in entry)
    put = lambda old, now: old.at[at].set(now[:, :, 0].astype(old.dtype), mode="drop")  # noqa: E731
    return {name: put(entry[name], new[name]) for name in entry}


def attend_cached(
    q_BxNx1xH: jax.Array, entry: Entry, position_B: jax.Array, scale: float, cap: float
) -> jax.Array:
    """Attention of one token a row to what its row keeps, itself included. Returns BxNx1xH."""
    mask_Bx1xS = jnp.arange(entry["k"].shape[2])[None, None] <= position_B[:, None, None]
    scales = entry.get("k_scale"), entry.get("v_scale")
    return attend(q_BxNx1xH, entry["k"], entry["v"], mask_Bx1xS, scale, cap, *scales)


def resized(entry: Entry, size: int) -> Entry:
    """Room for more tokens, or for fewer where none is beyond `size`. Nothing may have been overwritten yet."""

    def one(a: jax.Array) -> jax.Array:
        more = size - a.shape[2]
        return jnp.pad(a, [(0, 0), (0, 0), (0, more)] + [(0, 0)] * (a.ndim - 3)) if more > 0 else a[:, :, :size]

    return {name: one(a) for name, a in entry.items()}


def copy_row(entry: Entry, source: Entry, slot: jax.Array, row: jax.Array, newest: jax.Array) -> Entry:
    """`entry` with a row of `source` in `slot`. newest: the position of the newest token in that row.

    Where the source is longer than what is kept, it is a prompt from its beginning, of which the end is kept.
    """
    S = entry["k"].shape[2]

    def one(old: jax.Array, new: jax.Array) -> jax.Array:
        taken = jax.lax.dynamic_slice_in_dim(new, row, 1)
        if new.shape[2] > S:
            taken = jnp.take(taken, jnp.maximum(newest - (newest - jnp.arange(S)) % S, 0), axis=2)
        return jax.lax.dynamic_update_slice(old, taken.astype(old.dtype), (slot,) + (0,) * (old.ndim - 1))

    return {name: one(entry[name], source[name]) for name in entry}
