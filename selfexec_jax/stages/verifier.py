"""How far the model's own verdicts can be trusted, and what they change."""

from __future__ import annotations

import numpy as np

from selfexec_jax.evals.metrics import bootstrap_ci, expected_calibration_error
from selfexec_jax.stages.searching import held
from selfexec_jax.stages.strategies import Decided, Judged


def tables(decided: Decided, judged: dict[str, Judged], K: int, seed: int, resamples: int) -> dict[str, list[dict]]:
    """For the report, by name; of the K candidates that were simulated."""
    shares = judged[""].public[:, :K]
    scores = np.array([ranking.scores for ranking in decided.rankings])
    foretold = {"share of votes": scores}
    if decided.believed:
        foretold["belief"] = held(decided)[2]
    return {
        "verifier": _verdicts(scores == 1.0, shares == 1.0),
        "reliability": [{"by": by} | row for by, of in foretold.items()
                        for row in _reliability(of, shares, seed, resamples)],
        "calibration": [{"by": by, "expected calibration error": expected_calibration_error(of.ravel(), shares.ravel()),
                         "candidates": of.size} for by, of in foretold.items()],
        "self_rlef_flow": _flow(judged[""].correct, judged["self_rlef"].correct, seed, resamples),
    }  # fmt: skip


def _verdicts(claimed: np.ndarray, real: np.ndarray) -> list[dict]:
    """How often a predicted pass of all public tests is one, over all candidates."""
    names = {
        (True, True): "true pass",
        (True, False): "false pass",
        (False, True): "missed pass",
        (False, False): "true fail",
    }
    return [
        {"predicted and real": names[c, r], "n": int(((claimed == c) & (real == r)).sum()),
         "share": round(float(((claimed == c) & (real == r)).mean()), 4)}
        for c, r in names
    ]  # fmt: skip


def _reliability(scores: np.ndarray, shares: np.ndarray, seed: int, resamples: int, bins: int = 10) -> list[dict]:
    """Of candidates that are foretold to pass about the same share of the public tests, the share that they really do;
    means over problems, whose candidates go together."""
    place = np.minimum((scores * bins).astype(int), bins - 1)
    rows = []
    for b in np.unique(place):
        inside = place == b
        chosen = np.flatnonzero(inside.any(1))
        foretold, real = (np.array([of[i][inside[i]].mean() for i in chosen]) for of in (scores, shares))
        value, low, high = bootstrap_ci(real, seed, resamples)
        rows.append({"foretold": float(foretold.mean()), "problems": len(chosen), "candidates": int(inside.sum()),
                     "value": value, "ci_low": low, "ci_high": high})  # fmt: skip
    return rows


def _flow(before: np.ndarray, after: np.ndarray, seed: int, resamples: int) -> list[dict]:
    """What Self-RLEF makes of first programs, by the private tests; problems x programs, problems x episodes."""
    before, rows = before[:, : after.shape[1]], []
    for was, name in ((1.0, "right"), (0.0, "wrong")):
        for then, end in ((1.0, "right"), (0.0, "wrong")):
            such = (before == was) & (after == then)
            value, low, high = bootstrap_ci(such.mean(1), seed, resamples)
            rows.append({"before": name, "after": end, "episodes": int(such.sum()), "of": such.size,
                         "value": value, "ci_low": low, "ci_high": high})  # fmt: skip
    return rows
