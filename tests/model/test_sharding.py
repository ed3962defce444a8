"""Eight fake devices against one: the same training step, and parameters that really lie where the table says."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from selfexec_jax.model.sharding import make_mesh, one_at_a_time, tree_shardings
from selfexec_jax.planning.chips import CHIPS, compiler_environment
from tests.compiling import needs_libtpu

# The number of devices is fixed when jax starts, so this needs a process of its own.
_SCRIPT = """
import json, jax
jax.config.update("jax_num_cpu_devices", 8)
import jax.numpy as jnp, numpy as np
from selfexec_jax.model import ModelConfig, Transformer
from selfexec_jax.model.sharding import batch_sharding, make_mesh, mesh_of, one_at_a_time
from selfexec_jax.train.sft import make_update
from selfexec_jax.train.state import abstract_state, adamw

shape = ModelConfig(vocab_size=64, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, d_ff=64)
tx = adamw(1e-3, 0.98, 0.1, 1.0)
rng = np.random.default_rng(0)
segments = np.repeat([[1] * 9 + [2] * 6 + [0]], 8, 0)
batch = {
    "tokens": rng.integers(2, 64, (8, 16)).astype(np.int32) * (segments > 0),
    "is_answer": (rng.random((8, 16)) < 0.5).astype(np.int32) * (segments > 0),
    "segments": segments.astype(np.int32),
    "positions": np.repeat([[*range(9), *range(6), 0]], 8, 0).astype(np.int32),
}

def run(devices, fsdp, tensor, context=1, parts=1):
    mesh = make_mesh(fsdp, tensor, context, devices=devices)
    model = Transformer(shape, mesh if context > 1 else None)
    init, _, target = abstract_state(model, tx, 0, mesh)
    state = init()
    first = jax.device_get(state.params)
    update = make_update(model, tx, target, mesh)
    found = []
    for _ in range(2):
        n = 8 // parts
        state, metrics = update(state, [{k: a[i : i + n] for k, a in batch.items()} for i in range(0, 8, n)])
        found.append({k: float(sum(v) if k == "loss" else v) for k, v in metrics.items()})
    return first, state, found

one_first, one, one_metrics = run(jax.devices()[:1], 1, 1)
_, many, many_metrics = run(jax.devices(), 4, 2)
_, _, rows_apart = run(jax.devices(), 2, 2, 2)  # eight rows for four pairs: none is divided
_, _, rows_shared = run(jax.devices(), 2, 2, 2, parts=4)  # two rows at a time: each lies on two devices
meshes = [dict(mesh_of(rows, make_mesh(2, 1, 4)).shape) for rows in (16, 8, 12, 2)]
far = lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max())
inner = lambda s: {k: v for k, v in s.opt[1][0].mu.items()}
def slow_sum(x):  # with a collective
    return jax.lax.fori_loop(0, 300, lambda _, y: jnp.cos(y @ y.T @ y / 1e6), x).sum()

wide = jax.device_put(jnp.ones((64, 512)), batch_sharding(make_mesh(1, 1)))
slow = jax.jit(slow_sum)
slow(wide).block_until_ready()
print(json.dumps({
    "ready": one_at_a_time(slow, make_mesh(1, 1))(wide).is_ready(),
    "ready_if_not_waited_for": slow(wide).is_ready(),
    "metrics": [one_metrics, many_metrics, rows_apart, rows_shared],
    "meshes": meshes,
    "gap": {k: far(one.params[k], many.params[k]) for k in one.params},
    "moved": {k: far(one.params[k], one_first[k]) for k in one.params},
    "shards": {k: sorted({s.data.shape for s in v.addressable_shards}) for k, v in many.params.items()},
    "moments": {k: sorted({s.data.shape for s in v.addressable_shards}) for k, v in inner(many).items()},
    "owners": {k: len({str(s.index) for s in v.addressable_shards}) for k, v in many.params.items()},
}))
"""


@pytest.fixture(scope="module")
def found():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_sharded_training_step_equals_that_of_one_device(found):
    one, *others = found["metrics"]
    for many in others:
        for a, b in zip(one, many, strict=True):
            assert a == pytest.approx(b, abs=1e-5)
    assert one[0]["loss"] > one[1]["loss"]
    assert min(found["moved"].values()) > 1e-4
    assert max(found["gap"].values()) < 1e-5


def test_rows_are_divided_only_where_there_are_too_few(found):
    expected = ((8, 1), (8, 1), (4, 2), (2, 4))
    assert found["meshes"] == [{"data": 1, "fsdp": fsdp, "context": n, "tensor": 1} for fsdp, n in expected]


def test_parameters_and_moments_are_cut_as_the_table_says(found):
    # embed 64x32, q 2x32x4x8, k and v 2x32x2x8, o 2x4x8x32, gate and up 2x32x64, down 2x64x32; fsdp 4, tensor 2
    cut = {
        "embed": [32, 8], "q": [2, 8, 2, 8], "k": [2, 8, 2, 8], "v": [2, 8, 2, 8], "o": [2, 2, 8, 8],
        "gate": [2, 8, 32], "up": [2, 8, 32], "down": [2, 32, 8],
        "attn_norm": [2, 32], "mlp_norm": [2, 32], "final_norm": [32],
    }  # fmt: skip
    assert found["shards"] == found["moments"] == {name: [shape] for name, shape in cut.items()}
    assert found["owners"] == {n: 1 if "norm" in n else 4 if n in ("k", "v") else 8 for n in cut}


def test_a_step_is_waited_for_on_several_cpu_devices_and_not_on_one(found):
    assert found["ready"] and not found["ready_if_not_waited_for"]
    step = lambda x: x  # noqa: E731
    assert one_at_a_time(step, make_mesh(devices=jax.devices()[:1])) is step


def test_the_optimizer_follows_its_parameter_and_an_unknown_name_is_an_error():
    mesh = make_mesh(devices=jax.devices()[:1])
    q = jnp.zeros((1, 1, 1, 1))
    tree = {"params": {"q": q}, "opt": [{"mu": {"q": q, "final_norm": jnp.zeros(1)}}]}
    found = tree_shardings(tree, mesh)
    assert found["params"]["q"].spec == found["opt"][0]["mu"]["q"].spec == P(None, ("fsdp", "context"), "tensor", None)
    assert found["opt"][0]["mu"]["final_norm"].spec == P()
    for name in ("bias", "xq", "embedding"):
        with pytest.raises(ValueError, match=f"layer/{name}"):
            tree_shardings({"layer": {name: jnp.zeros(1)}}, mesh)


def test_a_mesh_that_does_not_divide_is_an_error():
    with pytest.raises(ValueError, match="mesh.fsdp=3"):
        make_mesh(fsdp=3, devices=jax.devices()[:1])


_SLICES = """
import jax
from jax.experimental import topologies
from selfexec_jax.model.sharding import make_mesh

devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x4", num_slices=2).devices
mesh = make_mesh(4, 2, devices=devices)
print(dict(mesh.shape), [sorted({d.slice_index for d in row.flat}) for row in mesh.devices])
try:
    make_mesh(16, devices=devices)
except ValueError as error:
    print(error)
"""


@needs_libtpu
def test_only_the_data_axis_leads_from_slice_to_slice():
    environment = os.environ | compiler_environment(CHIPS["v5e"])
    done = subprocess.run([sys.executable, "-c", _SLICES], capture_output=True, text=True, env=environment, timeout=300)
    laid_out, refused = done.stdout.splitlines()
    assert laid_out == "{'data': 2, 'fsdp': 4, 'context': 1, 'tensor': 2} [[0], [1]]"
    assert refused.startswith("mesh.fsdp=16 x mesh.context=1 x mesh.tensor=1 is more than the chips of one of 2 slices")
