"""Reading a checkpoint holds little beside what it makes: measured in a process of its own."""

import json
import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from selfexec_jax.model import hf, safetensors
from selfexec_jax.model.architectures import read_config

SHAPE = {"model_type": "qwen2", "num_attention_heads": 8, "num_key_value_heads": 2, "tie_word_embeddings": False}
LOAD = """
import json, sys, threading, time
import jax, jax.numpy as jnp
from selfexec_jax.model import hf

def held():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024

jax.block_until_ready(jnp.zeros(8) + 1)  # the runtime itself
before, most = held(), 0
def watch():
    global most
    while True:
        most = max(most, held())
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()
model, params = hf.load(sys.argv[1], sys.argv[2])
jax.block_until_ready(params)
size = sum(array.nbytes for array in params.values())
print(json.dumps({"peak": most - before, "size": size, "largest": max(model.cfg.vocab_size, 1) * model.cfg.d_model}))
"""


def _make(folder, **shape):
    """A checkpoint of random numbers in bfloat16, written a tensor at a time."""
    config = SHAPE | shape
    (folder / "config.json").write_text(json.dumps(config))
    places = hf.places(read_config(config, "here"))
    rng = np.random.default_rng(0)
    noise = rng.normal(size=1 << 20).astype(ml_dtypes.bfloat16)
    tensors = (np.resize(noise, place.shape) for place in places.values())
    shapes = {name: place.shape for name, place in places.items()}
    safetensors.write(str(folder / "model.safetensors"), shapes, np.dtype(ml_dtypes.bfloat16), tensors)
    return os.path.getsize(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("shape", "least"),
    [
        ({"vocab_size": 60_000, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 4}, 0.3e9),
        pytest.param(
            {"vocab_size": 150_000, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24}, 3e9,
            marks=pytest.mark.long,
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_at_most_twice_the_largest_tensor_above_the_final_state(tmp_path, shape, least, dtype):
    assert _make(tmp_path, **shape) > least
    done = subprocess.run([sys.executable, "-c", LOAD, tmp_path, dtype], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    largest = found["largest"] * {"bfloat16": 2, "float32": 4}[dtype]
    print(found, (found["peak"] - found["size"]) / largest)
    assert found["peak"] - found["size"] <= 2 * largest + (64 << 20)  # what is compiled on the way
