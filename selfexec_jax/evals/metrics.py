"""The estimators behind every figure of a report: pass@k, best@k, and intervals over problems."""

from collections import Counter
from itertools import combinations
from math import comb

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95

# Resampled values held at once: 2**21 indices and as many floats stay near 32 MiB for any number of problems.
_CHUNK = 1 << 21


def pass_at_k(n, c, k):
    """The unbiased estimate of the chance that at least one of `k` candidates is correct.

    `n` candidates were sampled for the problem and `c` of them were correct: 1 - C(n-c, k) / C(n, k).
    Returns a float in 0..1; ValueError unless 0 <= c <= n and 1 <= k <= n.
    Source: Chen et al. 2021, "Evaluating Large Language Models Trained on Code".
    """
    n, c, k = _count("n", n), _count("c", c), _count("k", k)
    if c > n:
        raise ValueError(f"pass_at_k: c = {c} correct candidates out of n = {n}")
    if not 1 <= k <= n:
        raise ValueError(f"pass_at_k: k = {k} must lie between 1 and n = {n}")
    # Exact integers until the one division: the product form loses digits for large n.
    return (comb(n, k) - comb(n - c, k)) / comb(n, k)


def rank_score_at_k(scores, correct, k):
    """The unbiased estimate of submitting the highest-scoring of `k` candidates, ties broken by a fair coin.

    `scores` and `correct` hold one entry for each of the n candidates of one problem; a higher score is
    preferred, infinities are allowed; `correct` is 0..1. The mean is over all C(n, k) subsets, in closed
    form: with equal scores it is the mean of `correct`, with `scores = correct` pass@k, with
    `scores = -lengths` short1@k. Returns a float in 0..1; ValueError for unequal or empty shapes, NaN, or k
    outside 1..n.
    Source: Hassid et al. 2024, "The Larger the Better?"; the treatment of ties is exact here.
    """
    scores, correct = _vector("scores", scores, finite=False), _vector("correct", correct)
    k, n = _count("k", k), len(scores)
    if len(correct) != n:
        raise ValueError(f"rank_score_at_k: {n} scores but {len(correct)} entries of correct")
    if not 1 <= k <= n:
        raise ValueError(f"rank_score_at_k: k = {k} must lie between 1 and n = {n}")
    if correct.min() < 0 or correct.max() > 1:
        raise ValueError("rank_score_at_k: correct must lie in 0..1")
    levels, level_of = np.unique(scores, return_inverse=True)
    size = np.bincount(level_of, minlength=len(levels))
    gain = np.bincount(level_of, weights=correct, minlength=len(levels)) / size
    total, below, estimate = comb(n, k), 0, 0.0
    for size_of_level, mean_correct in zip(size.tolist(), gain.tolist(), strict=True):
        # Subsets whose best score is this level: all drawn from here and below, but not all from below.
        # By symmetry the one picked is then uniform over the level, so only the level's mean matters.
        subsets = comb(below + size_of_level, k) - comb(below, k)
        estimate += subsets / total * mean_correct
        below += size_of_level
    return estimate


def majority_at_k(answers, correct, k, seed, draws=1000):
    """The estimate of submitting the most frequent of `k` answers, ties broken by a fair coin.

    `answers` holds one hashable entry a sample, None for none (which has no vote), and `correct` its 0 or 1. The mean
    over all C(n, k) subsets where there are at most `draws`, else over that many drawn at random: standard error
    below 0.016. Returns a float in 0..1; ValueError for unequal lengths or k outside 1..n.
    Source: Wang et al. 2022, "Self-Consistency".
    """
    correct = _vector("correct", correct)
    k, n = _count("k", k), len(correct)
    if len(answers) != n:
        raise ValueError(f"majority_at_k: {len(answers)} answers but {n} entries of correct")
    if not 1 <= k <= n:
        raise ValueError(f"majority_at_k: k = {k} must lie between 1 and n = {n}")
    if comb(n, k) <= draws:
        subsets = combinations(range(n), k)
    else:
        rng = np.random.default_rng(seed)
        subsets = (rng.choice(n, k, replace=False) for _ in range(draws))
    return float(np.mean([_majority([answers[i] for i in subset], correct[list(subset)]) for subset in subsets]))


def _majority(answers, correct):
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return 0.0
    most = max(votes.values())
    first = {answer: right for answer, right in zip(reversed(answers), reversed(correct), strict=True)}
    return float(np.mean([first[answer] for answer, n in votes.items() if n == most]))


def verifier_rates(claimed, real):
    """How well claims of passing match what passes, as (true-positive rate, false-positive rate).

    Both are arrays of booleans of one shape; nan where there is nothing to divide by.
    """
    claimed, real = np.asarray(claimed, bool).ravel(), np.asarray(real, bool).ravel()
    if claimed.shape != real.shape:
        raise ValueError(f"verifier_rates: {claimed.size} claims but {real.size} outcomes")
    return tuple(float(claimed[mask].mean()) if mask.any() else float("nan") for mask in (real, ~real))


def expected_calibration_error(confidence, correct, bins=10):
    """The mean distance between stated confidence and accuracy, over equally wide bins of confidence.

    `confidence` and `correct` lie in 0..1. ValueError for unequal lengths or values outside.
    Source: Naeini et al. 2015; Guo et al. 2017.
    """
    confidence, correct = _vector("confidence", confidence), _vector("correct", correct)
    if len(confidence) != len(correct):
        raise ValueError(f"expected_calibration_error: {len(confidence)} and {len(correct)} entries")
    if min(confidence.min(), correct.min()) < 0 or max(confidence.max(), correct.max()) > 1:
        raise ValueError("expected_calibration_error: both must lie in 0..1")
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    sums = [np.bincount(place, weights=w, minlength=bins) for w in (confidence, correct)]
    return float(np.abs(sums[0] - sums[1]).sum() / len(confidence))


def paired_permutation(a, b, seed, resamples=RESAMPLES):
    """The two-sided p-value of the mean of `a - b` over problems being no accident.

    The signs of the differences are flipped at random; exact where there are at most 12 problems. Errors as in
    `paired_bootstrap`. Source: Fisher's randomisation test.
    """
    a, b = _vector("a", a), _vector("b", b)
    if len(a) != len(b):
        raise ValueError(f"paired_permutation: a has {len(a)} problems but b has {len(b)}; pair them by problem first")
    difference = a - b
    n, seen = len(difference), abs(difference.mean()) - 1e-12
    if n <= 12:
        signs = 1 - 2 * ((np.arange(1 << n)[:, None] >> np.arange(n)) & 1)
        return float((abs((signs * difference).mean(axis=1)) >= seen).mean())
    rng = np.random.default_rng(seed)
    hits = 0
    for start in range(0, resamples, 1000):
        signs = rng.integers(0, 2, size=(min(1000, resamples - start), n)) * 2 - 1
        hits += int((abs((signs * difference).mean(axis=1)) >= seen).sum())
    return (hits + 1) / (resamples + 1)


def bootstrap_ci(values, seed, resamples=RESAMPLES, confidence=CONFIDENCE, units=None):
    """The mean over problems with its percentile bootstrap interval, as (mean, low, high).

    `values` holds one number a problem (average a problem's repeated samples first: the problem is the unit that is
    resampled), or several, and `units` then says whose each is, so that they are drawn together. The same values and
    seed give the same interval. When all values are equal the interval has no width, which says that the sample cannot
    show its own error, not that there is none. ValueError for anything but a non-empty vector of finite numbers.
    Source: Efron 1979, percentile method.
    """
    values = _vector("values", values)
    resamples = _count("resamples", resamples)
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"bootstrap_ci: needs resamples >= 1 and 0 < confidence < 1, got {resamples}, {confidence}"
        )
    sums, counts = values, None
    if units is not None:
        _, unit = np.unique(units, return_inverse=True)
        sums, counts = np.bincount(unit, values), np.bincount(unit)
    rng, n = np.random.default_rng(seed), len(sums)
    rows = max(1, _CHUNK // n)
    means = []
    for start in range(0, resamples, rows):
        drawn = rng.integers(0, n, size=(min(rows, resamples - start), n))
        size = n if counts is None else counts[drawn].sum(axis=1)
        means.append(sums[drawn].sum(axis=1) / size)
    means = np.concatenate(means)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(values.mean()), float(low), float(high)


def paired_bootstrap(a, b, seed, resamples=RESAMPLES, confidence=CONFIDENCE, units=None):
    """The mean of `a - b` over problems with its percentile bootstrap interval, as (difference, low, high).

    Entry i of both belongs to the same problem, so that what makes a problem hard cancels out; positive means
    that `a` is better. `units` and errors as in `bootstrap_ci`, and ValueError for unequal lengths.
    """
    a, b = _vector("a", a), _vector("b", b)
    if len(a) != len(b):
        raise ValueError(
            f"paired_bootstrap: a has {len(a)} problems but b has {len(b)}; pair them by problem first"
        )
    return bootstrap_ci(a - b, seed, resamples, confidence, units)


def _vector(name, values, finite=True):
    """`values` as a non-empty one-dimensional float array, or a ValueError that names it."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a flat sequence of numbers: {error}") from None
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} is empty")
    if np.isnan(array).any() or finite and not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN{' or infinity' if finite else ''}")
    return array


def _count(name, value):
    """`value` as a non-negative int, or a ValueError that names it (comb refuses numpy floats obscurely)."""
    try:
        whole = int(value)
        if whole != value or whole < 0:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be a whole number >= 0, got {value!r}") from None
    return whole
