"""The key/value cache of decoding: one array a layer, so that donation updates each in place."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from selfexec_jax.model.config import ModelConfig


def empty_cache(cfg: ModelConfig, batch: int, length: int) -> list[dict[str, jax.Array]]:
    """One {"k", "v"} of shape BxKxSxH a layer, zeros in the compute dtype."""
    shape = (batch, cfg.n_kv_heads, length, cfg.head_dim)
    zeros = lambda: jnp.zeros(shape, jnp.dtype(cfg.compute_dtype))  # noqa: E731
    return [{"k": zeros(), "v": zeros()} for _ in range(cfg.n_layers)]
