"""The RL loop: what is packed, what the gradient is, and that a choice worth taking is learned."""

from concurrent.futures import Future

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfexec_jax.configs import base
from selfexec_jax.model import ModelConfig, Transformer
from selfexec_jax.model.sharding import make_mesh
from selfexec_jax.rollout import Engine, Sample
from selfexec_jax.train import rl
from selfexec_jax.train.losses import token_logprobs
from selfexec_jax.train.rl import Group, Outcome, Prompt
from selfexec_jax.train.state import abstract_state


def knobs(**changes):
    rl_knobs = base.get_config().rl.copy_and_resolve_references()
    with rl_knobs.unlocked():
        rl_knobs.update(changes)
    return rl_knobs


def group(task, rewards, seed, n_prompt=4):
    rng = np.random.default_rng(seed)
    prompt = tuple(rng.integers(2, 64, n_prompt).tolist())
    samples = []
    for _ in rewards:
        tokens = tuple(rng.integers(2, 64, int(rng.integers(1, 7))).tolist())
        samples.append(Sample(prompt, tokens, tuple(-rng.random(len(tokens))), "", "stop", 0))
    return Group(
        Prompt(task, str(seed), prompt, None), samples, [Outcome(r, "") for r in rewards], np.zeros(len(rewards))
    )


GROUPS = [
    group("predict", [1.0, -1.0, -1.0, -1.0], 1),
    group("solve", [1.0, 1.0, 1.0, 1.0], 2),  # no advantage
    group("fix", [1.0, None, -1.0, -1.0], 3),  # a member that the infrastructure failed
    group("solve", [None, None, None, 1.0], 4),  # fewer than two are left
    group("solve", [1.0, -1.0, 1.0, -1.0], 5),
]
WEIGHT = {"predict": 0.8, "solve": 1.0, "fix": 2.0}


def test_advantages_are_weighted_after_the_baseline_and_failures_masked():
    found = rl.with_advantages(GROUPS, WEIGHT)
    expected = [
        0.8 * np.array([1.5, -0.5, -0.5, -0.5]),
        np.zeros(4),
        2.0 * np.array([4 / 3, 0, -2 / 3, -2 / 3]),
        np.zeros(4),
        np.array([1, -1, 1, -1]),
    ]
    for g, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(g.advantages, e, atol=1e-6)
    assert rl.with_advantages([], WEIGHT) == []


def test_packing_keeps_every_answer_once_and_drops_what_has_no_advantage():
    groups = rl.with_advantages(GROUPS, WEIGHT)
    batches = rl.pack(groups, knobs(row_tokens=24, micro_rows=2))
    assert len(batches) > 1
    found = []
    for batch in batches:
        assert {v.shape for v in batch.values()} == {(2, 24)}
        for row in range(2):
            b = {k: v[row] for k, v in batch.items()}
            for segment in range(1, b["segments"].max() + 1):
                at = np.flatnonzero(b["segments"] == segment)
                assert (np.diff(at) == 1).all() and b["positions"][at].tolist() == list(range(len(at)))
                answer = at[b["is_answer"][at] == 1]
                assert answer.tolist() == at[-len(answer) :].tolist()
                assert (b["advantage"][at[: -len(answer)]] == 0).all()
                assert len(set(b["advantage"][answer])) == 1
                found.append(
                    (tuple(b["tokens"][at[: -len(answer)]]), tuple(b["tokens"][answer]),
                     tuple(b["sampler"][answer]), b["advantage"][answer[0]])
                )  # fmt: skip
            outside = b["segments"] == 0
            assert not any(b[k][outside].any() for k in ("tokens", "is_answer", "advantage", "sampler"))
    expected = [
        (s.prompt_tokens, s.tokens, tuple(np.float32(s.logprobs)), np.float32(a))
        for g in groups
        for s, a in zip(g.samples, g.advantages, strict=True)
        if a != 0
    ]
    assert len(expected) == 11
    assert sorted(found) == sorted(expected)


def test_a_sample_longer_than_a_row_is_an_error():
    with pytest.raises(ValueError, match=r"rl\.row_tokens"):
        rl.pack(rl.with_advantages(GROUPS, WEIGHT), knobs(row_tokens=6, micro_rows=3))


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(devices=jax.devices()[:1])


def gradients(model, params, mesh, options, batches):
    tx = rl.make_optimizer(options)
    _, _, target = abstract_state(model, tx, 0, mesh)
    accumulate, _, score = rl.make_update(model, tx, options, target, mesh)
    total, metrics = jax.tree.map(jnp.zeros_like, params), []
    for batch in batches:
        total, found = accumulate(params, total, jax.tree.map(jnp.asarray, batch))
        metrics.append(found)
    return total, metrics, score


def test_with_one_update_the_gradient_is_that_of_reinforce(tiny, forward, mesh):
    model, params = tiny
    options = knobs(row_tokens=24, micro_rows=2, prompts=5, group_size=4, max_new_tokens=9, temperature=0.8, updates=1)
    groups = rl.with_advantages(GROUPS, WEIGHT)
    batches = rl.pack(groups, options)
    assert len(batches) > 1
    got, metrics, _ = gradients(model, params, mesh, options, batches)

    # Each answer on its own, unpacked, padded to one length: sum of A log p over a fixed number.
    items = [(s, a) for g in groups for s, a in zip(g.samples, g.advantages, strict=True)]
    tokens, weight = np.zeros((len(items), 12), np.int32), np.zeros((len(items), 12), np.float32)
    for row, (s, a) in enumerate(items):
        n, m = len(s.prompt_tokens), len(s.tokens)
        tokens[row, : n + m] = s.prompt_tokens + s.tokens
        weight[row, n : n + m] = a

    @jax.jit
    def reinforce(params):
        ones = jnp.ones(tokens.shape, jnp.int32)
        logits = forward(params, jnp.asarray(tokens), jnp.broadcast_to(jnp.arange(12), tokens.shape), ones)
        return -(token_logprobs(logits, tokens, 0.8) * weight).sum() / (5 * 4 * 9)

    expected = jax.jit(jax.grad(reinforce))(params)
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], atol=1e-6, err_msg=name)
    assert max(float(jnp.abs(g).max()) for g in expected.values()) > 1e-3
    assert sum(int(m["sum"]["tokens"]) for m in metrics) == sum(len(s.tokens) for s, a in items if a)
    assert all(int(m["sum"]["clipped"]) == 0 for m in metrics)


def test_with_more_updates_the_ratio_is_taken_to_the_old_logprobs(tiny, mesh):
    model, params = tiny
    options = knobs(row_tokens=24, micro_rows=8, prompts=5, group_size=4, max_new_tokens=9, updates=2)
    (batch,) = rl.pack(rl.with_advantages(GROUPS, WEIGHT), options)
    _, _, score = gradients(model, params, mesh, options, [])
    old = score(params, {k: jnp.asarray(v) for k, v in batch.items()})
    same, metrics, _ = gradients(model, params, mesh, options, [batch | {"old": np.asarray(old)}])
    assert int(metrics[0]["sum"]["clipped"]) == 0
    # Where the answer has become likelier by far, what is right gains nothing more.
    far, metrics, _ = gradients(model, params, mesh, options, [batch | {"old": np.asarray(old) - 1.0}])
    positive = (batch["advantage"] > 0).sum()
    assert int(metrics[0]["sum"]["clipped"]) == positive > 0
    assert max(float(jnp.abs(same[k] - far[k]).max()) for k in same) > 1e-4


def test_a_two_token_bandit_is_learned(letters, mesh, tmp_path):
    good, bad = 2, 3
    model = Transformer(
        ModelConfig(vocab_size=4, d_model=16, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=32, query_block=8)
    )
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8), jnp.int32))["params"]
    engine = Engine(
        model, letters, slots=32, cache_length=8, prompt_buckets=(4,), prefill_tokens=8, steps_per_dispatch=1,
        devices=jax.devices()[:1],
    )  # fmt: skip
    options = knobs(
        steps=25, prompts=2, group_size=16, max_new_tokens=1, row_tokens=8, micro_rows=16, learning_rate=2e-2,
        warmup_steps=1, checkpoint_every=1000,
    )  # fmt: skip
    prompts = [Prompt("solve", "0", (3, 2), None), Prompt("solve", "1", (2, 2, 3), None)]
    shares, lines = [], []

    def score(prompt, sample):
        done = Future()
        reward = {good: 1.0, bad: -1.0}.get(sample.tokens[0], -1.0)
        done.set_result(Outcome(reward, "ok" if reward > 0 else "wrong"))
        return done

    def log(step, line, groups):
        lines.append(line)
        shares.append(np.mean([s.tokens[0] == good for g in groups for s in g.samples]))

    trained = rl.train(
        options, model, engine, params, mesh, 0, tmp_path / "rl", lambda step, n: prompts[:n], score, log
    )
    assert not params["embed"].is_deleted()  # the caller still owns what it passed in
    assert shares[0] < 0.6
    assert np.mean(shares[-3:]) > 0.9
    assert len(lines) == 25 and lines[0]["reward/solve"] == pytest.approx(2 * shares[0] - 1)
    assert max(line["logprob_gap_max"] for line in lines) < 1e-4
    # Started again, the finished run gives its parameters back and does nothing.
    again = rl.train(
        options, model, engine, params, mesh, 0, tmp_path / "rl", lambda step, n: pytest.fail("drew"), score, log
    )
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(trained), strict=True):
        np.testing.assert_array_equal(a, b)
