"""The device mesh and the one table that says how parameters lie on it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

# First match wins; the leading axis of a layer's parameter is the layer. Optimizer state has the same
# paths with a prefix, so the same rows shard it.
SPREAD = ("fsdp", "context")  # parameters and their optimizer state are divided over both
RULES = (
    (r"(^|/)(embed|head)$", P("tensor", SPREAD)),
    (r"(^|/)q$", P(None, SPREAD, "tensor", None)),
    (r"(^|/)(k|v)$", P(None, SPREAD, None, None)),  # few key/value heads: kept whole on the tensor axis
    (r"(^|/)o$", P(None, "tensor", None, SPREAD)),
    (r"(^|/)(gate|up)$", P(None, SPREAD, "tensor")),
    (r"(^|/)down$", P(None, "tensor", SPREAD)),
    (r"_lora_(a|b)$", P()),
    (r"(^|/)q_bias$", P(None, "tensor", None)),
    (r"(^|/)((k|v|o)_bias|\w+_norm)$", P()),
    (r"(^|/)(count|step|key|ns_coeffs)$", P()),
)
BATCH_ROWS = ("data", "fsdp")
BATCH = P(BATCH_ROWS, "context")  # rows and tokens of a batch


def make_mesh(fsdp: int = 1, tensor: int = 1, context: int = 1, devices=None) -> Mesh:
    """A data x fsdp x context x tensor mesh over the devices; only the data axis leads from slice to slice of TPUs,
    whose network is slow. Raises ValueError when they do not divide."""
    devices = jax.devices() if devices is None else devices
    data, rest = divmod(len(devices), fsdp * context * tensor)
    if rest or not data:
        raise ValueError(
            f"mesh.fsdp={fsdp} x mesh.context={context} x mesh.tensor={tensor} does not divide {len(devices)} devices;"
            " change one of them"
        )
    n_slices = len({getattr(d, "slice_index", 0) for d in devices if d.platform == "tpu"})
    if n_slices > 1 and data % n_slices:
        raise ValueError(
            f"mesh.fsdp={fsdp} x mesh.context={context} x mesh.tensor={tensor} is more than the chips of one of"
            f" {n_slices} slices; lower one of them"
        )
    names, types = ("data", "fsdp", "context", "tensor"), (AxisType.Auto,) * 4
    try:
        if n_slices > 1:
            within, across = (data // n_slices, fsdp, context, tensor), (n_slices, 1, 1, 1)
            laid_out = mesh_utils.create_hybrid_device_mesh(within, across, devices)
            return Mesh(laid_out, names, axis_types=types)
        return jax.make_mesh((data, fsdp, context, tensor), names, axis_types=types, devices=devices)
    except NotImplementedError:  # on a torus every axis takes whole sides
        raise ValueError(
            f"mesh.fsdp={fsdp} x mesh.context={context} x mesh.tensor={tensor} cannot be laid out on these"
            f" {len(devices)} chips: each must be a product of whole sides of the torus"
        ) from None


def tree_shardings(tree, mesh: Mesh):
    """A NamedSharding for every leaf, by the rules. A leaf that no row matches is an error."""

    def one(path, leaf):
        name = "/".join(str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path)
        for pattern, spec in RULES:
            if re.search(pattern, name):
                # Adafactor keeps rows and columns of a parameter under its name: small, and of fewer axes.
                return NamedSharding(mesh, spec if len(spec) <= leaf.ndim else P())
        raise ValueError(f"no row of model/sharding.py RULES matches the parameter {name!r}")

    return jax.tree_util.tree_map_with_path(one, tree)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, BATCH)


def place(batch: dict, mesh: Mesh) -> dict:
    """A batch of numpy arrays, rows x tokens, on the devices; every host has the whole and feeds its own part."""
    sharding = batch_sharding(mesh_of(len(next(iter(batch.values()))), mesh))
    if sharding.is_fully_addressable:
        return jax.device_put(batch, sharding)
    return {name: jax.make_array_from_callback(a.shape, sharding, a.__getitem__) for name, a in batch.items()}


def fetched(array: jax.Array) -> np.ndarray:
    """An array with all that other hosts have of it; they must call this too."""
    return np.asarray(array if array.is_fully_addressable else multihost_utils.process_allgather(array, tiled=True))


def mesh_of(rows: int, mesh: Mesh) -> Mesh:
    """What a batch of so many rows is divided over: where they are enough, devices that share rows have some of their
    own instead. The devices are the same in the same order, and parameters lie on either alike."""
    data, fsdp, context, tensor = mesh.devices.shape
    fewest = (n for n in range(1, context + 1) if context % n == 0 and rows % (data * fsdp * context // n) == 0)
    n = next(fewest, context)  # devices that share a row
    if n == context:
        return mesh
    return Mesh(mesh.devices.reshape(data, -1, n, tensor), mesh.axis_names, axis_types=mesh.axis_types)


def is_data_parallel(mesh: Mesh | None) -> bool:
    """Whether every device has all parameters and whole rows."""
    return mesh is None or mesh.shape["data"] == mesh.size


def batch_rows(mesh: Mesh) -> int:
    """What the rows of a batch must be a multiple of."""
    return math.prod(mesh.shape[axis] for axis in BATCH_ROWS)


def one_at_a_time(step: Callable, mesh: Mesh) -> Callable:
    """`step`, which waits for its result where the mesh is several CPU devices.

    There every collective holds a thread of a pool that all devices share. With a second step in flight
    the pool can run out before all devices have joined one collective, and nothing moves again.
    """
    if mesh.size == 1 or mesh.devices.flat[0].platform != "cpu":
        return step
    return lambda *args: jax.block_until_ready(step(*args))
