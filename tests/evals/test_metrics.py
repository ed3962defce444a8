from itertools import combinations
from math import comb, prod

import numpy as np
import pytest

from selfexec_jax.evals import bootstrap_ci, paired_bootstrap, pass_at_k, rank_score_at_k
from selfexec_jax.evals.metrics import (
    expected_calibration_error,
    majority_at_k,
    paired_permutation,
    verifier_rates,
)


def brute_pass(n, c, k):
    subsets = list(combinations([1] * c + [0] * (n - c), k))
    return sum(any(s) for s in subsets) / len(subsets)


def brute_rank(scores, correct, k):
    """The definition itself: every subset, every tied winner with equal weight."""
    total = 0.0
    for subset in combinations(range(len(scores)), k):
        best = max(scores[i] for i in subset)
        winners = [i for i in subset if scores[i] == best]
        total += sum(correct[i] for i in winners) / len(winners)
    return total / comb(len(scores), k)


def test_pass_at_k_equals_enumeration_and_the_product_formula():
    for n in range(1, 8):
        for c in range(n + 1):
            for k in range(1, n + 1):
                product = 1 - prod(1 - k / i for i in range(n - c + 1, n + 1))
                assert pass_at_k(n, c, k) == pytest.approx(brute_pass(n, c, k), abs=1e-12)
                assert pass_at_k(n, c, k) == pytest.approx(product, abs=1e-12)


def test_pass_at_k_stays_exact_for_many_samples():
    assert pass_at_k(10_000, 1, 100) == pytest.approx(0.01, abs=1e-15)
    assert pass_at_k(np.int64(20), np.int32(20), np.int64(5)) == 1.0


@pytest.mark.parametrize("levels", [1, 2, 3, 50])
def test_rank_score_equals_enumeration_with_ties(levels):
    rng = np.random.default_rng(levels)
    for n in range(1, 9):
        scores = rng.integers(0, levels, n).astype(float)
        scores[0] = -np.inf if n > 3 else scores[0]
        correct = rng.integers(0, 2, n)
        for k in range(1, n + 1):
            assert rank_score_at_k(scores, correct, k) == pytest.approx(
                brute_rank(scores, correct, k), abs=1e-12
            )


def test_rank_score_without_ties_equals_the_published_closed_form():
    rng = np.random.default_rng(0)
    n, correct = 20, rng.integers(0, 2, 20)
    scores = rng.permutation(n)
    ranked = correct[np.argsort(-scores)]  # best first: candidate i wins when the other k - 1 come after it
    for k in (1, 3, 8, 20):
        closed = sum(comb(n - 1 - i, k - 1) * int(ranked[i]) for i in range(n)) / comb(n, k)
        assert rank_score_at_k(scores, correct, k) == pytest.approx(closed, abs=1e-12)


def test_rank_score_reaches_its_known_ends():
    correct = [1, 0, 0, 1, 0, 0]
    for k in range(1, 7):
        assert rank_score_at_k([0] * 6, correct, k) == pytest.approx(2 / 6)
        assert rank_score_at_k(correct, correct, k) == pytest.approx(pass_at_k(6, 2, k))
        assert rank_score_at_k([-x for x in correct], correct, k) == pytest.approx(1 - pass_at_k(6, 4, k))


def test_bootstrap_is_reproducible_and_ordered():
    values = np.random.default_rng(1).random(300)
    first = bootstrap_ci(values, seed=3)
    assert first == bootstrap_ci(list(values), seed=3) != bootstrap_ci(values, seed=4)
    mean, low, high = first
    assert mean == pytest.approx(values.mean()) and low < mean < high
    assert all(type(x) is float for x in first)


def test_what_belongs_together_is_drawn_together():
    rng = np.random.default_rng(0)
    of_problem = rng.normal(size=50)
    units = np.repeat([f"p{i:02}" for i in range(50)], 4)
    values = np.repeat(of_problem, 4)
    assert bootstrap_ci(values, 0, units=units) == pytest.approx(bootstrap_ci(of_problem, 0))
    _, low, high = bootstrap_ci(values, 0)
    _, low_all, high_all = bootstrap_ci(values, 0, units=units)
    assert 1.8 < (high_all - low_all) / (high - low) < 2.2
    # Of unequal numbers the mean is over values, and a problem alone has no width.
    assert bootstrap_ci([1, 1, 0], 0, units=["a", "a", "a"]) == pytest.approx((2 / 3,) * 3)
    assert bootstrap_ci([1, 1, 0], 0, units=["a", "a", "b"])[0] == pytest.approx(2 / 3)
    assert paired_bootstrap([1, 1, 0], [0, 0, 0], 0, units=["a", "a", "a"])[1] == pytest.approx(2 / 3)


def test_bootstrap_agrees_with_the_normal_approximation_across_chunks():
    values = np.random.default_rng(2).random(5_000)  # 10,000 resamples of 5,000 values take several chunks
    mean, low, high = bootstrap_ci(values, seed=0)
    error = values.std() / np.sqrt(len(values))
    assert (mean - low) / error == pytest.approx(1.96, abs=0.08)
    assert (high - mean) / error == pytest.approx(1.96, abs=0.08)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, trials = np.random.default_rng(7), 300
    covered = covered_difference = 0
    for trial in range(trials):
        hard = rng.random(150)  # what makes a problem hard is shared by both systems
        a, b = (rng.random(150) < 0.8 * hard + 0.1), (rng.random(150) < 0.8 * hard)
        _, low, high = bootstrap_ci(a, trial, resamples=1_000)
        covered += low <= 0.5 <= high
        _, low, high = paired_bootstrap(a, b, trial, resamples=1_000)
        covered_difference += low <= 0.1 <= high
    # 300 trials at 95 % have a standard error of 1.3 points.
    assert 0.90 <= covered / trials <= 0.99
    assert 0.90 <= covered_difference / trials <= 0.99


def test_pairing_narrows_the_interval_and_keeps_the_sign():
    rng = np.random.default_rng(5)
    b = (rng.random(400) < 0.5).astype(float)
    a = np.where(rng.random(400) < 0.1, 1.0, b)
    difference, low, high = paired_bootstrap(a, b, seed=0)
    assert difference == pytest.approx((a - b).mean()) and 0 < low < difference < high
    _, a_low, a_high = bootstrap_ci(a, seed=0)
    assert high - low < a_high - a_low
    assert paired_bootstrap(b, a, seed=0)[0] == -difference


def test_equal_values_give_an_interval_without_width():
    assert bootstrap_ci([1, 1, 1], seed=0) == (1.0, 1.0, 1.0)
    assert paired_bootstrap([0.5], [0.25], seed=0) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: pass_at_k(3, 4, 1), "c = 4"),
        (lambda: pass_at_k(3, 1, 4), "k = 4"),
        (lambda: pass_at_k(3, 1, 0), "k = 0"),
        (lambda: pass_at_k(3.5, 1, 1), "n must be a whole number"),
        (lambda: pass_at_k(3, -1, 1), "c must be a whole number"),
        (lambda: rank_score_at_k([1, 2], [1], 1), "2 scores but 1"),
        (lambda: rank_score_at_k([], [], 1), "scores is empty"),
        (lambda: rank_score_at_k([1, float("nan")], [0, 1], 1), "scores holds NaN"),
        (lambda: rank_score_at_k([1, 2], [0, 2], 1), "0..1"),
        (lambda: rank_score_at_k([1, 2], [0, 1], 3), "k = 3"),
        (lambda: bootstrap_ci([], 0), "values is empty"),
        (lambda: bootstrap_ci([[1, 2]], 0), "one dimension"),
        (lambda: bootstrap_ci([1, float("inf")], 0), "NaN or infinity"),
        (lambda: bootstrap_ci(["x"], 0), "flat sequence of numbers"),
        (lambda: bootstrap_ci([1], 0, resamples=0), "resamples"),
        (lambda: paired_bootstrap([1, 2], [1], 0), "pair them"),
    ],
)
def test_bad_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        call()


def brute_majority(answers, correct, k):
    """The definition itself: every subset, every most frequent answer with equal weight."""
    total = 0.0
    for subset in combinations(range(len(answers)), k):
        votes = [answers[i] for i in subset if answers[i] is not None]
        most = max((votes.count(a) for a in votes), default=0)
        winners = {a for a in votes if votes.count(a) == most}
        right = {answers[i]: correct[i] for i in subset}
        total += sum(right[a] for a in winners) / len(winners) if winners else 0
    return total / comb(len(answers), k)


def test_majority_equals_enumeration():
    rng = np.random.default_rng(3)
    for n in range(1, 9):
        answers = [None if a == 3 else f"a{a}" for a in rng.integers(0, 4, n)]
        correct = [float(a == "a1") for a in answers]
        for k in range(1, n + 1):
            wanted = brute_majority(answers, correct, k)
            assert majority_at_k(answers, correct, k, 0) == pytest.approx(wanted, abs=1e-12)


def test_majority_of_many_is_drawn_and_near_the_truth():
    """40 of 100 say the right answer, the others 30 and 30: of 9 votes it wins with a known chance."""
    answers = ["right"] * 40 + ["one"] * 30 + ["two"] * 30
    correct = [1.0] * 40 + [0.0] * 60
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(20_000):
        votes = [answers[i] for i in rng.choice(100, 9, replace=False)]
        counts = {a: votes.count(a) for a in set(votes)}
        best = [a for a in counts if counts[a] == max(counts.values())]
        shares.append(("right" in best) / len(best))
    assert majority_at_k(answers, correct, 9, 1) == pytest.approx(np.mean(shares), abs=0.05)
    assert majority_at_k(answers, correct, 9, 1) == majority_at_k(answers, correct, 9, 1)


def test_majority_errors():
    with pytest.raises(ValueError, match="2 answers but 3"):
        majority_at_k(["a", "b"], [1, 0, 1], 1, 0)
    with pytest.raises(ValueError, match="between 1 and n = 2"):
        majority_at_k(["a", "b"], [1, 0], 3, 0)


def test_verifier_rates():
    claimed, real = [[1, 1, 0], [0, 1, 0]], [[1, 0, 1], [1, 1, 0]]
    assert verifier_rates(claimed, real) == (0.5, 0.5)
    assert np.isnan(verifier_rates([1], [1])[1])
    with pytest.raises(ValueError, match="1 claims but 2"):
        verifier_rates([1], [1, 0])


def test_calibration_error():
    assert expected_calibration_error([0.8] * 10, [1] * 8 + [0] * 2) == pytest.approx(0)
    assert expected_calibration_error([1.0, 1.0, 0.0, 0.0], [0, 0, 1, 1]) == pytest.approx(1)
    # two bins by hand: 3 of 4 at 0.55 with one right, 1 of 4 at 0.95 right
    assert expected_calibration_error([0.55, 0.55, 0.55, 0.95], [1, 0, 0, 1]) == pytest.approx((0.65 + 0.05) / 4)
    rng = np.random.default_rng(0)
    confidence = rng.random(100_000)
    assert expected_calibration_error(confidence, rng.random(100_000) < confidence) < 0.01
    for confidence, correct in (([1.2], [1]), ([0.5], [2]), ([0.5], [1, 0])):
        with pytest.raises(ValueError):
            expected_calibration_error(confidence, correct)


def test_permutation_test_equals_enumeration_and_keeps_its_level():
    a, b = np.array([1.0, 1, 1, 0, 1]), np.array([0.0, 0, 1, 1, 0])
    difference = a - b
    means = [np.mean([s * d for s, d in zip(signs, difference, strict=True)])
             for signs in np.array(np.meshgrid(*[[1, -1]] * 5)).T.reshape(-1, 5)]  # fmt: skip
    assert paired_permutation(a, b, 0) == pytest.approx(np.mean(np.abs(means) >= abs(difference.mean()) - 1e-12))
    rng = np.random.default_rng(1)
    values = [paired_permutation(*(rng.random((2, 60)) < 0.5), seed, resamples=500) for seed in range(300)]
    assert 0.01 < np.mean(np.array(values) <= 0.05) < 0.09
    assert paired_permutation(np.ones(60), np.zeros(60), 0) < 0.001
    with pytest.raises(ValueError, match="pair them by problem"):
        paired_permutation([1], [1, 0], 0)
