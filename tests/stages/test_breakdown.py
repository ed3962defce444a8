"""What the report says of where predictions fail and verification errs, counted by hand."""

import dataclasses

import numpy as np
import pytest

from selfexec_jax.problems import Problem
from selfexec_jax.sandbox import Run, SandboxPool, TraceBudget
from selfexec_jax.self_execution import Prediction, Ranking
from selfexec_jax.stages import breakdown, measures, verifier
from selfexec_jax.stages.questions import Case
from selfexec_jax.stages.strategies import Decided, Held, Judged

SOURCES = ("x = 3\nprint(x)\n", "t = 0\nfor i in range(4):\n    t += i * 50\nprint(t)\n",
           "s = '99999'\nwhile len(s) > 3:\n    s = s[1:]\ny = 7 / 3\nprint(s)\n")  # fmt: skip


@pytest.fixture(scope="module")
def truths():
    with SandboxPool(workers=1, min_tier="rlimits_only") as pool:
        return pool.map([Run(source, trace=TraceBudget()) for source in SOURCES])


def said(text, output):
    return Prediction(output, f"{text}\n=>{output}", "stop", 1, 1)


def test_runs_are_measured_by_length_rounds_and_largest_number(truths):
    assert [breakdown._rounds(truth) for truth in truths] == [0, 4, 2]
    assert [breakdown._largest(truth) for truth in truths] == [3, 300, 5]  # not what is in strings, nor decimals
    tables = breakdown.accuracy_by(np.array([1.0, 0.5, 0.0]), truths, np.arange(3), 0, 100)
    assert set(tables) == {"accuracy_by_trace_length", "accuracy_by_loop_rounds", "accuracy_by_largest_value"}
    rows = tables["accuracy_by_loop_rounds"]  # few sizes, so each is a bin of its own
    assert [(row["low"], row["high"], row["n"], row["value"]) for row in rows] == [(0, 0, 1, 1.0), (2, 2, 1, 0.0),
                                                                                  (4, 4, 1, 0.5)]  # fmt: skip


def test_many_sizes_fall_into_bins_that_meet_and_leave_nothing_out():
    sizes, values = np.arange(100), np.arange(100) / 100
    rows = breakdown._binned(values, sizes, np.arange(len(values)), 0, 100)
    assert len(rows) == breakdown.N_BINS and sum(row["n"] for row in rows) == 100
    assert (rows[0]["low"], rows[-1]["high"]) == (0, 99)
    assert all(b["low"] == a["high"] + 1 for a, b in zip(rows, rows[1:], strict=False))
    assert rows[0]["value"] == pytest.approx(values[: rows[0]["n"]].mean())
    assert breakdown._binned(np.zeros(0), np.zeros(0, int), np.zeros(0), 0, 100) == []


def test_first_errors_are_shares_of_cases(truths):
    wrong_value, unreadable = said("x=4\nprint 4", "4"), said("who knows", "4")
    told_right = said("x=3\nprint 3", "4")
    cases = [[(wrong_value, truths[0])] * 3 + [(unreadable, truths[0])], [(told_right, truths[0])], []]
    rows = breakdown.first_errors(cases, "compact", 0, 100)
    assert [(row["error"], row["n"], row["value"]) for row in rows] == [
        ("wrong value", 3, 3 / 8), ("unreadable", 1, 1 / 8), ("told right, answered wrong", 1, 0.5),
    ]  # fmt: skip
    assert breakdown.first_errors(cases, "direct", 0, 100) == breakdown.first_errors([[], []], "compact", 0, 100) == []


def test_verdicts_reliability_and_calibration_by_hand():
    scores = [(1.0, 0.5, 0.5), (1.0, 0.0, 0.5)]
    public = np.array([[1.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    rankings = [Ranking(row, (), 0, 0) for row in scores]
    decided = Decided([], [], rankings, {})
    correct = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    judged = {"": Judged(correct, public), "self_rlef": Judged(np.array([[1.0], [1.0]]), np.array([[1.0], [1.0]]))}
    tables = verifier.tables(decided, judged, 3, 0, 100)
    assert {row["predicted and real"]: row["n"] for row in tables["verifier"]} == {
        "true pass": 1, "false pass": 1, "missed pass": 1, "true fail": 3,
    }  # fmt: skip
    rows = [(r["foretold"], r["problems"], r["candidates"], r["value"]) for r in tables["reliability"]]
    assert rows == [(0.0, 1, 1, 0.0), (0.5, 2, 3, 0.5), (1.0, 2, 2, 0.75)]
    # Bins of 1, 3 and 2 candidates are off by 0, 0 and 0.25 on average.
    votes = {"by": "share of votes", "expected calibration error": pytest.approx(2 * 0.25 / 6), "candidates": 6}
    assert tables["calibration"] == [votes]
    exact = {"believed": [[Held(share=s) for s in row] for row in public]}  # a belief that is right beside it
    tables = verifier.tables(dataclasses.replace(decided, believed=exact), judged, 3, 0, 100)
    believed = {"by": "belief", "expected calibration error": 0.0, "candidates": 6}
    assert tables["calibration"] == [votes, believed]
    both = {(r["by"], r["foretold"], r["value"]) for r in tables["reliability"]}
    assert both == {("share of votes", f, v) for f, *_, v in rows} | {("belief", v, v) for v in (0.0, 0.5, 1.0)}


def test_examples_are_of_every_kind_right_and_wrong_in_turns(truths):
    problem = Problem("p", "Print 3.")
    kinds = ("narrated_like", "own", "near_miss")
    cases = [Case(kind, problem, SOURCES[0], "") for kind in kinds for _ in range(10)]
    answers = [[said("x=3\nprint 3", "3" if i % 2 else "4")] for i in range(30)]
    truth = [truths[0]] * 30
    chosen = measures.choose_examples(cases, answers, truth, ["3\n"] * 30)
    assert len(chosen) == len(set(chosen)) == measures.N_EXAMPLES
    kinds_and_rights = [(cases[i].kind, bool(i % 2)) for i in chosen]
    assert kinds_and_rights[:6] == [(kind, right) for kind in sorted(kinds) for right in (True, False)]
