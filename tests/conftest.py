"""A decoder small enough to check by hand, shared by the tests of the device half."""

import atexit
import os
import shutil
import tempfile

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What one test compiled, another one, or the process that it starts, need not compile again; workers share it.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _compiled = tempfile.mkdtemp(prefix="selfexec-compiled-")
    atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


@pytest.fixture(scope="session")
def tiny_config():
    from selfexec_jax.model import ModelConfig

    return ModelConfig(
        vocab_size=64, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, d_ff=64, query_block=64
    )


@pytest.fixture(scope="session")
def tiny(tiny_config):
    """(model, params). The weights are larger than fresh ones, so that attention and choices are sharp."""
    import jax
    import jax.numpy as jnp

    from selfexec_jax.model import Transformer

    model = Transformer(tiny_config)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8), jnp.int32))["params"]
    keys = iter(jax.random.split(jax.random.key(1), len(params)))
    grow = {"embed": 20.0, "q": 2.0, "k": 2.0}
    params = {
        name: value + 0.3 * jax.random.normal(next(keys), value.shape)
        if "norm" in name
        else value * grow.get(name, 1.0)
        for name, value in params.items()
    }
    return model, params


@pytest.fixture(scope="session")
def forward(tiny):
    """The jitted full forward: (params, tokens, positions, segments) -> logits; compiled once a shape."""
    import jax

    model = tiny[0]
    return jax.jit(lambda params, *inputs: model.apply({"params": params}, *inputs))


class LetterTokenizer:
    """One character a token; 0 pads, 1 ends and shows in no text."""

    pad_id, end_id, vocab_size = 0, 1, 64

    def decode(self, ids):
        return "".join(chr(ord("0") + i) for i in ids if i != 1)


@pytest.fixture(scope="session")
def letters():
    return LetterTokenizer()
