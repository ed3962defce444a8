"""One decoder for training, prefill and decoding, over the same parameters.

Letters in array names: B batch, L length, S cache length, D model, N query heads, K key/value heads,
G query heads a key/value head, H head size, F hidden, V vocabulary, E layers.

Parameters are a plain dict; every layer's parameter is stacked on a leading axis E, so that deep models can be
scanned, or, in the form for decoding (decoding.py), a tuple of E arrays.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from selfexec_jax.model import cache
from selfexec_jax.model.attention import capped, context_of, self_attention, zigzag
from selfexec_jax.model.config import ModelConfig, Rope
from selfexec_jax.model.sharding import is_data_parallel

_ACTIVATIONS = {"silu": jax.nn.silu, "gelu": functools.partial(jax.nn.gelu, approximate=True)}


def rms_norm(x_BxLxD: jax.Array, scale_D: jax.Array, eps: float) -> jax.Array:
    """Root-mean-square normalisation of the last axis in float32."""
    x32 = x_BxLxD.astype(jnp.float32)
    x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return (x32 * scale_D).astype(x_BxLxD.dtype)


def rotary_frequencies(rope: Rope, head_dim: int) -> jax.Array:
    """Radians a position for each pair of a head's dimensions; H/2."""
    half = head_dim // 2
    frequency = rope.base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    if rope.scaling == "linear":
        return frequency / rope.factor
    if rope.scaling == "llama3":
        turns = rope.original_length * frequency / (2 * jnp.pi)  # within the length of pre-training
        kept = jnp.clip((turns - rope.low_frequency) / (rope.high_frequency - rope.low_frequency), 0.0, 1.0)
        return frequency * (kept + (1 - kept) / rope.factor)
    return frequency


def rotary_angles(positions_BxL: jax.Array, head_dim: int, rope: Rope) -> tuple[jax.Array, jax.Array]:
    """Sines and cosines, each BxLx1x(H/2), computed once for all layers."""
    angle = positions_BxL[..., None, None].astype(jnp.float32) * rotary_frequencies(rope, head_dim)
    return jnp.sin(angle), jnp.cos(angle)


def rotate(x_BxLxNxH: jax.Array, angles: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotary position embedding, halves convention (GPT-NeoX, Llama)."""
    sin, cos = angles
    first, second = jnp.split(x_BxLxNxH.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_BxLxNxH.dtype)


PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")  # of a layer, what adapters adapt


def adapted(params: dict, name: str, cfg: ModelConfig) -> jax.Array:
    """A parameter, of one layer or stacked, with the adapter that there is for it added.

    Source: Hu et al. 2021, "LoRA: low-rank adaptation of large language models".
    """
    found = params[name]
    if f"{name}_lora_a" not in params:
        return found
    change = params[f"{name}_lora_a"] @ params[f"{name}_lora_b"] * (cfg.lora_alpha / cfg.lora_rank)
    return found + change.reshape(found.shape).astype(found.dtype)


def merged(params: dict, cfg: ModelConfig) -> dict:
    """Parameters without adapters, which have been added to what they adapt."""
    return {name: adapted(params, name, cfg) for name in params if "_lora_" not in name}


class Transformer(nn.Module):
    """A decoder: grouped-query attention with rotary positions, gated hidden units; see `ModelConfig`.

    mesh: the devices that training divides it over; needed where they share a row, or attention is the splash kernel.
    """

    cfg: ModelConfig
    mesh: Mesh | None = None

    def setup(self) -> None:
        c = self.cfg
        E, D, N, K, H, F = c.n_layers, c.d_model, c.n_heads, c.n_kv_heads, c.head_dim, c.d_ff
        neutral = nn.initializers.zeros if c.norm_from_one else nn.initializers.ones

        def of_layers(name: str, initializer: Callable, *shape: int) -> jax.Array | tuple[jax.Array, ...]:
            def one_a_layer(key: jax.Array) -> tuple[jax.Array, ...]:
                return tuple(initializer(k, shape, jnp.float32) for k in jax.random.split(key, E))

            if c.for_decoding:
                return self.param(name, one_a_layer)
            return self.param(name, initializer, (E, *shape), jnp.float32)

        def weight(name: str, *shape: int, fan_in: int, scale: float = 1.0) -> jax.Array | tuple[jax.Array, ...]:
            shape = self._sizes(name)[::-1] if c.for_decoding else shape
            return of_layers(name, nn.initializers.normal(scale * fan_in**-0.5), *shape)

        def norm(name: str, *shape: int) -> jax.Array | tuple[jax.Array, ...]:
            return of_layers(name, neutral, *shape)

        def bias(name: str, *shape: int) -> jax.Array | tuple[jax.Array, ...]:
            return of_layers(name, nn.initializers.zeros, *shape)

        self.embed_VxD = self.param("embed", nn.initializers.normal(0.02), (c.vocab_size, D), jnp.float32)
        out_scale = (2 * E) ** -0.5  # keeps the residual stream's variance flat with depth (GPT-2)
        layers = {
            "attn_norm": norm("attn_norm", D),
            "q": weight("q", D, N, H, fan_in=D),
            "k": weight("k", D, K, H, fan_in=D),
            "v": weight("v", D, K, H, fan_in=D),
            "o": weight("o", N, H, D, fan_in=N * H, scale=out_scale),
            "mlp_norm": norm("mlp_norm", D),
            "gate": weight("gate", D, F, fan_in=D),
            "up": weight("up", D, F, fan_in=D),
            "down": weight("down", F, D, fan_in=F, scale=out_scale),
        }
        if c.qkv_bias:
            layers |= {"q_bias": bias("q_bias", N, H), "k_bias": bias("k_bias", K, H),
                       "v_bias": bias("v_bias", K, H)}  # fmt: skip
        if c.o_bias:
            layers["o_bias"] = bias("o_bias", D)
        if c.qk_norm:
            layers |= {"q_norm": norm("q_norm", H), "k_norm": norm("k_norm", H)}
        if c.post_norms:
            layers |= {"post_attn_norm": norm("post_attn_norm", D), "post_mlp_norm": norm("post_mlp_norm", D)}
        if c.lora_rank:
            for name in PROJECTIONS:
                n_in, n_out = self._sizes(name)
                layers[f"{name}_lora_a"] = weight(f"{name}_lora_a", n_in, c.lora_rank, fan_in=n_in)
                layers[f"{name}_lora_b"] = bias(f"{name}_lora_b", c.lora_rank, n_out)
        self.layers = layers
        self.final_norm_D = self.param("final_norm", neutral, (D,), jnp.float32)
        head = nn.initializers.normal(D**-0.5)
        self.head_VxD = None if c.tied else self.param("head", head, (c.vocab_size, D), jnp.float32)

    def make(self) -> None:
        """Does nothing but make the parameters, whatever the mesh: see `init_params`."""

    def _sizes(self, name: str) -> tuple[int, int]:
        """What a projection maps from and to."""
        c = self.cfg
        heads = {"q": c.n_heads, "k": c.n_kv_heads, "v": c.n_kv_heads}
        if name in heads:
            return c.d_model, heads[name] * c.head_dim
        return {"o": (c.n_heads * c.head_dim, c.d_model), "down": (c.d_ff, c.d_model)}.get(name, (c.d_model, c.d_ff))

    def _norm(self, x: jax.Array, scale: jax.Array) -> jax.Array:
        return rms_norm(x, scale + 1 if self.cfg.norm_from_one else scale, self.cfg.norm_eps)

    def _angles(self, positions_BxL: jax.Array) -> tuple:
        """Those of layers that see everything, and those of layers with a window."""
        c = self.cfg
        everywhere = rotary_angles(positions_BxL, c.head_dim, c.rope)
        return everywhere, rotary_angles(positions_BxL, c.head_dim, c.local_rope) if c.local_rope else everywhere

    def _scale(self) -> float:
        return (self.cfg.query_scale or self.cfg.head_dim) ** -0.5

    def _qkv(self, layer: dict, x_BxLxD: jax.Array, angles: tuple, window: int) -> tuple:
        """Queries BxNxLxH, keys and values BxKxLxH."""
        c = self.cfg
        h_BxLxD = self._norm(x_BxLxD, layer["attn_norm"])
        of_heads = (*x_BxLxD.shape[:2], -1, c.head_dim)
        q, k, v = (self._project(h_BxLxD, layer[name]).reshape(of_heads) for name in "qkv")
        if c.qkv_bias:
            q, k, v = (a + layer[f"{name}_bias"] for name, a in (("q", q), ("k", k), ("v", v)))
        if c.qk_norm:
            q, k = self._norm(q, layer["q_norm"]), self._norm(k, layer["k_norm"])
        own = angles[1 if window else 0]
        return tuple(a.swapaxes(1, 2) for a in (rotate(q, own), rotate(k, own), v))

    def _project(self, x_BxLxI: jax.Array, weight: jax.Array, dtype=None) -> jax.Array:
        """A product of matrices, BxLxO. dtype: of the result, if not that of x."""
        B, L, I = x_BxLxI.shape  # noqa: E741
        if not self.cfg.for_decoding:
            # As one row, the weights' gradients contract one axis, without copies; divided ones would take more memory.
            x = x_BxLxI.reshape(B * L, I) if is_data_parallel(self.mesh) else x_BxLxI
            return jnp.matmul(x, weight.reshape(I, -1), preferred_element_type=dtype).reshape(B, L, -1)
        # For a few rows a CPU is twice as fast with the weights on the left; the barrier keeps XLA from swapping them.
        out_OxBL = jax.lax.dot_general(
            weight, x_BxLxI.reshape(-1, I), (((1,), (1,)), ((), ())), preferred_element_type=dtype
        )
        return jax.lax.optimization_barrier(out_OxBL).T.reshape(B, L, -1)

    def _layer(self, layers: dict, i: int) -> dict:
        """One layer's parameters, adapters added to what they adapt."""
        return merged({name: a[i] for name, a in layers.items()}, self.cfg)

    def _finish_layer(self, layer: dict, x_BxLxD: jax.Array, attended_BxNxLxH: jax.Array) -> jax.Array:
        c = self.cfg
        B, _, L, _ = attended_BxNxLxH.shape
        added_BxLxD = self._project(attended_BxNxLxH.swapaxes(1, 2).reshape(B, L, -1), layer["o"])
        if c.o_bias:
            added_BxLxD += layer["o_bias"]
        x_BxLxD += self._norm(added_BxLxD, layer["post_attn_norm"]) if c.post_norms else added_BxLxD
        h_BxLxD = self._norm(x_BxLxD, layer["mlp_norm"])
        gate_BxLxF, up_BxLxF = self._project(h_BxLxD, layer["gate"]), self._project(h_BxLxD, layer["up"])
        added_BxLxD = self._project(_ACTIVATIONS[c.activation](gate_BxLxF) * up_BxLxF, layer["down"])
        return x_BxLxD + (self._norm(added_BxLxD, layer["post_mlp_norm"]) if c.post_norms else added_BxLxD)

    def _cast(self) -> dict:
        """The layers' parameters in the compute dtype; scales of norms stay as they are."""
        dtype = jnp.dtype(self.cfg.compute_dtype)
        cast = functools.partial(jax.tree.map, lambda a: a.astype(dtype))
        return {name: a if name.endswith("norm") else cast(a) for name, a in self.layers.items()}

    def _embed(self, tokens_BxL: jax.Array) -> jax.Array:
        c = self.cfg
        x_BxLxD = self.embed_VxD[tokens_BxL].astype(c.compute_dtype)
        return x_BxLxD * jnp.asarray(c.d_model**0.5, x_BxLxD.dtype) if c.scale_embedding else x_BxLxD

    def _before_logits(self, x_BxLxD: jax.Array) -> tuple[jax.Array, jax.Array]:
        head_VxD = (self.embed_VxD if self.cfg.tied else self.head_VxD).astype(x_BxLxD.dtype)
        return self._norm(x_BxLxD, self.final_norm_D), head_VxD

    def _logits(self, x_BxLxD: jax.Array) -> jax.Array:
        x_BxLxD, head_VxD = self._before_logits(x_BxLxD)
        head = head_VxD if self.cfg.for_decoding else head_VxD.T
        return capped(self._project(x_BxLxD, head, jnp.float32), self.cfg.logit_cap)

    def _run_layers(self, x_BxLxD: jax.Array, block) -> jax.Array:
        """Applies `block(x, layer, window)` layer by layer: unrolled, or a period of windows at a time in a scan."""
        c, layers = self.cfg, self._cast()
        remat = {
            "none": lambda f: f, "layer": jax.checkpoint,
            "all but matmuls": functools.partial(
                jax.checkpoint, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable
            ),
        }[c.remat]  # fmt: skip
        period = c.period()
        n_scanned = c.n_layers // period * period if c.scan_layers else 0

        def several(x_BxLxD: jax.Array, stacked: dict) -> tuple[jax.Array, None]:
            for i in range(period):
                one = remat(functools.partial(block, window=c.window(i)))
                x_BxLxD = one(x_BxLxD, self._layer(stacked, i))
            return x_BxLxD, None

        if n_scanned:
            grouped = {name: a[:n_scanned].reshape(-1, period, *a.shape[1:]) for name, a in layers.items()}
            x_BxLxD, _ = jax.lax.scan(several, x_BxLxD, grouped)
        for i in range(n_scanned, c.n_layers):
            one = remat(functools.partial(block, window=c.window(i)))
            x_BxLxD = one(x_BxLxD, self._layer(layers, i))
        return x_BxLxD

    def __call__(
        self, tokens_BxL: jax.Array, positions_BxL: jax.Array | None = None, segments_BxL: jax.Array | None = None
    ) -> jax.Array:
        """Logits BxLxV in float32. Tokens attend to earlier tokens of their own segment only."""
        return self._logits(self._forward(tokens_BxL, positions_BxL, segments_BxL))

    def hidden(
        self, tokens_BxL: jax.Array, positions_BxL: jax.Array | None = None, segments_BxL: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """What the logits are made of, BxLxD, and the head VxD: their product, capped, is the logits."""
        return self._before_logits(self._forward(tokens_BxL, positions_BxL, segments_BxL))

    def _forward(
        self, tokens_BxL: jax.Array, positions_BxL: jax.Array | None, segments_BxL: jax.Array | None,
        keep: Callable = lambda k, v: None,
    ) -> jax.Array:  # fmt: skip
        """What the last layer gives, BxLxD; `keep` gets the keys and values BxKxLxH of layers that are not scanned."""
        c = self.cfg
        if positions_BxL is None:
            positions_BxL = jnp.broadcast_to(jnp.arange(tokens_BxL.shape[1]), tokens_BxL.shape)
        if segments_BxL is None:
            segments_BxL = jnp.ones_like(tokens_BxL)
        order_L = zigzag(tokens_BxL.shape[1], context_of(self.mesh))
        if context_of(self.mesh) > 1:
            tokens_BxL, positions_BxL, segments_BxL = (
                a[:, order_L] for a in (tokens_BxL, positions_BxL, segments_BxL)
            )
        angles = self._angles(positions_BxL)

        def block(x_BxLxD: jax.Array, layer: dict, window: int) -> jax.Array:
            q, k, v = self._qkv(layer, x_BxLxD, angles, window)
            keep(k, v)
            attended = self_attention(q, k, v, segments_BxL, c, window, self.mesh)
            return self._finish_layer(layer, x_BxLxD, attended)

        x_BxLxD = self._run_layers(self._embed(tokens_BxL), block)
        return x_BxLxD[:, np.argsort(order_L)] if context_of(self.mesh) > 1 else x_BxLxD

    def prefill(self, tokens_BxL: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """Keys and values of prompts that begin at position 0, BxKxLxH each, layer by layer."""
        found: list[tuple[jax.Array, jax.Array]] = []
        self._forward(tokens_BxL, None, None, lambda k, v: found.append((k, v)))
        return found

    def step(
        self, tokens_B: jax.Array, positions_B: jax.Array, is_active_B: jax.Array, caches: Sequence[list[dict]]
    ) -> tuple[jax.Array, list[list[dict]]]:
        """Runs one token a row against what is cached, and writes its keys and values into the cache.

        caches: of each length class its rows, one entry a layer (cache.py); the classes' rows follow each other in B.
        Nothing is written for a row that is not active. Layers are unrolled so that donated caches are updated in
        place. Returns logits BxV and the new caches.
        """
        c, layers = self.cfg, self._cast()
        angles = self._angles(positions_B[:, None])
        x_Bx1xD = self._embed(tokens_B[:, None])
        new: list[list[dict]] = [[] for _ in caches]
        ends = np.cumsum([cache.rows(entries) for entries in caches])[:-1]
        split = functools.partial(jnp.split, indices_or_sections=ends)
        for i in range(c.n_layers):
            layer = self._layer(layers, i)
            q, k, v = self._qkv(layer, x_Bx1xD, angles, c.window(i))
            attended = []
            parts = zip(*map(split, (q, k, v, positions_B, is_active_B)), caches, new, strict=True)
            for q_part, k_part, v_part, position, is_active, entries, kept in parts:
                kept.append(cache.write(entries[i], k_part, v_part, position, is_active))
                attended.append(cache.attend_cached(q_part, kept[i], position, self._scale(), c.attention_cap))
            x_Bx1xD = self._finish_layer(layer, x_Bx1xD, jnp.concatenate(attended))
        return self._logits(x_Bx1xD)[:, 0], new


def init_params(model: Transformer, key: jax.Array) -> dict:
    """Random parameters."""
    return model.init(key, method="make")["params"]
