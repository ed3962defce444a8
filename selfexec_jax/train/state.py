"""The state of training and how it is made, sharded from the start."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh

from selfexec_jax.model.config import ModelConfig, Rope
from selfexec_jax.model.sharding import tree_shardings
from selfexec_jax.model.transformer import Transformer


@struct.dataclass
class TrainState:
    """Parameters, optimizer state, the number of updates made and the key of the run."""

    params: dict
    opt: optax.OptState
    step: jax.Array
    key: jax.Array


def model_config(config, vocab_size: int) -> ModelConfig:
    """The decoder's shape from the config's `model` section."""
    shape = dict(config.model)
    return ModelConfig(vocab_size=vocab_size, rope=Rope(shape.pop("rope_base")), **shape)


def abstract_state(model: Transformer, tx: optax.GradientTransformation, seed: int, mesh: Mesh) -> tuple:
    """(function that makes the state, its shapes with shardings): a target for restoring."""

    def init(key: jax.Array) -> TrainState:
        params = model.init(key, jnp.zeros((1, 8), jnp.int32))["params"]
        return TrainState(params, tx.init(params), jnp.zeros((), jnp.int32), jax.random.key_data(key))

    key = jax.random.key(seed)
    shapes = jax.eval_shape(init, key)
    shardings = tree_shardings(shapes, mesh)
    target = jax.tree.map(lambda s, d: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=d), shapes, shardings)
    return jax.jit(init, out_shardings=shardings), key, target


# Which axes of a stacked layer parameter a matrix maps from and to, for Muon; the rest is Adam's.
_MATRICES = {
    "q": ((1,), (2, 3)), "k": ((1,), (2, 3)), "v": ((1,), (2, 3)), "o": ((1, 2), (3,)),
    "gate": ((1,), (2,)), "up": ((1,), (2,)), "down": ((1,), (2,)),
}  # fmt: skip


def _is_decayed(params: dict) -> dict:
    return jax.tree_util.tree_map_with_path(lambda path, _: "norm" not in str(path[-1]), params)


def adamw(learning_rate, beta2: float, weight_decay: float, grad_clip: float) -> optax.GradientTransformation:
    """AdamW after clipping by global norm; norms are not decayed."""
    return optax.chain(
        optax.clip_by_global_norm(grad_clip),
        optax.adamw(learning_rate, b2=beta2, weight_decay=weight_decay, mask=_is_decayed),
    )


def muon(
    matrix_learning_rate, learning_rate, beta2: float, weight_decay: float, grad_clip: float
) -> optax.GradientTransformation:
    """Muon on the layers' matrices and AdamW on the rest.

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
