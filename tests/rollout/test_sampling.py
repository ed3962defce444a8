"""The choice of a token, against sorting and against the probabilities it claims."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from selfexec_jax.rollout.sampling import restrict, sample


def by_sorting(p, top_p, top_k):
    """The smallest set of likeliest tokens that holds top_p, cut to the top_k."""
    order = np.argsort(-p)
    n = int(np.searchsorted(np.cumsum(p[order].astype(np.float64)), top_p)) + 1 if top_p < 1 else len(p)
    n = min(n, top_k or len(p))
    kept = np.zeros_like(p)
    kept[order[:n]] = p[order[:n]]
    return kept


def test_restriction_against_sorting():
    rng = np.random.default_rng(0)
    rows = 200
    p = rng.dirichlet(np.full(50, 0.3), rows).astype(np.float32)
    top_p = rng.choice([0.05, 0.3, 0.9, 0.95, 0.999, 1.0], rows).astype(np.float32)
    top_k = rng.choice([0, 1, 2, 7, 49, 50, 1000], rows).astype(np.int32)
    got = np.asarray(jax.jit(restrict)(p, top_p, top_k))
    for row in range(rows):
        np.testing.assert_array_equal(got[row], by_sorting(p[row], top_p[row], top_k[row]), err_msg=f"row {row}")


def test_few_of_many_stay_however_unlikely_all_but_one_are():
    p = np.full((1, 100_000), 5e-10, np.float32)
    p[0, :3] = [0.99, 3e-9, 2e-9]
    got = np.asarray(jax.jit(restrict)(p, np.ones(1, np.float32), np.array([3], np.int32)))
    assert np.flatnonzero(got[0]).tolist() == [0, 1, 2]


@pytest.mark.parametrize("top_p", [0.0, 1e-9])
def test_the_likeliest_token_always_stays(top_p):
    p = jnp.array([[0.2, 0.5, 0.3]])
    assert restrict(p, jnp.array([top_p]), jnp.array([0])).tolist() == [[0, 0.5, 0]]


def test_equally_likely_tokens_at_the_edge_all_stay():
    p = jnp.array([[0.25, 0.25, 0.25, 0.25]])
    assert int((restrict(p, jnp.array([0.3]), jnp.array([1])) > 0).sum()) == 4


def draw(logits, rows, temperature=1.0, top_p=1.0, top_k=0, position=0, is_restricted=True):
    keys = jnp.stack([jnp.full(rows, 5, jnp.uint32), jnp.arange(rows, dtype=jnp.uint32)], 1)
    full = lambda value, dtype: jnp.full(rows, value, dtype)  # noqa: E731
    tokens, logprobs = jax.jit(sample, static_argnums=6)(
        jnp.tile(jnp.asarray(logits, jnp.float32), (rows, 1)), keys, full(position, jnp.int32),
        full(temperature, jnp.float32), full(top_p, jnp.float32), full(top_k, jnp.int32), is_restricted,
    )  # fmt: skip
    return np.asarray(tokens), np.asarray(logprobs)


LOGITS = np.array([1.0, -2.0, 0.3, 2.0, 0.0, -0.5, 1.5, 0.9])


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k"), [(1.0, 1.0, 0), (0.6, 1.0, 0), (1.7, 0.8, 0), (1.0, 1.0, 3)]
)
def test_frequencies_match_probabilities(temperature, top_p, top_k):
    p = softmax(LOGITS / temperature)
    kept = by_sorting(p, top_p, top_k)
    tokens, logprobs = draw(LOGITS, 20_000, temperature, top_p, top_k)
    counts = np.bincount(tokens, minlength=8)
    assert counts[kept == 0].sum() == 0
    expected = kept[kept > 0] / kept.sum() * len(tokens)
    assert scipy.stats.chisquare(counts[kept > 0], expected).pvalue > 1e-3
    # Restricted or not, the log-probability is that of the full vocabulary.
    np.testing.assert_allclose(logprobs, np.log(p)[tokens], atol=1e-5)


def test_the_chi_square_would_notice_another_temperature():
    tokens, _ = draw(LOGITS, 20_000, 1.1)
    assert scipy.stats.chisquare(np.bincount(tokens, minlength=8), softmax(LOGITS) * 20_000).pvalue < 1e-6


def test_temperature_zero_is_greedy_with_logprobs_at_temperature_one():
    tokens, logprobs = draw(LOGITS, 50, temperature=0.0)
    assert set(tokens) == {3}
    np.testing.assert_allclose(logprobs, np.log(softmax(LOGITS))[3], atol=1e-6)


def test_a_draw_depends_on_its_own_key_and_position_alone():
    alone, many = draw(LOGITS, 3)[0], draw(LOGITS, 500)[0]
    assert alone.tolist() == many[:3].tolist()
    assert draw(LOGITS, 500, is_restricted=False)[0].tolist() == many.tolist()
    assert 0.5 < (draw(LOGITS, 500, position=1)[0] != many).mean() < 0.95  # another position, another draw


def test_impossible_tokens_are_never_drawn():
    logits = np.where(np.arange(8) % 2, -np.inf, 0.0)
    tokens, _ = draw(logits, 4000, is_restricted=False)
    assert set(tokens) == {0, 2, 4, 6}
