"""Log-probabilities, losses and advantages: pure functions of arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def token_logprobs(logits_BxLxV: jax.Array, tokens_BxL: jax.Array, temperature: float = 1.0) -> jax.Array:
    """Log-probability of each token given those before it, over the full vocabulary; BxL, zero at position 0."""
    logits = logits_BxLxV[:, :-1].astype(jnp.float32) / temperature
    picked = jnp.take_along_axis(logits, tokens_BxL[:, 1:, None], axis=-1)[..., 0]
    return jnp.pad(picked - jax.nn.logsumexp(logits, axis=-1), ((0, 0), (1, 0)))


def entropy(logits_BxLxV: jax.Array, temperature: float = 1.0) -> jax.Array:
    """Entropy in nats of the distribution that each token was drawn from; BxL, zero at position 0."""
    log_p = jax.nn.log_softmax(logits_BxLxV[:, :-1].astype(jnp.float32) / temperature)
    return jnp.pad(-jnp.sum(jnp.exp(log_p) * log_p, axis=-1), ((0, 0), (1, 0)))


def sft_loss(logprobs_BxL: jax.Array, is_answer_BxL: jax.Array) -> jax.Array:
    """Mean negative log-probability of the answers' tokens."""
    mask = is_answer_BxL.astype(jnp.float32)
    return -jnp.sum(logprobs_BxL * mask) / jnp.maximum(jnp.sum(mask), 1.0)


def group_advantages(rewards_PxG: jax.Array, is_valid_PxG: jax.Array) -> jax.Array:
    """Reward minus the group's mean, not divided by its standard deviation (paper section 2).

    Members that the infrastructure failed leave the mean and get zero; a group with fewer than two
    valid members gets zeros.
    """
    valid = is_valid_PxG.astype(jnp.float32)
    n_Px1 = jnp.sum(valid, axis=1, keepdims=True)
    mean_Px1 = jnp.sum(rewards_PxG * valid, axis=1, keepdims=True) / jnp.maximum(n_Px1, 1.0)
    return (rewards_PxG - mean_Px1) * valid * (n_Px1 >= 2)


def clipped_policy_loss(
    logprobs_BxL: jax.Array,
    old_logprobs_BxL: jax.Array,
    advantage_BxL: jax.Array,
    is_answer_BxL: jax.Array,
    clip_low: float,
    clip_high: float,
    normaliser: float,
) -> tuple[jax.Array, jax.Array]:
    """The clipped surrogate with separate bounds, summed over tokens and divided by a fixed number.

    `normaliser` is samples x fixed length, so that long answers are not favoured (paper section 2).
    Returns the loss and the number of clipped tokens.
    """
    mask = is_answer_BxL.astype(jnp.float32)
    ratio = jnp.exp((logprobs_BxL - old_logprobs_BxL) * mask)
    clipped = jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high)
    gain = jnp.minimum(ratio * advantage_BxL, clipped * advantage_BxL)
    n_clipped = jnp.sum(mask * (clipped * advantage_BxL < ratio * advantage_BxL))
    return -jnp.sum(gain * mask) / normaliser, n_clipped
