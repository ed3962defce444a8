"""Choosing the next token: temperature, nucleus and top-k, one random number a token."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_BISECTIONS = 30  # halvings of the threshold's logarithm: finer than float32 needs
_LOWEST = -90.0  # what float32 has no probabilities below, as a logarithm


def _threshold(p_BxV: jax.Array, reaches) -> jax.Array:
    """The largest threshold t, by bisection, for which reaches(p >= t) holds; Bx1."""
    high = jnp.log(jnp.max(p_BxV, axis=-1, keepdims=True))  # never passed, so that the likeliest token stays
    low = jnp.full_like(high, _LOWEST)

    def halve(_, bounds):
        low, high = bounds
        middle = 0.5 * (low + high)
        is_enough = reaches(p_BxV >= jnp.exp(middle))
        return jnp.where(is_enough, middle, low), jnp.where(is_enough, high, middle)

    return jnp.exp(jax.lax.fori_loop(0, _BISECTIONS, halve, (low, high))[0])


def restrict(p_BxV: jax.Array, top_p_B: jax.Array, top_k_B: jax.Array) -> jax.Array:
    """Zeroes what lies outside the smallest set of likeliest tokens that holds top_p, and outside the top_k (0: all).

    No sort: two bisections on the logarithm of the probability, which a CPU and a TPU both do fast.
    """
    mass = _threshold(p_BxV, lambda m: jnp.sum(p_BxV * m, -1, keepdims=True) >= top_p_B[:, None])
    kept = jnp.where(p_BxV >= jnp.where(top_p_B[:, None] < 1, mass, 0), p_BxV, 0)
    count = _threshold(p_BxV, lambda m: jnp.sum(m, -1, keepdims=True) >= top_k_B[:, None])
    return jnp.where(p_BxV >= jnp.where(top_k_B[:, None] > 0, count, 0), kept, 0)


def draw(p_BxV: jax.Array, uniform_B: jax.Array) -> jax.Array:
    """The token at which the running sum of each row's weights passes the share `uniform` of the whole.

    First among blocks of the vocabulary, then inside one: short sums, and little to exchange between devices that
    share a vocabulary.
    """
    B, V = p_BxV.shape
    width = min(1 << (V - 1).bit_length() // 2, 128)
    p_BxCxW = jnp.pad(p_BxV, ((0, 0), (0, -V % width))).reshape(B, -1, width)
    weight_BxC = jnp.sum(p_BxCxW, axis=-1)
    sum_BxC = jnp.cumsum(weight_BxC, axis=-1)
    wanted_Bx1 = uniform_B[:, None] * sum_BxC[:, -1:]
    block_Bx1 = _passed(sum_BxC, weight_BxC, wanted_Bx1)
    before_Bx1 = jnp.where(block_Bx1 > 0, jnp.take_along_axis(sum_BxC, jnp.maximum(block_Bx1 - 1, 0), axis=1), 0)
    p_BxW = jnp.take_along_axis(p_BxCxW, block_Bx1[..., None], axis=1)[:, 0]
    inside_Bx1 = _passed(before_Bx1 + jnp.cumsum(p_BxW, axis=-1), p_BxW, wanted_Bx1)
    return (block_Bx1 * width + inside_Bx1)[:, 0]


def _passed(sum_BxN: jax.Array, weight_BxN: jax.Array, wanted_Bx1: jax.Array) -> jax.Array:
    """Where a running sum passes what is wanted, Bx1; rounding must not carry it beyond the last that has weight."""
    last_Bx1 = weight_BxN.shape[1] - 1 - jnp.argmax(weight_BxN[:, ::-1] > 0, axis=-1, keepdims=True)
    return jnp.minimum(jnp.sum(sum_BxN <= wanted_Bx1, axis=-1, keepdims=True), last_Bx1)


def sample(
    logits_BxV: jax.Array,
    key_Bx2: jax.Array,
    position_B: jax.Array,
    temperature_B: jax.Array,
    top_p_B: jax.Array,
    top_k_B: jax.Array,
    is_restricted: bool,
) -> tuple[jax.Array, jax.Array]:
    """A token for each row, and its log-probability over the full vocabulary at the sampling temperature.

    Temperature 0 is greedy, with log-probabilities at temperature 1. A row's draw depends on its own key
    and position alone. `is_restricted` (static) says whether any row uses top_p or top_k.
    """
    is_greedy_B = temperature_B <= 0
    scaled = logits_BxV.astype(jnp.float32) / jnp.where(is_greedy_B, 1.0, temperature_B)[:, None]
    logprobs_BxV = jax.nn.log_softmax(scaled)
    p_BxV = jnp.exp(logprobs_BxV)
    if is_restricted:
        p_BxV = restrict(p_BxV, top_p_B, top_k_B)
    keys = jax.vmap(jax.random.fold_in)(jax.random.wrap_key_data(key_Bx2), position_B)
    uniform_B = jax.vmap(lambda k: jax.random.uniform(k))(keys)
    token_B = jnp.where(is_greedy_B, jnp.argmax(scaled, axis=-1), draw(p_BxV, uniform_B))
    return token_B, jnp.take_along_axis(logprobs_BxV, token_B[:, None], axis=-1)[:, 0]
