"""The form in which a model decodes: adapters merged, weights cast, an array a layer, divided over a lane's devices."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from selfexec_jax.model.config import ModelConfig
from selfexec_jax.model.transformer import PROJECTIONS, merged

_ON_OUT, _ON_IN = P("tensor", None), P(None, "tensor")
_SPECS = {"q": _ON_OUT, "k": _ON_OUT, "v": _ON_OUT, "gate": _ON_OUT, "up": _ON_OUT, "o": _ON_IN, "down": _ON_IN,
          "q_bias": _ON_OUT, "k_bias": _ON_OUT, "v_bias": _ON_OUT, "embed": _ON_OUT, "head": _ON_OUT}  # fmt: skip
_WHOLE = ("embed", "head", "final_norm")  # not of a layer


def decoding_config(cfg: ModelConfig, tensor: int) -> ModelConfig:
    """The shape of a model on `tensor` devices, each of which has at least one key/value head.

    Raises ValueError where the heads do not divide.
    """
    K = cfg.n_kv_heads
    if cfg.n_heads % tensor or (K % tensor and tensor % K):
        raise ValueError(
            f"rollout.tensor={tensor} does not divide {cfg.n_heads} heads, {K} of them for keys and values; change it"
        )
    return dataclasses.replace(
        cfg, n_kv_heads=max(K, tensor), lora_rank=0, scan_layers=False, for_decoding=True, remat="none"
    )


def decoding_params(params: dict, cfg: ModelConfig, tensor: int) -> dict:
    """Parameters of a model of shape `cfg` for `decoding_config`: all but the scales of norms in the compute dtype.

    Key/value heads are repeated where there are fewer than devices; projections become matrices, out x in.
    """
    repeats = max(cfg.n_kv_heads, tensor) // cfg.n_kv_heads

    def one(name: str, a: jax.Array) -> jax.Array | tuple[jax.Array, ...]:
        a = a if name.endswith("norm") else a.astype(cfg.compute_dtype)
        if name in ("k", "v", "k_bias", "v_bias") and repeats > 1:
            a = jnp.repeat(a, repeats, axis=-2)
        if name in _WHOLE:
            return a
        if name in PROJECTIONS:
            a = a.reshape(len(a), -1, cfg.d_model) if name in ("o", "down") else a.reshape(len(a), cfg.d_model, -1)
            a = a.swapaxes(1, 2)
        return tuple(a)

    return {name: one(name, a) for name, a in merged(params, cfg).items()}


def decoding_shardings(params: dict, mesh: Mesh) -> dict:
    """How parameters lie on the devices of a lane: heads, hidden units and the vocabulary are divided."""

    def one(name: str, leaf) -> NamedSharding:
        does_divide = name not in _WHOLE or leaf.shape[0] % mesh.shape["tensor"] == 0
        return NamedSharding(mesh, _SPECS.get(name, P()) if does_divide else P())

    return {name: jax.tree.map(lambda leaf, name=name: one(name, leaf), a) for name, a in params.items()}
