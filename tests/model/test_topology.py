"""The paper's rows of 65,536 and 131,072 tokens, compiled ahead of time for pods; no TPU is needed, only libtpu."""

import json
import subprocess
import sys

import pytest

from tests.compiling import needs_libtpu

_SCRIPT = """
import dataclasses, importlib, json, os, sys
from selfexec_jax.planning.chips import CHIPS, compiler_environment
os.environ.update(compiler_environment(CHIPS["v5p"]))
import jax, jax.numpy as jnp
from jax.experimental import topologies
from selfexec_jax.configs.shapes import SHAPES
from selfexec_jax.model.architectures import read_config
from selfexec_jax.model.sharding import batch_sharding, make_mesh
from selfexec_jax.model.transformer import Transformer
from selfexec_jax.train.sft import make_optimizer, make_update
from selfexec_jax.train.state import abstract_state, runtime_fields

name, topology, (fsdp, context, tensor), rows = json.loads(sys.argv[1])
config = importlib.import_module(f"selfexec_jax.configs.{name}").get_config()
config.model.attention = "splash"
devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
mesh = make_mesh(fsdp, tensor, context, devices=devices)
model = Transformer(dataclasses.replace(read_config(SHAPES[name], "here"), **runtime_fields(config)), mesh)
tx = make_optimizer(config.sft)
_, _, target = abstract_state(model, tx, 0, mesh)
a_batch = jax.ShapeDtypeStruct((rows, config.sft.row_tokens), jnp.int32, sharding=batch_sharding(mesh))
batch = {part: a_batch for part in ("tokens", "positions", "segments", "is_answer")}
batch["scale"] = jax.ShapeDtypeStruct(a_batch.shape, jnp.float32, sharding=a_batch.sharding)
add = make_update(model, tx, target, mesh).gradients.add.of(rows)
memory = add.lower(target.params, target.params, batch).compile().memory_analysis()
moments = sum(a.dtype.itemsize * a.size for a in jax.tree.leaves(target.opt)) // len(devices)
print(json.dumps({"state": memory.argument_size_in_bytes + moments, "temporary": memory.temp_size_in_bytes}))
"""


@pytest.mark.long
@pytest.mark.timeout(1800)
@needs_libtpu
@pytest.mark.parametrize(
    "asked",
    [("qwen2p5_7b", "v5p:4x4x4", (4, 4, 4), 4), ("cwm_32b", "v5p:4x8x8", (8, 8, 4), 8)],
    ids=lambda asked: asked[0],
)
def test_a_step_fits_a_chip(asked):
    done = subprocess.run([sys.executable, "-c", _SCRIPT, json.dumps(asked)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    print(asked[0], {name: f"{size / 2**30:.1f} GiB a chip" for name, size in found.items()})
    assert sum(found.values()) < 0.9 * 95 * 2**30
