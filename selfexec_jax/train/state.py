"""The state of training and how it is made, sharded from the start."""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh

from selfexec_jax.model.config import ModelConfig, Rope
from selfexec_jax.model.sharding import tree_shardings
from selfexec_jax.model.transformer import Transformer, init_params


@struct.dataclass
class TrainState:
    """Parameters, optimizer state, the number of updates made and the key of the run."""

    params: dict
    opt: optax.OptState
    step: jax.Array
    key: jax.Array


_RUNTIME = (
    "attention", "query_block", "scan_layers", "remat", "vocab_chunk", "lora_rank", "lora_alpha", "compute_dtype"
)  # fmt: skip


def runtime_fields(config) -> dict:
    """What the config's `model` section says of how a decoder is run, whatever its shape."""
    return {name: config.model[name] for name in _RUNTIME}


def with_longer_rope(shape: ModelConfig, scale: float) -> ModelConfig:
    """Positions divided by `scale`, to train on longer rows than a model was made for. Raises ValueError where they
    are scaled already."""
    if scale == 1:
        return shape
    if shape.rope.scaling != "none":
        raise ValueError(f"model.rope_scale={scale}: this model has {shape.rope.scaling} positions; set it to 1")
    return dataclasses.replace(shape, rope=dataclasses.replace(shape.rope, scaling="linear", factor=scale))


def model_config(config, vocab_size: int) -> ModelConfig:
    """The decoder's shape from the config's `model` section."""
    shape = dict(config.model)
    rope, scale = Rope(shape.pop("rope_base")), shape.pop("rope_scale")
    return with_longer_rope(ModelConfig(vocab_size=vocab_size, rope=rope, **shape), scale)


def trainable(params: dict) -> dict:
    """The parameters that are learned: adapters where there are any, else all."""
    return {name: a for name, a in params.items() if "_lora_" in name} or params


def abstract_state(model: Transformer, tx: optax.GradientTransformation, seed: int, mesh: Mesh) -> tuple:
    """(function that makes the state from random weights, one that makes it from given ones, a target).

    The target has the state's shapes with shardings, for restoring. Given weights become the state's own, and its first
    update ends them.
    """

    def rest(learned: dict, key: jax.Array) -> tuple:
        return tx.init(learned), jnp.zeros((), jnp.int32), jax.random.key_data(key)

    def init(key: jax.Array) -> TrainState:
        params = init_params(model, key)
        return TrainState(params, *rest(trainable(params), key))

    key = jax.random.key(seed)
    shapes = jax.eval_shape(init, key)
    shardings = tree_shardings(shapes, mesh)
    target = jax.tree.map(lambda s, d: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=d), shapes, shardings)
    fresh = jax.jit(init, out_shardings=shardings)
    beside = jax.jit(rest, out_shardings=(shardings.opt, shardings.step, shardings.key))
    return lambda: fresh(key), lambda params: TrainState(params, *beside(trainable(params), key)), target


# Which axes of a stacked layer parameter a matrix maps from and to, for Muon; the rest is Adam's.
_MATRICES = {
    "q": ((1,), (2, 3)), "k": ((1,), (2, 3)), "v": ((1,), (2, 3)), "o": ((1, 2), (3,)),
    "gate": ((1,), (2,)), "up": ((1,), (2,)), "down": ((1,), (2,)),
}  # fmt: skip


def _is_decayed(params: dict) -> dict:
    return jax.tree_util.tree_map_with_path(lambda path, _: not re.search("norm|bias", str(path[-1])), params)


def adamw(learning_rate, beta2: float, weight_decay: float, grad_clip: float) -> optax.GradientTransformation:
    """AdamW after clipping by global norm; norms and biases are not decayed."""
    return optax.chain(
        optax.clip_by_global_norm(grad_clip),
        optax.adamw(learning_rate, b2=beta2, weight_decay=weight_decay, mask=_is_decayed),
    )


def adafactor(learning_rate, grad_clip: float) -> optax.GradientTransformation:
    """Adafactor after clipping by global norm: second moments by rows and columns, no first ones; little memory.

    Source: Shazeer and Stern 2018, "Adafactor: adaptive learning rates with sublinear memory cost".
    """
    return optax.chain(
        optax.clip_by_global_norm(grad_clip),
        optax.adafactor(learning_rate, multiply_by_parameter_scale=False),
    )


def muon(
    matrix_learning_rate, learning_rate, beta2: float, weight_decay: float, grad_clip: float
) -> optax.GradientTransformation:
    """Muon on the layers' matrices, with decay, and Adam on the rest, without.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
    """

    def dimensions(params: dict) -> dict:
        axes = {name: optax.contrib.MuonDimensionNumbers(*pair) for name, pair in _MATRICES.items()}
        return {name: axes.get(name) for name in params}

    return optax.chain(
        optax.clip_by_global_norm(grad_clip),
        optax.contrib.muon(
            matrix_learning_rate,
            adam_learning_rate=learning_rate,
            adam_b2=beta2,
            weight_decay=weight_decay,
            weight_decay_mask=_is_decayed,
            muon_weight_dimension_numbers=dimensions,
        ),
    )
