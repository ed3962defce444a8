"""The counted arithmetic against what XLA counts for the same decoder, and against a sum over pairs of tokens."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from selfexec_jax.configs.shapes import SHAPES
from selfexec_jax.model import ModelConfig, Transformer
from selfexec_jax.model.architectures import read_config
from selfexec_jax.model.transformer import init_params
from selfexec_jax.planning import arithmetic

PLAIN = ModelConfig(vocab_size=512, d_model=64, n_layers=3, n_heads=4, n_kv_heads=2, head_dim=16, d_ff=160)
BILLIONS = {"qwen2p5_3b": 3.09, "qwen2p5_7b": 7.62, "cwm_32b": 32.7, "llama2_70b": 68.98, "llama3p1_8b": 8.03}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_have_as_many_parameters_as_their_makers_say(name):
    cfg = read_config(SHAPES[name], name)
    params = jax.eval_shape(lambda: init_params(Transformer(cfg), jax.random.key(0)))
    n = sum(a.size for a in jax.tree.leaves(params))
    assert abs(n / 1e9 - BILLIONS[name]) < 0.01 * BILLIONS[name]
    vectors = sum(a.size for k, a in params.items() if "norm" in k or "bias" in k)
    table = 0 if cfg.tied else cfg.vocab_size * cfg.d_model  # looked up, not multiplied by
    assert n - vectors - table == arithmetic.matrix_parameters(cfg)


def test_a_forward_pass_is_what_xla_counts():
    """XLA's masked attention does all pairs, the count only those that are seen: the rest is added here."""
    B, L = 2, 64
    model = Transformer(dataclasses.replace(PLAIN, query_block=L))
    params = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    tokens = jax.ShapeDtypeStruct((B, L), jnp.int32)
    lowered = jax.jit(lambda p, t: model.apply({"params": p}, t)).lower(params, tokens)
    counted = lowered.compile().cost_analysis()["flops"]
    all_pairs = arithmetic.forward(PLAIN, L) + arithmetic.attention(PLAIN, L)
    assert 1 <= counted / (B * L * all_pairs) < 1.12  # norms, rotations and the softmax come on top


@pytest.mark.parametrize("example, window", [(10, 0), (10, 4), (10, 10), (10, 30), (100, 7)])
def test_tokens_seen(example, window):
    pairs = sum(q - k < (window or example) for q in range(example) for k in range(q + 1))
    # Half of the diagonal is left out, as in the field's 6 N D + causal attention.
    assert arithmetic.seen(example, window) == pytest.approx(pairs / example - 0.5, abs=0.51 if window else 1e-9)


def test_recomputation_is_no_work_but_takes_time():
    again = dataclasses.replace(PLAIN, remat="layer")
    assert arithmetic.training(again, 64) == arithmetic.training(PLAIN, 64)
    plain, again = (dataclasses.replace(cfg, attention="splash") for cfg in (PLAIN, again))
    once, forward = arithmetic.kernels(plain, 64, True), arithmetic.kernels(plain, 64, False)
    assert arithmetic.kernels(again, 64, True) == once + forward > once > 3 * forward
    assert arithmetic.kernels(PLAIN, 64, True) == 0  # no kernel
