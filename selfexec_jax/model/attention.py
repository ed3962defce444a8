"""Causal attention inside the segments of packed rows: plain XLA, or the splash kernel of TPUs; on any mesh.

Letters in array names as in transformer.py. Plain XLA is the reference. On a mesh with a `context` axis a row is
divided over devices: each has the queries of two pieces, one from the front and its mirror image from the back, so that
all have the same causal work, and the keys and values of the whole row, gathered (zigzag, as in Llama 3's training).
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from selfexec_jax.model.config import ModelConfig
from selfexec_jax.model.sharding import BATCH, BATCH_ROWS

_MASKED = -1e30
_SPLASH_BLOCK = 512  # queries and keys that the kernel works on at a time


def capped(x: jax.Array, cap: float) -> jax.Array:
    """x, kept smoothly between -cap and cap; unchanged for 0."""
    return cap * jnp.tanh(x / cap) if cap else x


def attend(
    q_BxNxLxH: jax.Array, k_BxKxSxH: jax.Array, v_BxKxSxH: jax.Array, mask_BxLxS: jax.Array, scale: float,
    cap: float = 0.0, k_scale_BxKxS: jax.Array | None = None, v_scale_BxKxS: jax.Array | None = None,
) -> jax.Array:  # fmt: skip
    """Attention with grouped queries; a key/value head's queries are one matrix product. Returns BxNxLxH.

    k_scale, v_scale: what keys and values are to be multiplied by, where they are integers (cache.py).
    """
    B, N, L, H = q_BxNxLxH.shape
    K, S = k_BxKxSxH.shape[1:3]
    G = N // K
    q_BxKxGLxH = q_BxNxLxH.reshape(B, K, G * L, H) * scale
    k_BxKxSxH, v_BxKxSxH = k_BxKxSxH.astype(q_BxNxLxH.dtype), v_BxKxSxH.astype(q_BxNxLxH.dtype)
    scores_BxKxGLxS = jnp.einsum("bkqh,bksh->bkqs", q_BxKxGLxH, k_BxKxSxH, preferred_element_type=jnp.float32)
    if k_scale_BxKxS is not None:
        scores_BxKxGLxS *= k_scale_BxKxS[:, :, None]
    mask_Bx1xGLxS = jnp.tile(mask_BxLxS, (1, G, 1))[:, None]
    weights = jax.nn.softmax(jnp.where(mask_Bx1xGLxS, capped(scores_BxKxGLxS, cap), _MASKED), axis=-1)
    if v_scale_BxKxS is not None:
        weights *= v_scale_BxKxS[:, :, None]
    out = jnp.einsum("bkqs,bksh->bkqh", weights.astype(v_BxKxSxH.dtype), v_BxKxSxH)
    return out.reshape(B, N, L, H)


def attend_causal(
    q_BxNxLxH: jax.Array, k_BxKxSxH: jax.Array, v_BxKxSxH: jax.Array, q_segments_BxL: jax.Array,
    kv_segments_BxS: jax.Array, block: int, window: int, scale: float, cap: float = 0.0,
    order_L: jax.Array | None = None,
) -> jax.Array:  # fmt: skip
    """Causal attention inside segments, a block of queries at a time, each over the keys that it may see.

    window: tokens that a query sees, itself included; 0 for all before it. order_L: the queries' places among the keys,
    where they are not simply the same; then every block looks at all keys.
    """
    L, S = q_BxNxLxH.shape[2], k_BxKxSxH.shape[2]
    order_S = jnp.arange(S)
    outputs = []
    for start in range(0, L, block):
        end, seen, own = min(start + block, L), slice(0, S), order_S if order_L is None else order_L
        if order_L is None:
            seen = slice(max(0, start + 1 - window) if window else 0, end)
        distance = own[start:end, None] - order_S[None, seen]
        mask = (distance >= 0) & (q_segments_BxL[:, start:end, None] == kv_segments_BxS[:, None, seen])
        if window:
            mask &= distance < window
        outputs.append(
            attend(q_BxNxLxH[:, :, start:end], k_BxKxSxH[:, :, seen], v_BxKxSxH[:, :, seen], mask, scale, cap)
        )
    return jnp.concatenate(outputs, axis=2)


def self_attention(
    q_BxNxLxH: jax.Array, k_BxKxLxH: jax.Array, v_BxKxLxH: jax.Array, segments_BxL: jax.Array, cfg: ModelConfig,
    window: int, mesh: Mesh | None,
) -> jax.Array:  # fmt: skip
    """Attention of a layer as the config asks, over rows in zigzag order where the mesh divides them."""
    scale = (cfg.query_scale or cfg.head_dim) ** -0.5
    if cfg.attention == "xla" and context_of(mesh) == 1:
        segments = segments_BxL, segments_BxL
        return attend_causal(
            q_BxNxLxH, k_BxKxLxH, v_BxKxLxH, *segments, cfg.query_block, window, scale, cfg.attention_cap
        )
    L, N, K = q_BxNxLxH.shape[2], q_BxNxLxH.shape[1], k_BxKxLxH.shape[1]
    context, tensor = context_of(mesh), 1 if mesh is None else mesh.shape["tensor"]
    if K % tensor and tensor % K:
        raise ValueError(f"mesh.tensor={tensor} and {K} key/value heads: one must divide the other")
    order_L = zigzag(L, context)
    kernel = kernel_of(cfg, L, window, mesh) if cfg.attention == "splash" else None

    def local(q, k, v, q_segments, kv_segments, order, kernel):
        if context > 1:
            back = np.argsort(order_L)
            k, v, kv_segments = k[:, :, back], v[:, :, back], kv_segments[:, back]
        if K % tensor:  # several devices share a key/value head
            mine = jax.lax.axis_index("tensor") * q.shape[1] * K // N
            k, v = (jax.lax.dynamic_slice_in_dim(a, mine, 1, axis=1) for a in (k, v))
        if cfg.attention == "xla":
            return attend_causal(
                q, k, v, q_segments, kv_segments, cfg.query_block, window, scale, cfg.attention_cap, order
            )
        ids = splash.SegmentIds(q=q_segments, kv=kv_segments)
        return jax.vmap(kernel)(q * jnp.asarray(scale, q.dtype), k, v, segment_ids=ids)

    given = q_BxNxLxH, k_BxKxLxH, v_BxKxLxH, segments_BxL, segments_BxL, jnp.asarray(order_L)
    if mesh is None:
        return local(*given, kernel)
    of_queries, of_keys = P(BATCH_ROWS, "tensor", "context"), P(BATCH_ROWS, None if K % tensor else "tensor")
    of_kernel = kernel and kernel.manual_sharding_spec(NamedSharding(mesh, P(None, "context")))
    specs = of_queries, of_keys, of_keys, BATCH, P(BATCH_ROWS), P("context"), of_kernel
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=of_queries, check_vma=False)(*given, kernel)


def context_of(mesh: Mesh | None) -> int:
    """Over how many devices a mesh divides a row."""
    return 1 if mesh is None else mesh.shape["context"]


def zigzag(length: int, context: int) -> np.ndarray:
    """The order in which a row lies on the devices that share it. Raises ValueError where it does not divide."""
    if length % (2 * context) and context > 1:
        raise ValueError(f"a row of {length} tokens does not divide into 2 x mesh.context={context} pieces")
    if context == 1:
        return np.arange(length)
    pieces = np.arange(length).reshape(2 * context, -1)
    return np.concatenate([np.concatenate([pieces[i], pieces[-1 - i]]) for i in range(context)])


def kernel_of(cfg: ModelConfig, length: int, window: int, mesh: Mesh | None):
    """The splash kernel of a layer on rows of `length` tokens; made once.

    Ahead of time it must have been made outside of `jax.set_mesh`: its tables cannot lie on devices that are not there.
    """
    context, tensor = context_of(mesh), 1 if mesh is None else mesh.shape["tensor"]
    is_tpu = (jax.devices() if mesh is None else mesh.devices.flat)[0].platform == "tpu"
    order = tuple(zigzag(length, context).tolist())
    return _splash(cfg.n_heads // tensor, order, context, window, cfg.attention_cap, is_tpu)


def block_of(length: int) -> int:
    """Tokens that the splash kernel works on at a time, of so many that a device has of a row: it takes whole ones."""
    return math.gcd(_SPLASH_BLOCK, length)


@functools.lru_cache(maxsize=64)
def _splash(heads: int, order: tuple[int, ...], context: int, window: int, cap: float, is_tpu: bool):
    """The kernel for one layer's mask; made once, since its tables take time."""
    L = len(order)
    mask = splash.LocalMask((L, L), (window - 1, 0), 0) if window else splash.CausalMask((L, L))
    mask.q_sequence = np.array(order, np.int32)
    block = block_of(L // context)
    sizes = splash.BlockSizes(
        block_q=block, block_kv=block, block_kv_compute=block, block_q_dkv=block, block_kv_dkv=block,
        block_kv_dkv_compute=block, block_q_dq=block, block_kv_dq=block,
    )  # fmt: skip
    with jax.ensure_compile_time_eval():
        return splash.make_splash_mha(
            splash.MultiHeadMask([mask] * heads), block_sizes=sizes, head_shards=1, q_seq_shards=context,
            attn_logits_soft_cap=cap or None, interpret=not is_tpu,
        )  # fmt: skip
