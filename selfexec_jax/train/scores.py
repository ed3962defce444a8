"""What a model thinks of tokens: their log-probabilities, and the entropy of what they were drawn from."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from selfexec_jax.model.attention import capped
from selfexec_jax.model.sharding import BATCH_ROWS, SPREAD
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
    temperature: float = 1.0, mesh: Mesh | None = None,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """`token_logprobs` and `entropy` without all logits at once: `chunk` entries of the vocabulary at a time.

    The backward pass computes a chunk's logits again. cap: see `ModelConfig.logit_cap`. On a mesh every chunk takes as
    much of each of the parts into which the vocabulary is divided, so that all devices work on every chunk.
    """
    V, D = head_VxD.shape
    T = 1 if mesh is None else mesh.shape["tensor"]  # parts of the vocabulary
    of_part = -(-chunk // T)  # entries of a part in a chunk
    n = -(-V // (of_part * T))
    held = lambda x, *spec: x if mesh is None else jax.lax.with_sharding_constraint(x, NamedSharding(mesh, P(*spec)))  # noqa: E731
    head_TxNxCxD = jnp.pad(head_VxD, ((0, n * of_part * T - V), (0, 0))).reshape(T, n, of_part, D)
    heads_NxCxD = held(head_TxNxCxD.swapaxes(0, 1).reshape(n, T * of_part, D), None, "tensor", SPREAD)
    wanted_BxL = jnp.pad(tokens_BxL[:, 1:], ((0, 0), (0, 1)))
    first_C = (jnp.arange(T)[:, None] * n * of_part + jnp.arange(of_part)).reshape(-1)  # entries of the first chunk

    @jax.checkpoint
    def step(carry: tuple, part: tuple) -> tuple:
        top, total, weighted, picked = carry  # the largest so far; sums of exp(x - top) and of x exp(x - top)
        i, head_CxD = part
        x_BxLxC = jnp.einsum("bld,cd->blc", hidden_BxLxD, head_CxD, preferred_element_type=jnp.float32)
        x_BxLxC = capped(held(x_BxLxC, BATCH_ROWS, "context", "tensor"), cap) / temperature
        entry_C = first_C + i * of_part
        is_real = entry_C < V
        new = jnp.maximum(top, jax.lax.stop_gradient(jnp.where(is_real, x_BxLxC, -jnp.inf).max(-1)))
        e_BxLxC = jnp.where(is_real, jnp.exp(x_BxLxC - new[..., None]), 0.0)
        shrunk = jnp.exp(top - new)
        picked += jnp.where(entry_C == wanted_BxL[..., None], x_BxLxC, 0.0).sum(-1)
        return (new, total * shrunk + e_BxLxC.sum(-1), weighted * shrunk + (e_BxLxC * x_BxLxC).sum(-1), picked), None

    zeros = jnp.zeros(wanted_BxL.shape, jnp.float32)
    start = (jnp.full_like(zeros, -1e30), zeros, zeros, zeros)
    (top, total, weighted, picked), _ = jax.lax.scan(step, start, (jnp.arange(n), heads_NxCxD))
    normaliser = top + jnp.log(total)
    later = lambda x: jnp.pad(x[:, :-1], ((0, 0), (1, 0)))  # noqa: E731
    return later(picked - normaliser), later(normaliser - weighted / total)


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
        rest = c.vocab_chunk, c.logit_cap, temperature, model.mesh
        logprobs, spread = chunked_scores(hidden, head, batch["tokens"], *rest)
        return logprobs, held(spread)
    logits = model.apply(*given)
    return token_logprobs(logits, batch["tokens"], temperature), entropy(held(logits), temperature)
