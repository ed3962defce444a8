"""Fewer votes, and votes for contenders alone, by hand: what is chosen and what it costs."""

import numpy as np
import pytest

from selfexec_jax.problems import Problem, Test
from selfexec_jax.self_execution import Prediction, Ranking
from selfexec_jax.stages.strategies import Decided, Judged, Strategy
from selfexec_jax.stages.voting import strategies_of

TEST = Test("in\n", "1\n")
PROBLEM = Problem("p", "Say.", public_tests=(TEST,))


def votes(*outputs, n_tokens):
    """Of one test, drawn together: the first reads 10 tokens, the others go on from there."""
    return (tuple(Prediction(o, "", "stop", n_tokens, 0 if i else 10, n_first=10) for i, o in enumerate(outputs)),)


# What each program is said to give; "c" is written twice, the fifth answer was no program.
SAID = {"a": ("1", "0", "0"), "b": ("1", "1", "1"), "c": ("0", "1", "1"), "d": ("0", "0", "0")}
COST = {"a": 1, "b": 10, "c": 100, "d": 1000}
SOURCES = ["a", "b", "c", "c", None, "d"]
RIGHT = np.array([[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]])


def found(sources=SOURCES, right=RIGHT, problem=PROBLEM):
    table = tuple(votes(*SAID[s], n_tokens=COST[s]) if s else ((),) for s in sources)
    decided = Decided([], [sources], [Ranking((), table, 0, 0)], {})
    written = Strategy(np.zeros(1), np.array([7.0]), np.array([3.0]))
    return strategies_of([problem], decided, Judged(right, right), written, 3, len(sources))


def test_the_first_votes_alone():
    of = found()
    assert [of[f"best_at_6_votes_{v}"].values.tolist() for v in (1, 2)] == [[0.5], [1.0]]  # a tie is a coin
    assert [of[f"best_at_6_votes_{v}"].tokens.tolist() for v in (1, 2)] == [[7 + 1111], [7 + 2222]]
    assert [of[f"best_at_6_votes_{v}"].prefilled.tolist() for v in (1, 2)] == [[3 + 40], [3 + 40]]
    assert set(of) == {"best_at_6_votes_1", "best_at_6_votes_2", "best_at_6_halved"}


def test_halving_gives_further_votes_to_the_better_half():
    """First four programs, then "a" and "b", of which one is left after two votes."""
    halved = found()["best_at_6_halved"]
    assert halved.values.tolist() == [1.0]
    assert halved.tokens.tolist() == [7 + 1111 + 11] and halved.prefilled.tolist() == [3 + 40 + 20]  # prompts again


@pytest.mark.parametrize(("sources", "chosen"), [(["a", "c", "c"], "a"), (["d", "c", "c"], "c"), ([None, "d"], "d")])
def test_what_is_written_more_often_wins_a_tie(sources, chosen):
    right = np.array([[float(s == chosen) for s in sources]])
    assert found(sources, right)[f"best_at_{len(sources)}_halved"].values.tolist() == [1.0]


def test_where_there_is_nothing_to_spare_there_is_nothing():
    bare = Problem("p", "Say.")
    assert found(problem=bare) == {}
    none = found([None, None], np.zeros((1, 2)))
    assert {name: (s.values.tolist(), s.tokens.tolist()) for name, s in none.items()} == dict.fromkeys(
        ("best_at_2_votes_1", "best_at_2_votes_2", "best_at_2_halved"), ([0.0], [7.0])
    )
