"""Every advantage, normaliser and objective against numpy written out with loops, and gradients against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfexec_jax.train.losses import ADVANTAGES, NORMALISERS, OBJECTIVES, importance_weight, kl_to_reference, sft_loss
from selfexec_jax.train.packing import pack
from selfexec_jax.train.rollouts import with_advantages
from selfexec_jax.train.scores import scores
from selfexec_jax.train.update import items_of, make_loss
from tests.train.knobs import group, knobs


def test_sft_loss_is_a_mean_over_answer_tokens():
    logprobs = jnp.array([[0.0, -1.0, -2.0], [0.0, -4.0, -8.0]])
    scale = jnp.array([[0, 1, 1], [0, 0, 1]]) / 3
    assert float(sft_loss(logprobs, scale)) == pytest.approx(11 / 3)
    assert float(sft_loss(logprobs, jnp.zeros((2, 3), int))) == 0  # and not nan


REWARDS = np.array([[1, -1, -1, -1], [1, 1, 0, -1], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], float)
VALID = np.array([[1, 1, 1, 1], [1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], bool)


def written_out(kind):
    expected = np.zeros(REWARDS.shape)
    everything = [REWARDS[at] for at in np.ndindex(REWARDS.shape) if VALID[at]]
    for g, row in enumerate(REWARDS):
        members = [i for i in range(4) if VALID[g, i]]
        for i in members:
            others = [row[j] for j in members if j != i]
            mine = [row[j] for j in members]
            if kind == "batch":
                expected[g, i] = (row[i] - np.mean(everything)) / np.std(everything)
            elif not others:
                expected[g, i] = 0
            elif kind == "mean":
                expected[g, i] = row[i] - np.mean(mine)
            elif kind == "mean_std":
                expected[g, i] = (row[i] - np.mean(mine)) / np.std(mine) if np.std(mine) else 0
            elif kind == "leave_one_out":
                expected[g, i] = row[i] - np.mean(others)
    return expected


@pytest.mark.parametrize("kind", ADVANTAGES)
def test_advantages(kind):
    poisoned = np.where(VALID, REWARDS, np.nan)  # what is not valid is not even looked at
    found = ADVANTAGES[kind](poisoned, VALID)
    np.testing.assert_allclose(found, written_out(kind), atol=1e-5)
    assert np.abs(found[0]).min() > 0.1
    assert not ADVANTAGES[kind](REWARDS, np.zeros_like(VALID)).any()


def test_normalisers():
    lengths = np.array([1, 4, 5])
    assert NORMALISERS["fixed"](lengths, 8, 10).tolist() == [1 / 80] * 3
    assert NORMALISERS["token"](lengths, 8, 10).tolist() == [1 / 10] * 3
    assert NORMALISERS["sequence"](lengths, 8, 10).tolist() == pytest.approx([1 / 8, 1 / 32, 1 / 40])
    assert all(len(normaliser(lengths[:0], 8, 10)) == 0 for normaliser in NORMALISERS.values())


@pytest.fixture(scope="module")
def rows():
    """Two rows of three answers each with what two policies think of their tokens."""
    rng = np.random.default_rng(0)
    segments = np.array([[1] * 10 + [2] * 7 + [3] * 9 + [0] * 4, [1] * 6 + [2] * 14 + [3] * 10])
    is_answer = (segments > 0) & (rng.random((2, 30)) < 0.7)
    advantage = rng.choice([-1.5, 0.5, 2.0], (2, 4))[np.arange(2)[:, None], segments] * is_answer
    new, old = rng.normal(size=(2, 2, 30)) * 0.4
    batch = {"segments": jnp.asarray(segments), "is_answer": jnp.asarray(is_answer, jnp.int32),
             "advantage": jnp.float32(advantage)}  # fmt: skip
    return batch, np.float32(new), np.float32(old)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_objectives(kind, rows):
    batch, new, old = rows
    segments, is_answer, advantage = (np.asarray(batch[k]) for k in ("segments", "is_answer", "advantage"))
    expected, held_back = np.zeros((2, 30)), 0
    for b, t in np.ndindex(2, 30):
        if not is_answer[b, t]:
            continue
        mine = [u for u in range(30) if segments[b, u] == segments[b, t] and is_answer[b, u]]
        ratio = np.exp(new[b, t] - old[b, t])
        if kind == "sequence_clipped":
            ratio = np.exp(np.mean([new[b, u] - old[b, u] for u in mine]))
        plain, bounded = ratio * advantage[b, t], min(max(ratio, 0.9), 1.15) * advantage[b, t]
        expected[b, t] = min(plain, bounded)
        held_back += bounded < plain
        if kind == "policy_gradient":
            expected[b, t] = new[b, t] * advantage[b, t]
    gain, n_clipped = OBJECTIVES[kind](batch, jnp.asarray(new), jnp.asarray(old), 0.1, 0.15)
    np.testing.assert_allclose(np.where(is_answer, gain, 0), expected, atol=1e-5)
    assert int(n_clipped) == (0 if kind == "policy_gradient" else held_back)
    assert held_back > 5


def test_a_clipped_token_has_no_gradient_and_an_unclipped_one_has():
    def gain(new, advantage):
        batch = {"is_answer": jnp.ones((1, 1)), "segments": jnp.ones((1, 1), int), "advantage": advantage}
        return OBJECTIVES["clipped"](batch, new, jnp.zeros((1, 1)), 0.2, 0.25)[0].sum()

    at = lambda ratio, a: float(jax.grad(gain)(jnp.log(jnp.full((1, 1), ratio)), jnp.full((1, 1), a))[0, 0])  # noqa: E731
    assert at(1.3, 1.0) == 0 and at(0.7, -1.0) == 0
    assert at(1.2, 1.0) == pytest.approx(1.2) and at(0.7, 1.0) == pytest.approx(0.7)
    assert at(1.3, -1.0) == pytest.approx(-1.3)


def test_tokens_outside_the_answer_cannot_overflow_the_ratio():
    batch = {"is_answer": jnp.array([[1, 0]]), "segments": jnp.ones((1, 2), int), "advantage": jnp.array([[1.0, 0.0]])}
    for kind in ("clipped", "sequence_clipped"):
        gain = lambda new, kind=kind: OBJECTIVES[kind](batch, new, jnp.zeros((1, 2)), 0.2, 0.25)[0].sum()  # noqa: E731
        value, grad = jax.value_and_grad(gain)(jnp.array([[0.0, 500.0]]))
        assert float(value) == 1.0 and grad.tolist() == [[1.0, 0.0]], kind


def test_importance_weights_are_capped_and_have_no_gradient():
    old, sampler = jnp.array([-1.0, -1.0, -1.0]), jnp.array([-1.0, -3.0, 0.0])
    np.testing.assert_allclose(importance_weight(old, sampler, 2.0), [1.0, 2.0, np.exp(-1)], rtol=1e-6)
    assert not jax.grad(lambda x: importance_weight(x, sampler, 2.0).sum())(old).any()


def test_kl_estimate():
    new, reference = np.array([-1.0, -2.0, -0.5]), np.array([-1.0, -1.5, -2.0])
    expected = [r - 1 - np.log(r) for r in np.exp(reference - new)]
    np.testing.assert_allclose(kl_to_reference(jnp.float32(new), jnp.float32(reference)), expected, atol=1e-6)
    # Over draws from the policy its mean is the divergence.
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    mean = (p * np.asarray(kl_to_reference(jnp.log(p), jnp.log(q)))).sum()
    assert mean == pytest.approx((p * np.log(p / q)).sum(), rel=1e-5)


PIECES = {
    "the paper's, off policy": {"staleness": 1},
    "one ratio an answer": {"staleness": 1, "objective": "sequence_clipped", "normaliser": "sequence"},
    "plain policy gradient": {"objective": "policy_gradient", "normaliser": "token"},
    "importance weights": {"staleness": 1, "importance_cap": 1.1, "advantage": "mean_std"},
    "divergence and entropy": {"kl": 0.3, "entropy_bonus": 0.2, "advantage": "leave_one_out"},
    "a batch's baseline": {"advantage": "batch", "updates": 2},
}


@pytest.mark.parametrize("name", PIECES)
def test_gradients_equal_central_differences(tiny, name):
    model, params = tiny
    options = knobs(**PIECES[name], temperature=0.9, prompts=2, group_size=4, max_new_tokens=2, row_tokens=32)
    groups = with_advantages(
        [group("solve", [1, -1, -1, 1], 1, n_turns=2), group("predict", [1, -1, 1, 1], 2, first_wrong=1)],
        options.advantage, {"solve": 1.0, "predict": 0.8},
    )  # fmt: skip
    (batch,) = pack(items_of(groups, options), {32: [8]})
    batch = {k: jnp.asarray(v) for k, v in batch.items()}
    # Fixed and off policy, but off the corners of the clip, where there is no derivative.
    rng = np.random.default_rng(0)
    logprobs = jax.jit(lambda p: scores(model, p, batch, 0.9)[0])(params)
    if needs := options.staleness or options.updates > 1:
        batch["old"] = logprobs + rng.choice([-0.5, -0.05, 0.1, 0.4], logprobs.shape)
    if options.kl:
        batch["reference"] = logprobs + 0.3 * rng.normal(size=logprobs.shape)
    loss = make_loss(model, options)
    grad = jax.jit(lambda p: jax.grad(lambda p: loss(p, p, batch)[0])(p))(params)
    # Held fixed in the ratio, the old policy must not move with the parameters that are wiggled.
    if not needs and options.objective == "clipped":
        batch["old"] = logprobs
        loss = make_loss(model, knobs(**PIECES[name] | {"staleness": 1}, temperature=0.9))
    value = jax.jit(lambda p: loss(p, p, batch)[0])
    norm = float(jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(grad))))
    directions = [jax.tree.map(lambda g: g / norm, grad)]
    # One parameter at a time too: a part that is wrong hides in the sum.
    directions += [{k: g / jnp.linalg.norm(g) if k == one else 0 * g for k, g in grad.items()} for one in grad]
    for direction in directions:
        step = 3e-4
        above = {name: p + step * direction[name] for name, p in params.items()}
        below = {name: p - step * direction[name] for name, p in params.items()}
        slope = float(value(above) - value(below)) / (2 * step)
        expected = sum(float(jnp.vdot(grad[name], direction[name])) for name in grad)
        assert slope == pytest.approx(expected, rel=2e-2, abs=2e-2 * norm)
    assert norm > 0.1
