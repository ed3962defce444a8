"""Figures of strategies by hand: what counts as right, what is paid for, and what as many tokens buy otherwise."""

import dataclasses

import numpy as np
import pytest

from selfexec_jax.configs import base
from selfexec_jax.problems import Problem
from selfexec_jax.rollout import Sample
from selfexec_jax.self_execution import Episode, Prediction, Ranking
from selfexec_jax.stages import strategies as strategies_module
from selfexec_jax.stages import verifier
from selfexec_jax.stages.strategies import Decided, Judged, at_equal_tokens, save_values, strategies_of, summarise
from selfexec_jax.stages.workdir import Workdir

PROMPT = (1,) * 10


def samples(*lengths):
    return [Sample(PROMPT, (2,) * n, (0.0,) * n, "", "stop", 0) for n in lengths]


# Two problems, two candidates each that are simulated and two more that are not.
LENGTHS = [(4, 6, 5, 5), (8, 2, 10, 20)]
CORRECT = np.array([[0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
PUBLIC = np.array([[0.5, 1.0, 1.0, 0.5], [1.0, 0.0, 0.0, 0.0]])
def predicted(n_tokens, n_prompt, votes=1):
    """A candidate's simulated runs on one test."""
    return (tuple(Prediction("3", "", "stop", n_tokens, 0 if vote else n_prompt) for vote in range(votes)),)


# The second problem's two candidates are one program, simulated once.
DECIDED = Decided(
    [samples(*row) for row in LENGTHS], [["a", "b", "c", "d"], ["a", "a", "c", "d"]],
    [Ranking((0.0, 1.0), (predicted(60, 25), predicted(20, 15, 2)), 100, 40),
     Ranking((0.5, 0.5), (predicted(60, 20), predicted(60, 20)), 60, 20)],
    {"self_rlef": [[Episode("a", "b", (), 50, 30)], [Episode("a", "c", (), 0, 0)]]},
)  # fmt: skip
JUDGED = {"": Judged(CORRECT, PUBLIC), "self_rlef": Judged(np.array([[1.0], [0.0]]), np.array([[1.0], [0.0]]))}
PROBLEMS = [Problem(f"q{i}", "Do.", source="generator/x", tags=("x",)) for i in range(2)]


def config():
    found = base.get_config()
    found.eval.bootstrap, found.eval.more_candidates = 100, 2
    return found


def test_every_strategy_by_hand():
    found = strategies_of(DECIDED, JUDGED, 2)
    values = {name: s.values.tolist() for name, s in found.items()}
    assert values["pass_at_1"] == values["random_at_2"] == [0.5, 0.5]
    assert values["pass_at_2"] == [1.0, 1.0]
    assert values["short1_at_2"] == [0.0, 0.0]
    assert values["best_at_2_simulated"] == [1.0, 0.5]  # a tie is a coin
    assert values["best_at_2_executed"] == [1.0, 1.0]
    assert values["single_turn"] == [0.0, 1.0] and values["self_rlef"] == [1.0, 0.0]
    assert (values["fixed"], values["broken"]) == ([1.0, 0.0], [0.0, 1.0])
    assert (values["fixed_public"], values["broken_public"]) == ([1.0, 0.0], [0.0, 1.0])


def test_several_episodes_of_a_problem_count_as_their_mean():
    episodes = zip(DECIDED.episodes["self_rlef"], (10, 20), strict=True)
    second = [[*row, Episode("b", "b", (), n, 2 * n)] for row, n in episodes]
    decided = Decided(DECIDED.samples, DECIDED.sources, DECIDED.rankings, {"self_rlef": second})
    after = Judged(np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 1.0], [0.0, 1.0]]))
    found = strategies_of(decided, JUDGED | {"self_rlef": after}, 2)
    values = {name: s.values.tolist() for name, s in found.items()}
    assert values["single_turn"] == [0.5, 0.5] and values["self_rlef"] == [1.0, 0.5]
    assert (values["fixed"], values["broken"]) == ([0.5, 0.5], [0.0, 0.5])
    paid = found["self_rlef"]  # the mean of first programs, and of what each episode cost
    assert paid.tokens.tolist() == [5 + 30, 5 + 10] and paid.prefilled.tolist() == [10 + 25, 10 + 20]
    flow = verifier.tables(decided, JUDGED | {"self_rlef": after}, 2, 0, 100)["self_rlef_flow"]
    assert [(row["before"], row["after"], row["episodes"], row["of"], row["value"]) for row in flow] == [
        ("right", "right", 1, 4, 0.25), ("right", "wrong", 1, 4, 0.25), ("wrong", "right", 2, 4, 0.5),
        ("wrong", "wrong", 0, 4, 0.0),
    ]  # fmt: skip


def test_repairs_of_what_is_believed_to_fail_have_figures_of_their_own():
    episodes = {"self_rlef_believed": [[Episode("a", "b", (), 30, 20)], [Episode("a", "a", (), 0, 0)]]}
    decided = dataclasses.replace(DECIDED, episodes=DECIDED.episodes | episodes)
    judged = JUDGED | {"self_rlef_believed": Judged(np.array([[1.0], [1.0]]), np.array([[1.0], [1.0]]))}
    found, report = strategies_of(decided, judged, 2), {"results": {}, "comparisons": {}}
    values = {name: s.values.tolist() for name, s in found.items()}
    assert values["self_rlef_believed"] == [1.0, 1.0] and values["self_rlef"] == [1.0, 0.0]
    assert (values["fixed_believed"], values["broken_believed"]) == ([1.0, 0.0], [0.0, 0.0])
    assert found["broken_believed"].tokens.tolist() == [4 + 30, 8]
    both = dict.fromkeys(("self_rlef_executed", "self_rlef_random"), found["self_rlef"])
    summarise(config(), report, found | both, PROBLEMS, 2)
    assert report["comparisons"]["self_rlef_believed_over_self_rlef"]["value"] == 0.5


def test_a_prompt_is_paid_for_once():
    found = strategies_of(DECIDED, JUDGED, 2)
    paid = {name: (s.tokens.tolist(), s.prefilled.tolist()) for name, s in found.items()}
    assert paid["pass_at_1"] == ([5.0, 5.0], [10, 10])
    assert paid["short1_at_2"] == ([10, 10], [10, 10])
    assert paid["best_at_2_simulated"] == ([110, 70], [50, 30])
    assert paid["self_rlef"] == ([54, 8], [40, 10])


def test_simulating_some_of_the_candidates_costs_what_their_programs_cost():
    one = strategies_module._simulating(DECIDED, 2, 1)
    assert one.tolist() == [[50.0, 20.0], [60.0, 20.0]]  # of the second problem any choice is the whole cost
    assert strategies_module._simulating(DECIDED, 2, 2).tolist() == [[100.0, 40.0], [60.0, 20.0]]


def test_answers_without_tokens_buy_what_there_is():
    """As a server answers that counts none."""
    affordable, k, _ = strategies_module.unsimulated(np.zeros((2, 4)), np.zeros(2), np.ones((2, 4)), 30.0)
    assert (affordable, k) == (30, 4)


def test_what_as_many_tokens_buy_without_simulating():
    found, report = strategies_of(DECIDED, JUDGED, 2), {"results": {}, "comparisons": {}, "tables": {}}
    at_equal_tokens(config(), report, found, DECIDED, CORRECT, PROBLEMS, 2)
    table = {row["strategy"]: row for row in report["tables"]["at_equal_tokens"] if row["problems"] == "held-out"}
    # best@2 costs (160 + 100) / 2 = 130, a prompt 10, a program 7.5 on average: 16 programs, of which there are 4.
    assert table["best_at_2_simulated"]["tokens read and generated"] == 130
    assert table["best_at_2_simulated"]["programs for as many"] == "4 (all; 16 could be paid)"
    # Self-RLEF costs (94 + 18) / 2 = 56: six programs and a bit, which counts as seven.
    assert table["self_rlef"]["programs for as many"] == "4 (all; 7 could be paid)"
    assert report["results"]["short1_at_tokens_of_self_rlef"]["value"] == 0.0
    assert report["results"]["pass_at_tokens_of_self_rlef"]["value"] == 1.0
    difference = report["comparisons"]["best_at_2_simulated_over_short1_at_equal_tokens"]["value"]
    assert difference == pytest.approx(0.75 - 0.0)
    random = report["comparisons"]["best_at_2_simulated_over_random_at_equal_tokens"]["value"]
    assert random == pytest.approx(0.75 - (0.5 + 0.25) / 2)


def test_without_more_candidates_nothing_is_said_of_equal_tokens():
    plain, report = config(), {"results": {}, "comparisons": {}, "tables": {}}
    plain.eval.more_candidates = 0
    at_equal_tokens(plain, report, strategies_of(DECIDED, JUDGED, 2), DECIDED, CORRECT, PROBLEMS, 2)
    assert report == {"results": {}, "comparisons": {}, "tables": {}}


def test_figures_have_intervals_and_values_are_kept(tmp_path):
    episodes = dict.fromkeys(("self_rlef", "self_rlef_executed", "self_rlef_random"), DECIDED.episodes["self_rlef"])
    decided = Decided(DECIDED.samples, DECIDED.sources, DECIDED.rankings, episodes)
    judged = JUDGED | dict.fromkeys(episodes, JUDGED["self_rlef"])
    found, report = strategies_of(decided, judged, 2), {"results": {}, "comparisons": {}}
    summarise(config(), report, found, PROBLEMS, 2)
    assert report["results"]["best_at_2_simulated"]["value"] == 0.75
    assert report["results"]["best_at_2_simulated"]["tokens"] == 180
    assert report["comparisons"]["self_rlef_over_single_turn"]["value"] == 0.0
    assert set(report["comparisons"]["simulation_gap_at_2/specified"]) == {"value", "low", "high", "n"}
    work = Workdir(tmp_path)
    save_values(work, ["q0", "q1"], found, decided, CORRECT)
    rows = {row["name"]: row for row in work.read_rows(work.data / "values.jsonl.gz")}
    assert rows["best_at_2_simulated"] == {"name": "best_at_2_simulated", "ids": ["q0", "q1"], "values": [1.0, 0.5],
                                           "tokens": [110.0, 70.0], "prefilled": [50.0, 30.0]}  # fmt: skip
    (candidates,) = work.read_rows(work.data / "candidates.jsonl.gz")
    assert candidates["lengths"] == [list(row) for row in LENGTHS] and candidates["prompts"] == [10, 10]
