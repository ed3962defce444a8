"""What the report says of belief and of searches, of decisions that are made up."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from selfexec_jax.evals import believed
from selfexec_jax.evals.believed import TOKENS
from selfexec_jax.problems import Problem, Test
from selfexec_jax.self_execution.search import Execute, Picked
from selfexec_jax.self_execution.simulate import Prediction
from selfexec_jax.self_execution.verify import Ranking
from selfexec_jax.stages.searching import FIRST_VOTE, executing, strategies_of, tables
from selfexec_jax.stages.strategies import Decided, Held, Judged, Strategy

N, K = 40, 2
CELLS = (((Prediction("1", "", "stop", 5, 9),),),) * K  # a test, a vote
EVEN = np.array([[i % 2, 0] for i in range(N)], float)  # every second problem's first candidate is right


def picked(source="a", executions=0, tokens=10):
    return Picked(source, 0.9, 1, 1, executions, tokens, 20)


@pytest.fixture(scope="module")
def found():
    """Every first program is believed, and problems are solved by it: (strategies, tables)."""
    sure = [[Held(0.8, 0.8, 1.0), Held(0.1, 0.1, 0.5)]] * N
    decided = Decided(
        [], [["a", "b"]] * N, [Ranking((1.0, 0.5), CELLS, 10, 18)] * N, {},
        believed={"believed": sure, FIRST_VOTE: sure},
        searches={
            "search": [picked() if i % 4 else picked(None) for i in range(N)],
            "search_until_50%_sure": [picked(tokens=5)] * N,
            "search_executing_from_0.1": [picked(executions=1)] * N,
        },
    )  # fmt: skip
    judged = Judged(EVEN, EVEN)
    flat = Strategy(EVEN[:, 0], np.full(N, 100.0), np.full(N, 50.0))
    others = {f"best_at_{K}_{how}": flat for how in ("simulated", "votes_1", "halved", "executed")}
    strategies = others | strategies_of(decided, judged, others, K)
    return strategies, tables(decided, judged, strategies, K, 0, 200, lambda shares: 0.5 * shares)


def test_strategies_are_what_searches_submit_and_spend(found):
    strategies, _ = found
    assert strategies[f"best_at_{K}_believed"].values.tolist() == EVEN[:, 0].tolist()
    searched = strategies["search"]
    assert searched.values.tolist() == [float(i % 2 and i % 4 > 0) for i in range(N)]  # nothing submitted: not solved
    assert searched.cost.tolist() == [30.0] * N


def test_searches_stand_beside_every_way_to_choose_among_all(found):
    rows = {row["strategy"]: row for row in found[1]["searches"]}
    assert [name for name in rows if name.startswith("best")] == [
        "best@2, one vote", "best@2, halving", "best@2, all votes", "best@2, belief of one vote", "best@2, belief",
        "best@2, all executed",
    ]  # fmt: skip
    assert [rows["search"][key] for key in (TOKENS, "answered", "right of the answered")] == [30, 0.75, 0.6667]
    assert rows["best@2, all votes"]["right of the answered"] == rows["best@2, all votes"]["value"] == 0.5
    assert rows["search executing from 0.1"]["of all runs"] == 0.5  # one of two programs on the one test
    assert rows["best@2, all executed"]["of all runs"] == 1.0


def test_who_are_equally_sure_are_left_out_by_a_draw(found):
    """In the order of the file the surest half would be the problems that were written first."""
    rows = [row for row in found[1]["coverage"] if row["by"] == "share of votes"]
    assert [row["n"] for row in rows] == [40, 36, 32, 28, 24, 20]
    assert rows[0]["value"] == 0.5
    first = Judged(np.sort(EVEN, axis=0), np.sort(EVEN, axis=0))  # the last problems are the solved ones
    decided = Decided([], [["a", "b"]] * N, [Ranking((1.0, 0.5), CELLS, 0, 0)] * N, {},
                      believed={"believed": [[Held(0.8), Held()]] * N})  # fmt: skip
    of = {f"best_at_{K}_{how}": Strategy(first.correct[:, 0], np.ones(N), np.ones(N))
          for how in ("simulated", "executed", "believed")}  # fmt: skip
    sorted_ = tables(decided, first, of, K, 0, 200, lambda shares: shares)["coverage"]
    assert 0.2 < next(row["value"] for row in sorted_ if row["answered"] == 0.5) < 0.8


def test_calibration_is_before_and_after(found):
    errors = {(row["probability of"], row["by"]): row["expected calibration error"]
              for row in found[1]["belief_calibration"]}  # fmt: skip
    # Of 80 programs 20 are right; shares of votes are 1 and 1/2, belief says 0.8 and 0.1.
    assert errors["being right", "share of votes"] == 0.5
    assert errors["being right", "share of votes, refitted"] == pytest.approx((0.0 + 0.25) / 2)
    assert errors["being right", "belief"] == pytest.approx((0.3 + 0.1) / 2)


def test_every_way_is_drawn_in_a_look_of_its_own(found):
    canvas = Figure()
    assert believed.searches(canvas, {"tables": found[1]}, None)
    tokens, runs = ([bars.get_label() for bars in axes.containers] for axes in canvas.axes)
    ways = ("one vote", "halving", "all votes", "belief of one vote", "belief")
    assert tokens == ["search", *(f"best@2, {way}" for way in ways)]
    assert runs == ["search", "best@2, all executed"]
    looks = {(bars[0].get_color(), bars[0].get_marker()) for axes in canvas.axes for bars in axes.containers}
    assert len(looks) == 7  # "search" stands in both


def test_a_program_is_run_once_whatever_is_asked_of_it():
    problem = Problem("p", "", public_tests=(Test("1\n", "1\n"), Test("2\n", "2\n")))
    ran = []

    def outputs_of(pairs):
        ran.extend(pairs)
        return [["1\n", "no\n"] for _ in pairs]

    execute = executing(outputs_of)
    assert execute([Execute(problem, "a", 0), Execute(problem, "a", 1)]) == [True, False]
    assert execute([Execute(problem, "b", 0), Execute(problem, "a", 0)]) == [True, True]
    assert ran == [(problem, "a"), (problem, "b")]
