"""Decoding of a 7B model compiled ahead of time for TPUs: what it reads, holds and sends; only libtpu is needed."""

import json
import os
import re
import subprocess
import sys

import pytest

from selfexec_jax.planning.hlo import parse, size_of
from tests.compiling import needs_libtpu

_SCRIPT = """
import os, sys, json
topology, accelerator, tensor, slots, length, is_int8 = json.loads(sys.argv[1])
from selfexec_jax.planning.chips import compiler_environment, slice_named
os.environ.update(compiler_environment(slice_named(accelerator).chip))
import dataclasses, functools
import jax, jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec as P
from selfexec_jax.configs.shapes import SHAPES
from selfexec_jax.model.architectures import read_config
from selfexec_jax.model.cache import empty_cache
from selfexec_jax.model.decoding import decoding_config, decoding_params, decoding_shardings
from selfexec_jax.model.sharding import make_mesh
from selfexec_jax.model.transformer import Transformer, init_params
from selfexec_jax.rollout import decode

devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
mesh = make_mesh(tensor=tensor, devices=devices[:tensor])
trained = dataclasses.replace(read_config(SHAPES["qwen2p5_7b"], "here"), compute_dtype="bfloat16")
cfg = decoding_config(trained, tensor)
of = lambda t, sharding: jax.ShapeDtypeStruct(t.shape, t.dtype, sharding=sharding)
whole, heads = NamedSharding(mesh, P()), NamedSharding(mesh, P(None, "tensor"))
params = jax.eval_shape(lambda: init_params(Transformer(trained), jax.random.key(0)))
params = jax.eval_shape(functools.partial(decoding_params, cfg=trained, tensor=tensor), params)
params = jax.tree.map(of, params, decoding_shardings(params, mesh))
cache = jax.eval_shape(lambda: empty_cache(cfg, slots, length, is_int8))
cache = jax.tree.map(lambda t: of(t, heads), cache)
state = {name: jax.ShapeDtypeStruct((slots,), dtype, sharding=whole) for name, dtype in decode.FIELDS.items()}
state["key"] = jax.ShapeDtypeStruct((slots, 2), jnp.uint32, sharding=whole)
number = jax.ShapeDtypeStruct((), jnp.int32)
with jax.set_mesh(mesh):
    compiled = decode.decode.lower(
        Transformer(cfg, mesh), params, [cache], state, (length,), 32, number, False, number
    ).compile()
size = lambda tree: sum(t.size * t.dtype.itemsize for t in jax.tree.leaves(tree)) / tensor
open(sys.argv[2], "w").write(compiled.as_text())
memory = compiled.memory_analysis()
print(json.dumps({"params": size(params), "cache": size(cache), "temporary": memory.temp_size_in_bytes}))
"""
_FREE = ("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "copy-done", "slice-done", "all-reduce-done")


def loop_of(text):
    """The instructions of the largest loop of a compiled program: one step of decoding."""
    computations = parse(text).computations
    largest = max((computations[body] for body in re.findall(r"body=%?([\w.\-]+)", text)), key=len)
    return [(i.name, i.shape, i.kind, i.rest) for i in largest.values()]


def bytes_moved(loop):
    """Bytes that a step reads from and writes to the memory of a chip.

    Writing a token into the cache and looking up an embedding touch rows, not the arrays that they are in.
    """
    sizes, total = {}, 0
    for name, shape, kind, rest in loop:
        sizes[name] = size_of(shape)
        if kind in _FREE:
            continue
        operands = [sizes.get(operand, 0) for operand in re.findall(r"%([\w.\-]+)", rest.split("), ")[0])]
        source = re.search(r'op_name="([^"]*)"', rest)
        moved = sizes[name] + sum(operands)
        if source and source[1].endswith("/scatter"):
            moved -= 2 * max(operands, default=0)
        elif source and source[1].endswith("_embed/gather"):
            moved -= max(operands, default=0)
        elif kind == "slice-start":  # ((whole), slice, state): fetched ahead of its use
            moved = size_of(shape.split("), ", 1)[1], is_anywhere=True)
        elif kind == "copy-start":  # (copy, original, state)
            moved = sum(operands) + size_of(re.match(r"\((\w+\[[\d,]*\]\{[^}]*\})", shape)[1])
        total += moved
    return total


@pytest.mark.long
@pytest.mark.timeout(1800)
@needs_libtpu
@pytest.mark.parametrize(
    "asked",
    [("v5e:2x4", "v5litepod-8", 4, 64, 4096, False), ("v5e:2x4", "v5litepod-8", 4, 64, 4096, True),
     ("v5:2x2x1", "v5p-8", 4, 64, 4096, False), ("v5:2x2x1", "v5p-8", 1, 64, 4096, False)],
    ids=lambda asked: f"{asked[1]}-tensor{asked[2]}{'-int8' * asked[5]}",
)  # fmt: skip
def test_a_step_reads_weights_and_cache_once_and_moves_no_cache(asked, tmp_path):
    program = tmp_path / "program.txt"
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps(asked), str(program)], capture_output=True, text=True,
        env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    loop = loop_of(program.read_text())
    moved = bytes_moved(loop) / (found["params"] + found["cache"])
    sent = [size_of(shape, is_anywhere=True) for _, shape, kind, _ in loop
            if re.match("all-|collective|reduce-scatter", kind)]  # fmt: skip
    print(
        asked, {name: f"{n / 2**30:.2f} GiB a chip" for name, n in found.items()},
        f"moved {moved:.2f} x both; largest of {len(sent)} collectives {max(sent, default=0) / 2**20:.2f} MiB",
    )  # fmt: skip
    assert found["temporary"] < 0.2 * found["cache"]
    assert 0.8 < moved < 1.2  # less than 1: of an embedding that is not the head only rows are read
    assert (len(sent) > 28) == (asked[2] > 1) and max(sent, default=0) < 1 << 20
