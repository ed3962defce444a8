"""An update in parts: gradients of micro-batches are added up, then the optimizer makes its step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from selfexec_jax.model.sharding import batch_sharding, mesh_of, one_at_a_time, replicated
from selfexec_jax.model.transformer import Transformer
from selfexec_jax.train.state import TrainState, trainable


class OnRows:
    """A function whose last argument is a batch: jitted for each mesh that batches are divided over (`mesh_of`)."""

    def __init__(self, make: Callable[[Mesh], Callable], mesh: Mesh):
        self._make, self._mesh, self._made = make, mesh, {}

    def of(self, rows: int) -> Callable:
        mesh = mesh_of(rows, self._mesh)
        if mesh not in self._made:
            self._made[mesh] = self._make(mesh)
        return self._made[mesh]

    def __call__(self, *args):
        return self.of(len(args[-1]["tokens"]))(*args)


@dataclasses.dataclass(frozen=True)
class Gradients:
    """The jitted functions of an update; `add` is compiled for every shape of micro-batch it meets."""

    zeros: Callable  # params -> gradients of zero
    add: OnRows  # (params, sum of gradients, batch) -> (sum, metrics); the old sum is donated
    apply: Callable  # (state, gradients) -> (state, global norm of the gradients); the old state is donated


def jitted(function: Callable, inputs: Iterable, outputs, mesh: Mesh, donated: tuple[int, ...] = ()) -> Callable:
    """With shardings, and waited for where the devices need it."""
    return one_at_a_time(
        jax.jit(function, in_shardings=tuple(inputs), out_shardings=outputs, donate_argnums=donated), mesh
    )


def on(mesh: Mesh, model: Transformer) -> Transformer:
    """The model on another arrangement of its devices; one that was told of none stays so."""
    return model if model.mesh is None else Transformer(model.cfg, mesh)


def make_gradients(
    loss_of: Callable[[Transformer], Callable], model: Transformer, tx: optax.GradientTransformation,
    target: TrainState, mesh: Mesh,
) -> Gradients:  # fmt: skip
    """`loss_of(model)` gives `loss(learned, params, batch) -> (value, metrics)`: a sum over a micro-batch's tokens."""
    shardings = jax.tree.map(lambda t: t.sharding, target)
    of_learned = trainable(shardings.params)
    whole = replicated(mesh)

    def adder(mesh: Mesh) -> Callable:
        loss = loss_of(on(mesh, model))

        def add(params: dict, total: dict, batch: dict) -> tuple[dict, dict]:
            grads, metrics = jax.grad(loss, has_aux=True)(trainable(params), params, batch)
            return jax.tree.map(jnp.add, total, grads), metrics

        inputs = shardings.params, of_learned, batch_sharding(mesh)
        return jitted(add, inputs, (of_learned, whole), mesh, (1,))

    def apply(state: TrainState, grads: dict) -> tuple[TrainState, jax.Array]:
        learned = trainable(state.params)
        updates, opt = tx.update(grads, state.opt, learned)
        params = state.params | optax.apply_updates(learned, updates)
        return TrainState(params, opt, state.step + 1, state.key), optax.global_norm(grads)

    return Gradients(
        jitted(lambda p: jax.tree.map(jnp.zeros_like, trainable(p)), (shardings.params,), of_learned, mesh),
        OnRows(adder, mesh),
        jitted(apply, (shardings, of_learned), (shardings, whole), mesh, (0,)),
    )
