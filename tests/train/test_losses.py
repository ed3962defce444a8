"""Losses against numpy written out with loops, and their gradient against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfexec_jax.train.losses import clipped_policy_loss, entropy, group_advantages, sft_loss, token_logprobs


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@pytest.fixture(scope="module")
def logits():
    return np.random.default_rng(0).normal(size=(2, 5, 7)) * 3


@pytest.mark.parametrize("temperature", [1.0, 0.7, 1.6])
def test_logprobs_and_entropy(logits, temperature):
    tokens = np.random.default_rng(1).integers(0, 7, (2, 5))
    log_p = log_softmax(logits / temperature)
    expected, spread = np.zeros((2, 5)), np.zeros((2, 5))
    for b in range(2):
        for t in range(1, 5):
            expected[b, t] = log_p[b, t - 1, tokens[b, t]]
            spread[b, t] = -(np.exp(log_p[b, t - 1]) * log_p[b, t - 1]).sum()
    np.testing.assert_allclose(token_logprobs(jnp.float32(logits), tokens, temperature), expected, atol=1e-5)
    np.testing.assert_allclose(entropy(jnp.float32(logits), temperature), spread, atol=1e-5)


def test_sft_loss_is_a_mean_over_answer_tokens():
    logprobs = jnp.array([[0.0, -1.0, -2.0], [0.0, -4.0, -8.0]])
    assert float(sft_loss(logprobs, jnp.array([[0, 1, 1], [0, 0, 1]]))) == pytest.approx(11 / 3)
    assert float(sft_loss(logprobs, jnp.zeros((2, 3), int))) == 0  # and not nan


def test_group_advantages():
    rewards = np.array([[1, -1, -1, -1], [1, 1, 0, -1], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], np.float32)
    valid = np.array([[1, 1, 1, 1], [1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    expected = np.zeros((5, 4))
    for g in range(5):
        members = np.flatnonzero(valid[g])
        if len(members) >= 2:
            for i in members:
                expected[g, i] = rewards[g, i] - rewards[g, members].mean()
    np.testing.assert_allclose(group_advantages(rewards, valid), expected, atol=1e-6)
    assert expected[1].tolist() == pytest.approx([2 / 3, 2 / 3, 0, -4 / 3])


def test_clipped_loss():
    rng = np.random.default_rng(0)
    new, old = rng.normal(size=(2, 4, 30)) * 0.4
    advantage = rng.choice([-1.5, 0.5, 2.0], (4, 30))
    mask = rng.random((4, 30)) < 0.7
    total, clipped = 0.0, 0
    for at in np.ndindex(4, 30):
        if mask[at]:
            ratio = np.exp(new[at] - old[at])
            plain, bounded = ratio * advantage[at], min(max(ratio, 0.8), 1.25) * advantage[at]
            total += min(plain, bounded)
            clipped += bounded < plain
    loss, count = clipped_policy_loss(*map(jnp.float32, (new, old, advantage)), jnp.asarray(mask), 0.2, 0.25, 640.0)
    assert float(loss) == pytest.approx(-total / 640.0, rel=1e-5)
    assert int(count) == clipped > 10


def test_a_clipped_token_has_no_gradient_and_an_unclipped_one_has():
    grad = jax.grad(lambda new, a: clipped_policy_loss(new, jnp.zeros((1, 1)), a, jnp.ones((1, 1)), 0.2, 0.25, 1.0)[0])
    at = lambda ratio, a: float(grad(jnp.log(jnp.full((1, 1), ratio)), jnp.full((1, 1), a))[0, 0])  # noqa: E731
    assert at(1.3, 1.0) == 0 and at(0.7, -1.0) == 0
    assert at(1.2, 1.0) == pytest.approx(-1.2) and at(0.7, 1.0) == pytest.approx(-0.7)
    assert at(1.3, -1.0) == pytest.approx(1.3)


def test_tokens_outside_the_answer_cannot_overflow_the_ratio():
    def loss(new):
        one, mask = jnp.ones((1, 2)), jnp.array([[1, 0]])
        return clipped_policy_loss(new, jnp.zeros((1, 2)), one, mask, 0.2, 0.25, 1.0)[0]

    value, grad = jax.value_and_grad(loss)(jnp.array([[0.0, 500.0]]))
    assert float(value) == -1.0 and grad.tolist() == [[-1.0, 0.0]]


def test_the_policy_gradient_equals_central_differences(tiny, forward):
    params = tiny[1]
    rng = np.random.default_rng(0)
    tokens = jnp.asarray(rng.integers(2, 64, (2, 10)))
    inputs = tokens, jnp.tile(jnp.arange(10), (2, 1)), jnp.ones((2, 10), jnp.int32)
    advantage = jnp.asarray(rng.choice([-1.0, 0.5], (2, 10)), jnp.float32)
    mask = jnp.arange(10)[None] > 3
    # Fixed and off policy, but off the corners of the clip, where there is no derivative.
    off = jnp.asarray(rng.choice([-0.5, -0.05, 0.1, 0.4], (2, 10)), jnp.float32)
    old = token_logprobs(forward(params, *inputs), tokens, 0.9) + off

    @jax.jit
    def loss(params):
        logprobs = token_logprobs(forward(params, *inputs), tokens, 0.9)
        return clipped_policy_loss(logprobs, old, advantage, mask, 0.2, 0.25, 10.0)[0]

    grad = jax.jit(jax.grad(loss))(params)
    norm = float(jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(grad))))
    directions = [jax.tree.map(lambda g: g / norm, grad)]
    # One parameter at a time too: a part that is wrong hides in the sum.
    directions += [{k: g / jnp.linalg.norm(g) if k == name else 0 * g for k, g in grad.items()} for name in grad]
    for direction in directions:
        step = 3e-3
        above = {name: p + step * direction[name] for name, p in params.items()}
        below = {name: p - step * direction[name] for name, p in params.items()}
        slope = float(loss(above) - loss(below)) / (2 * step)
        expected = sum(float(jnp.vdot(grad[name], direction[name])) for name in grad)
        assert slope == pytest.approx(expected, rel=2e-2, abs=2e-3)
        assert expected > 0.01
