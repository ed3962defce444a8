"""The ways to save memory change nothing but memory: chunks of the vocabulary, micro-batches, adapters, Adafactor."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfexec_jax.configs import base
from selfexec_jax.model import Transformer
from selfexec_jax.model.sharding import make_mesh
from selfexec_jax.model.transformer import merged
from selfexec_jax.train import sft
from selfexec_jax.train.health import Unhealthy
from selfexec_jax.train.scores import scores
from selfexec_jax.train.sft import make_optimizer, make_update, rows_of
from selfexec_jax.train.state import abstract_state, trainable
from selfexec_jax.train.stopping import Stopped


def batch(rows=4, seed=0):
    rng = np.random.default_rng(seed)
    segments = np.repeat([[1] * 9 + [2] * 6 + [0]], rows, 0).astype(np.int32)
    is_answer = rng.random((rows, 16)) < rng.random((rows, 1))  # rows with many answers and with few
    return {
        "tokens": rng.integers(2, 64, (rows, 16)).astype(np.int32),
        "positions": np.repeat([[*range(9), *range(6), 0]], rows, 0).astype(np.int32),
        "segments": segments, "is_answer": is_answer.astype(np.int32) * (segments > 0),
    }  # fmt: skip


class Repeating:
    """The same batch for every update."""

    def __next__(self):
        return [batch()]

    def get_state(self):
        return {}

    def set_state(self, state):
        pass


def test_tokens_before_an_interruption_are_counted(tiny, tmp_path, monkeypatch):
    knobs, lines, asked = base.get_config().sft, [], []
    knobs.update({"steps": 9, "log_every": 4, "batch_rows": 4, "micro_batches": 1, "checkpoint_every": 100})
    monkeypatch.setattr(sft, "between_steps", lambda: contextlib.nullcontext(lambda: bool(asked)))
    mesh = make_mesh(devices=jax.devices()[:1])
    begins = lambda step: asked.append(step) if step == 5 else None  # noqa: E731
    train = lambda: sft.train(  # noqa: E731
        knobs, tiny[0], Repeating(), mesh, 0, tmp_path, lambda step, line: lines.append((step, line["tokens"])),
        begins=begins,
    )  # fmt: skip
    with pytest.raises(Stopped, match="after step 6 of 9"):
        train()
    asked.clear()
    train()
    assert lines == [(4, 4 * 60), (8, 4 * 60), (9, 60)]


def test_a_run_that_diverges_says_so_and_saves_nothing_of_it(tiny, tmp_path):
    knobs = base.get_config().sft
    knobs.update({"steps": 9, "batch_rows": 4, "micro_batches": 1, "checkpoint_every": 2, "learning_rate": 1e30})
    mesh = make_mesh(devices=jax.devices()[:1])
    with pytest.raises(Unhealthy, match=r"gradients or parameters are not finite at step 2 \(sft.learning_rate\?\)"):
        sft.train(knobs, tiny[0], Repeating(), mesh, 0, tmp_path, lambda step, line: None)
    assert not any(p.name.isdigit() for p in tmp_path.iterdir())


@pytest.mark.parametrize(("chunk", "cap", "temperature"), [(64, 0.0, 0.7), (25, 3.0, 1.3), (100, 0, 1)])
def test_chunks_of_the_vocabulary_equal_the_whole_with_gradients(tiny, chunk, cap, temperature):
    model, params = tiny
    model = Transformer(dataclasses.replace(model.cfg, logit_cap=cap))
    given, weight = batch(), np.random.default_rng(1).normal(size=(4, 16)).astype(np.float32)

    def found(vocab_chunk):
        changed = Transformer(dataclasses.replace(model.cfg, vocab_chunk=vocab_chunk))

        def weighted(params):
            logprobs, entropy = scores(changed, params, given, temperature, entropy_gradient=True)
            return ((logprobs + 0.5 * entropy) * weight).sum(), (logprobs, entropy)

        return jax.jit(jax.grad(weighted, has_aux=True))(params)

    (whole, plain), (parts, chunked) = found(0), found(chunk)
    for a, b in zip(plain, chunked, strict=True):
        np.testing.assert_allclose(b, a, atol=2e-5)
    for name in params:
        np.testing.assert_allclose(parts[name], whole[name], atol=2e-4, rtol=1e-4, err_msg=name)


def updated(model, micro_batches=1, steps=1, start=None, **changes):
    """(state before, state after, the loss and gradient norm of every update) of a few updates on one batch."""
    knobs = base.get_config().sft
    knobs.update(changes)
    mesh = make_mesh(devices=jax.devices()[:1])
    tx = make_optimizer(knobs)
    init, given, target = abstract_state(model, tx, 0, mesh)
    state = init() if start is None else given(jax.tree.map(jnp.copy, start))
    before = jax.device_get(state)
    update, n = make_update(model, tx, target, mesh), 4 // micro_batches
    parts = [{name: a[i : i + n] for name, a in batch().items()} for i in range(0, 4, n)]
    metrics = []
    for _ in range(steps):
        state, line = update(state, parts)
        metrics.append({"loss": float(sum(line["loss"])), "grad_norm": float(line["grad_norm"])})
    return before, jax.device_get(state), metrics


def test_micro_batches_add_up_to_the_batch(tiny):
    model, params = tiny
    _, whole, metrics = updated(model, start=params, warmup_steps=0)
    _, parts, others = updated(model, 2, start=params, warmup_steps=0)
    assert others[0]["loss"] == pytest.approx(metrics[0]["loss"], abs=1e-5)
    assert others[0]["grad_norm"] == pytest.approx(metrics[0]["grad_norm"], rel=1e-4)
    for name in params:
        np.testing.assert_allclose(parts.params[name], whole.params[name], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("changes", [{"micro_batches": 3}, {"batch_rows": 5}])
def test_rows_that_do_not_divide_name_the_field(changes):
    knobs = base.get_config().sft
    knobs.update({"batch_rows": 4, "micro_batches": 2} | changes)
    with pytest.raises(ValueError, match=r"sft\.batch_rows=\d in sft\.micro_batches=\d parts do not divide"):
        rows_of(knobs, make_mesh(devices=jax.devices()[:1]))
    knobs.update({"batch_rows": 4, "micro_batches": 2})
    assert rows_of(knobs, make_mesh(devices=jax.devices()[:1])) == 2


def test_adafactor_learns_with_a_fraction_of_the_memory(tiny):
    size = lambda tree: sum(a.size for a in jax.tree.leaves(tree))  # noqa: E731
    wide = Transformer(dataclasses.replace(tiny[0].cfg, d_model=128, d_ff=256))
    before, after, metrics = updated(wide, steps=12, optimizer="adafactor", warmup_steps=0)
    assert metrics[-1]["loss"] < metrics[0]["loss"] - 0.3
    adam = make_optimizer(base.get_config().sft).init(before.params)
    assert size(before.opt) < size(before.params) / 2 and size(adam) > 2 * size(before.params)


def test_adapters_alone_are_trained_and_merge_into_what_they_adapt(tiny):
    model, params = tiny
    adapted = Transformer(dataclasses.replace(model.cfg, lora_rank=3, lora_alpha=6.0))
    fresh = jax.jit(adapted.init)(jax.random.key(0), jnp.zeros((1, 8), jnp.int32))["params"] | params
    given = batch()
    ask = lambda m, p: jax.jit(m.apply)({"params": p}, given["tokens"])  # noqa: E731
    np.testing.assert_allclose(ask(adapted, fresh), ask(model, params), atol=1e-5)  # they begin as nothing
    before, after, metrics = updated(adapted, steps=8, start=fresh, warmup_steps=0)
    assert metrics[-1]["loss"] < metrics[0]["loss"] - 0.05
    learned = trainable(before.params)
    assert len(learned) == 14 and all((after.params[n] != before.params[n]).any() for n in learned)
    assert all((after.params[n] == before.params[n]).all() for n in before.params if n not in learned)
    assert {a.shape for a in jax.tree.leaves(after.opt)} <= {(), *(a.shape for a in learned.values())}
    plain = merged(after.params, adapted.cfg)
    assert plain.keys() == params.keys()
    np.testing.assert_allclose(ask(adapted, after.params), ask(model, plain), atol=1e-4)
    assert float(jnp.abs(ask(model, plain) - ask(model, params)).max()) > 0.05
