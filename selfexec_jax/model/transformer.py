"""One decoder for training, prefill and decoding, over the same parameters.

Letters in array names: B batch, L length, S cache length, D model, N query heads, K key/value heads,
G query heads a key/value head, H head size, F hidden, V vocabulary, E layers.

Parameters are a plain dict; every layer's parameter is stacked on a leading axis E, so that deep
models can be scanned while decoding unrolls the same arrays.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from selfexec_jax.model.config import ModelConfig

_MASKED = -1e30


def rms_norm(x_BxLxD: jax.Array, scale_D: jax.Array, eps: float) -> jax.Array:
    """Root-mean-square normalisation in float32."""
    x32 = x_BxLxD.astype(jnp.float32)
    x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return (x32 * scale_D).astype(x_BxLxD.dtype)


def rotary_angles(positions_BxL: jax.Array, head_dim: int, base: float) -> tuple[jax.Array, jax.Array]:
    """Sines and cosines, each Bx1xLx(H/2), computed once for all layers."""
    half = head_dim // 2
    frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions_BxL[:, None, :, None].astype(jnp.float32) * frequency
    return jnp.sin(angle), jnp.cos(angle)


def rotate(x_BxNxLxH: jax.Array, angles: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotary position embedding, halves convention (GPT-NeoX, Llama)."""
    sin, cos = angles
    first, second = jnp.split(x_BxNxLxH.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_BxNxLxH.dtype)


def attend(q_BxNxLxH: jax.Array, k_BxKxSxH: jax.Array, v_BxKxSxH: jax.Array, mask_BxLxS: jax.Array) -> jax.Array:
    """Attention with grouped queries; a key/value head's queries are one matrix product. Returns BxNxLxH."""
    B, N, L, H = q_BxNxLxH.shape
    K, S = k_BxKxSxH.shape[1:3]
    G = N // K
    q_BxKxGLxH = q_BxNxLxH.reshape(B, K, G * L, H) * H**-0.5
    scores_BxKxGLxS = jnp.einsum("bkqh,bksh->bkqs", q_BxKxGLxH, k_BxKxSxH, preferred_element_type=jnp.float32)
    mask_Bx1xGLxS = jnp.tile(mask_BxLxS, (1, G, 1))[:, None]
    weights = jax.nn.softmax(jnp.where(mask_Bx1xGLxS, scores_BxKxGLxS, _MASKED), axis=-1)
    out = jnp.einsum("bkqs,bksh->bkqh", weights.astype(v_BxKxSxH.dtype), v_BxKxSxH)
    return out.reshape(B, N, L, H)


def attend_causal(
    q_BxNxLxH: jax.Array, k_BxKxLxH: jax.Array, v_BxKxLxH: jax.Array, segments_BxL: jax.Array, block: int
) -> jax.Array:
    """Causal attention inside segments, a block of queries at a time, each over the keys up to its end."""
    L = q_BxNxLxH.shape[2]
    order_L = jnp.arange(L)
    outputs = []
    for start in range(0, L, block):
        end = min(start + block, L)
        mask = (order_L[start:end, None] >= order_L[None, :end]) & (
            segments_BxL[:, start:end, None] == segments_BxL[:, None, :end]
        )
        outputs.append(attend(q_BxNxLxH[:, :, start:end], k_BxKxLxH[:, :, :end], v_BxKxLxH[:, :, :end], mask))
    return jnp.concatenate(outputs, axis=2)


class Transformer(nn.Module):
    """A pre-norm decoder: grouped-query attention with rotary positions, SwiGLU, tied embeddings."""

    cfg: ModelConfig

    def setup(self) -> None:
        c = self.cfg
        E, D, N, K, H, F = c.n_layers, c.d_model, c.n_heads, c.n_kv_heads, c.head_dim, c.d_ff

        def weight(name: str, *shape: int, fan_in: int, scale: float = 1.0) -> jax.Array:
            return self.param(name, nn.initializers.normal(scale * fan_in**-0.5), shape, jnp.float32)

        self.embed_VxD = self.param("embed", nn.initializers.normal(0.02), (c.vocab_size, D), jnp.float32)
        out_scale = (2 * E) ** -0.5  # keeps the residual stream's variance flat with depth (GPT-2)
        self.layers = {
            "attn_norm": self.param("attn_norm", nn.initializers.ones, (E, D), jnp.float32),
            "q": weight("q", E, D, N, H, fan_in=D),
            "k": weight("k", E, D, K, H, fan_in=D),
            "v": weight("v", E, D, K, H, fan_in=D),
            "o": weight("o", E, N, H, D, fan_in=N * H, scale=out_scale),
            "mlp_norm": self.param("mlp_norm", nn.initializers.ones, (E, D), jnp.float32),
            "gate": weight("gate", E, D, F, fan_in=D),
            "up": weight("up", E, D, F, fan_in=D),
            "down": weight("down", E, F, D, fan_in=F, scale=out_scale),
        }
        self.final_norm_D = self.param("final_norm", nn.initializers.ones, (D,), jnp.float32)

    def _qkv(self, layer: dict, x_BxLxD: jax.Array, angles: tuple) -> tuple:
        c = self.cfg
        h_BxLxD = rms_norm(x_BxLxD, layer["attn_norm"], c.norm_eps)
        q = jnp.einsum("bld,dnh->bnlh", h_BxLxD, layer["q"])
        k = jnp.einsum("bld,dkh->bklh", h_BxLxD, layer["k"])
        v = jnp.einsum("bld,dkh->bklh", h_BxLxD, layer["v"])
        return rotate(q, angles), rotate(k, angles), v

    def _finish_layer(self, layer: dict, x_BxLxD: jax.Array, attended_BxNxLxH: jax.Array) -> jax.Array:
        x_BxLxD = x_BxLxD + jnp.einsum("bnlh,nhd->bld", attended_BxNxLxH, layer["o"])
        h_BxLxD = rms_norm(x_BxLxD, layer["mlp_norm"], self.cfg.norm_eps)
        hidden_BxLxF = jax.nn.silu(h_BxLxD @ layer["gate"]) * (h_BxLxD @ layer["up"])
        return x_BxLxD + hidden_BxLxF @ layer["down"]

    def _cast(self) -> tuple[jax.Array, dict]:
        dtype = jnp.dtype(self.cfg.compute_dtype)
        keep = ("attn_norm", "mlp_norm")
        layers = {k: v if k in keep else v.astype(dtype) for k, v in self.layers.items()}
        return self.embed_VxD.astype(dtype), layers

    def _logits(self, x_BxLxD: jax.Array, embed_VxD: jax.Array) -> jax.Array:
        x_BxLxD = rms_norm(x_BxLxD, self.final_norm_D, self.cfg.norm_eps)
        return jnp.einsum("bld,vd->blv", x_BxLxD, embed_VxD, preferred_element_type=jnp.float32)

    def __call__(
        self,
        tokens_BxL: jax.Array,
        positions_BxL: jax.Array | None = None,
        segments_BxL: jax.Array | None = None,
    ) -> jax.Array:
        """Logits BxLxV in float32. Tokens attend to earlier tokens of their own segment only."""
        if positions_BxL is None:
            positions_BxL = jnp.broadcast_to(jnp.arange(tokens_BxL.shape[1]), tokens_BxL.shape)
        if segments_BxL is None:
            segments_BxL = jnp.ones_like(tokens_BxL)
        embed_VxD, layers = self._cast()
        angles = rotary_angles(positions_BxL, self.cfg.head_dim, self.cfg.rope_base)

        def block(x_BxLxD: jax.Array, layer: dict) -> tuple[jax.Array, None]:
            q, k, v = self._qkv(layer, x_BxLxD, angles)
            attended = attend_causal(q, k, v, segments_BxL, self.cfg.query_block)
            return self._finish_layer(layer, x_BxLxD, attended), None

        x_BxLxD = embed_VxD[tokens_BxL]
        if self.cfg.scan_layers:
            x_BxLxD, _ = jax.lax.scan(jax.checkpoint(block), x_BxLxD, layers)
        else:
            for i in range(self.cfg.n_layers):
                x_BxLxD, _ = block(x_BxLxD, jax.tree.map(lambda a: a[i], layers))  # noqa: B023
        return self._logits(x_BxLxD, embed_VxD)

    def extend(
        self, tokens_BxL: jax.Array, positions_BxL: jax.Array, cache: list[dict], mask_BxLxS: jax.Array
    ) -> tuple[jax.Array, list[dict]]:
        """Runs tokens at `positions_BxL` against a cache and writes their keys and values into it.

        The cache is a list, one entry a layer, of {"k", "v"} BxKxSxH (cache.py); `mask_BxLxS` says which
        cache entries a token may see, its own included. Layers are unrolled so that a donated cache is
        updated in place. Returns logits BxLxV and the new cache.
        """
        embed_VxD, layers = self._cast()
        angles = rotary_angles(positions_BxL, self.cfg.head_dim, self.cfg.rope_base)
        x_BxLxD = embed_VxD[tokens_BxL]
        rows_B = jnp.arange(tokens_BxL.shape[0])
        new_cache = []
        for i in range(self.cfg.n_layers):
            layer = jax.tree.map(lambda a: a[i], layers)  # noqa: B023
            q, k, v = self._qkv(layer, x_BxLxD, angles)
            put = lambda old, new: old.at[rows_B[:, None], :, positions_BxL].set(  # noqa: E731
                new.swapaxes(1, 2).astype(old.dtype)
            )
            entry = {"k": put(cache[i]["k"], k), "v": put(cache[i]["v"], v)}
            new_cache.append(entry)
            x_BxLxD = self._finish_layer(layer, x_BxLxD, attend(q, entry["k"], entry["v"], mask_BxLxS))
        return self._logits(x_BxLxD, embed_VxD), new_cache
