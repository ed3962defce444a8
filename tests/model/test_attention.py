"""Rows that several devices share, and the splash kernel: the same as plain attention on one device, gradients too."""

import json
import subprocess
import sys

import numpy as np
import pytest

from selfexec_jax.model.attention import zigzag

_SCRIPT = """
import dataclasses, json, sys
import jax
jax.config.update("jax_num_cpu_devices", 8)
import jax.numpy as jnp, numpy as np
from selfexec_jax.model import ModelConfig, Transformer
from selfexec_jax.model.sharding import batch_sharding, make_mesh, tree_shardings
from selfexec_jax.train.scores import scores

length, ways = int(sys.argv[1]), json.loads(sys.argv[2])
cfg = ModelConfig(vocab_size=96, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=16, d_ff=48, qk_norm=True,
                  windows=(0, 40), attention_cap=4.0, query_block=48)
plain = Transformer(cfg)
params = jax.jit(plain.init)(jax.random.key(0), jnp.zeros((1, 8), jnp.int32))["params"]
params = {n: p * 3 if n in ("q", "k", "embed") else p for n, p in params.items()}
rng = np.random.default_rng(0)
cuts = [length // 3 + 5, length - 20]
segments = np.array([[1] * cuts[0] + [2] * (cuts[1] - cuts[0]) + [0] * (length - cuts[1]), [1] * length])
batch = {
    "tokens": rng.integers(2, 96, (2, length)), "segments": segments,
    "positions": np.array([[*range(cuts[0]), *range(length - cuts[0])], [*range(length)]]),
}
batch = {name: a.astype(np.int32) for name, a in batch.items()}
weight = rng.normal(size=(2, length)).astype(np.float32) * (segments > 0)

def found(mesh, **changes):
    model = Transformer(dataclasses.replace(cfg, **changes), mesh)
    given, placed = batch, params
    if mesh is not None:
        given = jax.device_put(batch, batch_sharding(mesh))
        placed = jax.device_put(params, tree_shardings(params, mesh))
    def loss(params, batch):
        logprobs, _ = scores(model, params, batch)
        return (logprobs * weight).sum() / length, logprobs
    grads, logprobs = jax.jit(jax.grad(loss, has_aux=True))(placed, given)
    return jax.device_get((logprobs * weight, grads))

base_logprobs, base_grads = found(None)
answers = {}
for name, (fsdp, tensor, context, changes) in ways.items():
    mesh = make_mesh(fsdp, tensor, context, devices=jax.devices()[:fsdp * tensor * context]) if context else None
    logprobs, grads = found(mesh, **changes)
    answers[name] = {
        "logprobs": float(np.abs(logprobs - base_logprobs).max()),
        "grads": max(float(np.abs(grads[n] - base_grads[n]).max() / np.abs(base_grads[n]).max()) for n in grads),
    }
print(json.dumps(answers))
"""


def gaps(length, ways):
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(length), json.dumps(ways)], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_context_of_four_equals_one_packed_and_windowed_with_gradients():
    ways = {
        "with fsdp": (2, 1, 4, {}), "heads shared by devices": (1, 4, 2, {}),
        "in a scan, vocabulary in chunks": (1, 2, 4, {"scan_layers": True, "remat": "layer", "vocab_chunk": 40}),
    }  # fmt: skip
    for name, gap in gaps(160, ways).items():
        assert gap["logprobs"] < 1e-5 and gap["grads"] < 1e-4, (name, gap)


def test_the_splash_kernel_equals_plain_attention_on_one_device_and_on_a_shared_row():
    splash = {"attention": "splash"}
    ways = {"alone": (1, 1, 0, splash), "context 2": (1, 2, 2, splash)}
    for name, gap in gaps(256, ways).items():
        assert gap["logprobs"] < 1e-5 and gap["grads"] < 1e-4, (name, gap)


_BLOCKS = """
import jax
jax.config.update("jax_num_cpu_devices", 256)
from selfexec_jax.configs import cwm_32b, qwen2p5_3b, qwen2p5_7b
from selfexec_jax.model.attention import block_of, context_of
from selfexec_jax.model.sharding import make_mesh, mesh_of
from selfexec_jax.planning.chips import slice_named
from selfexec_jax.train.packing import row_shapes
from selfexec_jax.train.sft import rows_of

slices = [(qwen2p5_3b, None, "v5e-64"), (qwen2p5_3b, "v6e_32", "v6e-32"), (qwen2p5_7b, None, "v5p-128"),
          (qwen2p5_7b, "v6e_64", "v6e-64"), (cwm_32b, None, "v5p-512")]
for maker, row, name in slices:
    c = maker.get_config(row)
    devices = jax.devices()[: slice_named(name).n_chips]
    mesh = make_mesh(c.mesh.fsdp, c.mesh.tensor, c.mesh.context, devices=devices)
    rows = rows_of(c.sft, mesh)
    shapes = [(rows * c.sft.row_tokens // length, length) for length in (c.sft.row_tokens, c.sft.short_row_tokens)
              if length]
    shapes += [(n, length) for length, counts in row_shapes(c.rl, mesh).items() for n in counts]
    for n, length in shapes:
        share, left = divmod(length, context_of(mesh_of(n, mesh)))
        block = block_of(share)
        assert not left and share % block == 0 and block % 128 == 0, (name, n, length, share, block)
        print(c.name, n, length, share, block)
"""


def test_the_kernel_has_whole_blocks_in_every_row_of_the_large_configs():
    """As many as a device has of a row that is shared: of CWM's small micro-batches 1,280 tokens."""
    done = subprocess.run([sys.executable, "-c", _BLOCKS], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "cwm_32b 16 20480 1280 256" in done.stdout


def test_zigzag_gives_every_device_the_same_causal_work():
    order = zigzag(32, 4)
    assert sorted(order) == list(range(32)) and list(order[:8]) == [0, 1, 2, 3, 28, 29, 30, 31]
    assert len({int(part.sum()) for part in np.split(order, 4)}) == 1
    assert list(zigzag(5, 1)) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="mesh.context=4"):
        zigzag(20, 4)
