"""An update in parts: gradients of micro-batches are added up, then the optimizer makes its step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from selfexec_jax.model.sharding import batch_sharding, one_at_a_time, replicated
from selfexec_jax.train.state import TrainState, trainable


@dataclasses.dataclass(frozen=True)
class Gradients:
    """The jitted functions of an update, for one mesh; each is compiled for every shape of micro-batch it meets."""

    zeros: Callable  # params -> gradients of zero
    add: Callable  # (params, sum of gradients, batch) -> (sum, metrics); the old sum is donated
    apply: Callable  # (state, gradients) -> (state, global norm of the gradients); the old state is donated


def jitted(function: Callable, inputs: Iterable, outputs, mesh: Mesh, donated: tuple[int, ...] = ()) -> Callable:
    """With shardings, and waited for where the devices need it."""
    return one_at_a_time(
        jax.jit(function, in_shardings=tuple(inputs), out_shardings=outputs, donate_argnums=donated), mesh
    )


def make_gradients(
    loss: Callable, tx: optax.GradientTransformation, target: TrainState, mesh: Mesh
) -> Gradients:
    """`loss(learned, params, batch) -> (value, metrics)`: a sum over the tokens of a micro-batch, not a mean."""
    shardings = jax.tree.map(lambda t: t.sharding, target)
    of_learned = trainable(shardings.params)
    whole, rows = replicated(mesh), batch_sharding(mesh)

    def add(params: dict, total: dict, batch: dict) -> tuple[dict, dict]:
        grads, metrics = jax.grad(loss, has_aux=True)(trainable(params), params, batch)
        return jax.tree.map(jnp.add, total, grads), metrics

    def apply(state: TrainState, grads: dict) -> tuple[TrainState, jax.Array]:
        learned = trainable(state.params)
        updates, opt = tx.update(grads, state.opt, learned)
        params = state.params | optax.apply_updates(learned, updates)
        return TrainState(params, opt, state.step + 1, state.key), optax.global_norm(grads)

    return Gradients(
        jitted(lambda p: jax.tree.map(jnp.zeros_like, trainable(p)), (shardings.params,), of_learned, mesh),
        jitted(add, (shardings.params, of_learned, rows), (of_learned, whole), mesh, (1,)),
        jitted(apply, (shardings, of_learned), (shardings, whole), mesh, (0,)),
    )
