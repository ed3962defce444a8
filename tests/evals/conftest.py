"""A made-up run, shaped like a real one: its numbers mean nothing and exist for these tests alone."""

import math

import numpy as np
import pytest

from selfexec_jax.evals import bootstrap_ci, paired_bootstrap
from selfexec_jax.evals.believed import TOKENS

SOLVING = {  # name: share solved, tokens a problem
    "pass_at_1": (0.512, 95),
    "pass_at_8": (0.81, 760),
    "random_at_8": (0.512, 760),
    "short1_at_8": (0.548, 760),
    "best_at_2_simulated": (0.58, 700),
    "best_at_4_simulated": (0.63, 1_400),
    "best_at_8_simulated": (0.672, 2_790),
    "best_at_8_executed": (0.705, 760),
    "single_turn": (0.521, 102),
    "self_rlef": (0.604, 640),
    "self_rlef_executed": (0.631, 330),
    "fixed": (0.104, 640),
    "broken": (0.021, 640),
}
PREDICTING = {"output_prediction_sft": (0.71, 180), "output_prediction_rl": (0.846, 172)}
PAIRS = {
    "output_prediction_rl_over_sft": ("output_prediction_rl", "output_prediction_sft"),
    "best_at_8_simulated_over_pass_at_1": ("best_at_8_simulated", "pass_at_1"),
    "simulation_gap_at_8": ("best_at_8_executed", "best_at_8_simulated"),
    "self_rlef_over_single_turn": ("self_rlef", "single_turn"),
    "fixed_over_broken": ("fixed", "broken"),
}
SAID = """1. The program reads the line "3 1 2".
2. It splits the line, so xs is [3, 1, 2].
3. It sorts xs, so xs is [1, 2, 3].
4. It adds the first two, so total is 4.
5. It prints total.
<output>4</output>"""


@pytest.fixture(scope="session")
def report():
    results, comparisons = {}, {}
    for split, n, shift in (
        ("", 240, 0.0),
        ("/specified", 120, 0.09),
        ("/open", 120, -0.09),
        ("/unseen", 80, -0.2),
    ):
        solved = {}
        for name, (share, tokens) in {**SOLVING, **PREDICTING}.items():
            problems = n if name in SOLVING else 2 * n
            # The same draw for every name: results of one problem go together, as they do in a run.
            luck = np.random.default_rng(problems).random(problems)
            solved[name] = (luck < np.clip(share + shift * share, 0, 1)).astype(float)
            value, low, high = bootstrap_ci(solved[name], 0, resamples=500)
            results[name + split] = {
                "value": value,
                "low": low,
                "high": high,
                "n": problems,
                "tokens": tokens * problems,
            }
        for name, (a, b) in PAIRS.items():
            value, low, high = paired_bootstrap(solved[a], solved[b], 0, resamples=500)
            comparisons[name + split] = {"value": value, "low": low, "high": high, "n": len(solved[a])}
    by_length = []
    for low, high, n, share in (
        (1, 9, 61, 0.98),
        (10, 19, 140, 0.95),
        (20, 39, 131, 0.88),
        (40, 79, 92, 0.71),
        (80, 159, 41, 0.49),
        (160, None, 15, 0.2),
    ):
        half = 1.96 * math.sqrt(share * (1 - share) / n)
        by_length.append(
            {
                "low": low,
                "high": high,
                "n": n,
                "value": share,
                "ci_low": max(0, share - half),
                "ci_high": min(1, share + half),
            }
        )
    meta = {
        "config": "tiny",
        "seed": 0,
        "K": 8,
        "date": "2026-01-02 03:04 UTC",
        "machine": {"cpus": 4, "platform": "Linux x86_64"},
        "versions": {"python": "3.11.9", "jax": "0.10.2", "numpy": "2.4.6"},
        "seconds": {"problems": 41.2, "sft": 502.0, "rl": 388.5, "eval": 171.3, "report": 3.4},
        "tokens": {"sft": 5_200_000, "rl": 2_900_000, "eval": 1_400_000},
        "counts": {
            "problems": {"train": 6000, "validation": 200, "test": 240},
            "rejected": {"exact": 12, "near_duplicate": 41},
            "narrations": {"ok": 11_802, "timeout": 3, "trace_budget": 17},
        },
    }
    return {
        "meta": meta,
        "results": results,
        "comparisons": comparisons,
        "tables": {
            "accuracy_by_trace_length": by_length,
            "accuracy_by_loop_rounds": [{**row, "low": i, "high": i + 1} for i, row in enumerate(by_length)],
            "accuracy_by_largest_value": [{**row, "high": 10 * row["low"]} for row in by_length[:4]],
            "first_errors": [
                {"error": error, "n": n, "value": n / 80, "ci_low": n / 80 - 0.05, "ci_high": n / 80 + 0.05}
                for error, n in (("wrong value", 50), ("wrong branch", 20), ("skipped", 10))
            ],
            "reliability": [
                {"by": by, "foretold": score, "problems": 60, "candidates": n, "value": real, "ci_low": real - 0.04,
                 "ci_high": real + 0.03}
                for by, shift in (("share of votes", 0.0), ("belief", 0.1))
                for score, n, real in ((0.0, 210, 0.05), (0.35, 120, 0.2 + shift), (0.68, 90, 0.55 + shift),
                                       (1.0, 540, 0.97))
            ],
            "calibration": [{"by": by, "expected calibration error": error, "candidates": 960}
                            for by, error in (("share of votes", 0.061), ("belief", 0.02))],
            "self_rlef_flow": [
                {"before": a, "after": b, "episodes": n, "of": 240, "value": n / 240, "ci_low": n / 240 - 0.02,
                 "ci_high": n / 240 + 0.02}
                for a, b, n in (("right", "right", 120), ("right", "wrong", 5), ("wrong", "right", 25),
                                ("wrong", "wrong", 90))
            ],
            "searches": [
                {"strategy": strategy, "value": value, "ci_low": value - 0.03, "ci_high": value + 0.03, "n": 240,
                 TOKENS: tokens, "candidates": 4.2, "runs executed": 18 * share, "of all runs": share}
                for strategy, value, tokens, share in (
                    ("best@8, one vote", 0.824, 2165, 0.0), ("best@8, halving", 0.828, 3562, 0.0),
                    ("best@8, all votes", 0.83, 7057, 0.0), ("best@8, belief of one vote", 0.838, 2165, 0.0),
                    ("best@8, belief", 0.84, 7057, 0.0),
                    ("search", 0.838, 1064, 0.0), ("search until 50% sure", 0.81, 800, 0.0),
                    ("search until 98% sure", 0.84, 1467, 0.0), ("search executing from 0.05", 0.845, 1064, 0.02),
                    ("search executing from 0", 0.853, 1064, 0.09), ("best@8, all executed", 0.855, 290, 1.0),
                )
            ],
            "belief_calibration": [
                {"probability of": "being right", "by": by, "expected calibration error": error, "candidates": 1920}
                for by, error in (("share of votes", 0.1), ("belief", 0.03))
            ],
            "coverage": [
                {"by": by, "answered": share, "n": round(240 * share), "value": top - 0.3 * share,
                 "ci_low": top - 0.3 * share - 0.04, "ci_high": top - 0.3 * share + 0.02}
                for by, top in (("share of votes", 1.0), ("belief", 1.05))
                for share in (1.0, 0.8, 0.6)
            ],
            "verifier": [
                {"predicted": "pass", "really_passes": 310, "really_fails": 42},
                {"predicted": "fail", "really_passes": 18, "really_fails": 590},
            ],
        },
    }


@pytest.fixture(scope="session")
def curves():
    rng, rows = np.random.default_rng(0), []
    for step in range(10, 1001, 10):
        rows.append(
            {
                "stage": "sft",
                "step": step,
                "loss": 3 * math.exp(-step / 180) + 0.25 + 0.03 * rng.normal(),
                "lr": 1e-3,
                "tokens_per_s": 11_000.0,
            }
        )
    for step in range(1, 121):
        for task, top in (("predict", 0.8), ("solve", 0.35), ("rlef", 0.1)):
            rows.append(
                {
                    "stage": "rl",
                    "step": step,
                    "reward_std": 0.9,
                    f"reward/{task}": top - 0.9 * math.exp(-step / 40) + 0.12 * rng.normal(),
                    f"right/{task}": 0.5 + 0.5 * top - 0.4 * math.exp(-step / 40) + 0.06 * rng.normal(),
                    **{f"label/{task}/{name}": share for name, share in (("ok", 0.6), ("wrong", 0.3), ("cut", 0.1))},
                    **{f"{phase}_s": seconds for phase, seconds in (("sampling", 8.0), ("waiting", 0.2),
                                                                    ("updating", 6.0))},
                }
            )
            if step % 20 == 0:
                rows.append({"stage": "rl", "step": step, f"validation/{task}": top - 0.3 * math.exp(-step / 40)})
    return rows


@pytest.fixture(scope="session")
def examples():
    one = {
        "statement": "Read integers and print the sum of the two smallest.",
        "input": "3 1 2",
        "said": SAID,
        "answer": "4",
        "program": "xs = list(map(int, input().split()))\nxs.sort()\ntotal = xs[0] + xs[1]\nprint(total)\n",
        "truth": "3",
        "verdict": "wrong",
        "first_error": 3,
    }
    return [
        one,
        {**one, "verdict": "ok", "answer": "3", "said": SAID.replace("4", "3"), "first_error": None},
        {**one, "first_error": "total is 4"},
        {**one, "first_error": "total is 3 there, not 4"},
        one,
        one,
    ]
