"""What a model thinks of tokens: their log-probabilities, and the entropy of what they were drawn from."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from selfexec_jax.model.attention import capped
from selfexec_jax.model.transformer import Transformer


def token_logprobs(logits_BxLxV: jax.Array, tokens_BxL: jax.Array, temperature: float = 1.0) -> jax.Array:
    """Log-probability of each token given those before it, over the full vocabulary; BxL, zero at position 0."""
    logits = logits_BxLxV[:, :-1].astype(jnp.float32) / temperature
    picked = jnp.take_along_axis(logits, tokens_BxL[:, 1:, None], axis=-1)[..., 0]
    return jnp.pad(picked - jax.nn.logsumexp(logits, axis=-1), ((0, 0), (1, 0)))


def entropy(logits_BxLxV: jax.Array, temperature: float = 1.0) -> jax.Array:
    """Entropy in nats of the distribution that each token was drawn from; BxL, zero at position 0."""
    log_p = jax.nn.log_softmax(logits_BxLxV[:, :-1].astype(jnp.float32) / temperature)
    return jnp.pad(-jnp.sum(jnp.exp(log_p) * log_p, axis=-1), ((0, 0), (1, 0)))


def chunked_scores(
    hidden_BxLxD: jax.Array, head_VxD: jax.Array, tokens_BxL: jax.Array, chunk: int, cap: float = 0.0,
    temperature: float = 1.0,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """`token_logprobs` and `entropy` without all logits at once: `chunk` entries of the vocabulary at a time.

    The backward pass computes a chunk's logits again. cap: see `ModelConfig.logit_cap`.
    """
    V, D = head_VxD.shape
    n = -(-V // chunk)
    heads_CxVxD = jnp.pad(head_VxD, ((0, n * chunk - V), (0, 0))).reshape(n, chunk, D)
    hidden_BxLxD, wanted_BxL = hidden_BxLxD[:, :-1], tokens_BxL[:, 1:]

    @jax.checkpoint
    def step(carry: tuple, part: tuple) -> tuple:
        top, total, weighted, picked = carry  # the largest so far; sums of exp(x - top) and of x exp(x - top)
        i, head = part
        x = jnp.einsum("bld,vd->blv", hidden_BxLxD, head, preferred_element_type=jnp.float32)
        x = capped(x, cap) / temperature
        is_real = i * chunk + jnp.arange(chunk) < V
        new = jnp.maximum(top, jax.lax.stop_gradient(jnp.where(is_real, x, -jnp.inf).max(-1)))
        e = jnp.where(is_real, jnp.exp(x - new[..., None]), 0.0)
        shrunk = jnp.exp(top - new)
        here = wanted_BxL - i * chunk
        found = jnp.take_along_axis(x, jnp.clip(here, 0, chunk - 1)[..., None], -1)[..., 0]
        picked = jnp.where((here >= 0) & (here < chunk), found, picked)
        return (new, total * shrunk + e.sum(-1), weighted * shrunk + (e * x).sum(-1), picked), None

    zeros = jnp.zeros(wanted_BxL.shape, jnp.float32)
    start = (jnp.full_like(zeros, -1e30), zeros, zeros, zeros)
    (top, total, weighted, picked), _ = jax.lax.scan(step, start, (jnp.arange(n), heads_CxVxD))
    normaliser = top + jnp.log(total)
    pad = lambda x: jnp.pad(x, ((0, 0), (1, 0)))  # noqa: E731
    return pad(picked - normaliser), pad(normaliser - weighted / total)


def scores(
    model: Transformer, params: dict, batch: dict, temperature: float = 1.0, entropy_gradient: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Log-probability and entropy of every token of a packed batch, each BxL.

    entropy_gradient: whether gradients flow through the entropy too, which costs a little more.
    """
    held = (lambda x: x) if entropy_gradient else jax.lax.stop_gradient
    given = {"params": params}, batch["tokens"], batch["positions"], batch["segments"]
    if model.cfg.vocab_chunk:
        hidden, head = model.apply(*given, method="hidden")
        c = model.cfg
        logprobs, spread = chunked_scores(hidden, head, batch["tokens"], c.vocab_chunk, c.logit_cap, temperature)
        return logprobs, held(spread)
    logits = model.apply(*given)
    return token_logprobs(logits, batch["tokens"], temperature), entropy(held(logits), temperature)
