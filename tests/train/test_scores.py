"""Log-probabilities and entropies against numpy written out with loops."""

import jax.numpy as jnp
import numpy as np
import pytest

from selfexec_jax.train.scores import entropy, token_logprobs


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@pytest.mark.parametrize("temperature", [1.0, 0.7, 1.6])
def test_logprobs_and_entropy(temperature):
    logits = np.random.default_rng(0).normal(size=(2, 5, 7)) * 3
    tokens = np.random.default_rng(1).integers(0, 7, (2, 5))
    log_p = log_softmax(logits / temperature)
    expected, spread = np.zeros((2, 5)), np.zeros((2, 5))
    for b in range(2):
        for t in range(1, 5):
            expected[b, t] = log_p[b, t - 1, tokens[b, t]]
            spread[b, t] = -(np.exp(log_p[b, t - 1]) * log_p[b, t - 1]).sum()
    np.testing.assert_allclose(token_logprobs(jnp.float32(logits), tokens, temperature), expected, atol=1e-5)
    np.testing.assert_allclose(entropy(jnp.float32(logits), temperature), spread, atol=1e-5)
