"""Probabilities from votes: fitted on simulated truth, they are right; and the search spends where it matters."""

import dataclasses

import numpy as np
import pytest

from selfexec_jax.configs.base import get_config
from selfexec_jax.problems import Problem, Test
from selfexec_jax.rollout import Sample
from selfexec_jax.self_execution.belief import WITHOUT, Belief, Seen, Vote, fit, fit_without, passing_all, vote_of
from selfexec_jax.self_execution.search import Execute, Means, Simulate, Spending, Write, search
from selfexec_jax.self_execution.simulate import Prediction
from selfexec_jax.stages.belief import believed_failures, refitted

TESTS = (Test("1\n", "1\n"), Test("2\n", "2\n"), Test("3\n", "3\n"))


def problem(name="p"):
    return Problem(name, "Say.", public_tests=TESTS)


def drawn(n, seed, K=6, V=3):
    """Problems whose programs and votes follow the model: (programs, is_right, passes)."""
    rng, programs, is_right, passes = np.random.default_rng(seed), [], [], []
    for i in range(n):
        for _ in range(K):
            right = rng.random() < 0.5
            passing = [right or rng.random() < 0.3 for _ in TESTS]
            cells = []
            for t, passed in enumerate(passing):
                gives, cell = TESTS[t].output.strip() if passed else "wrong", []
                for _ in range(V):
                    unsure = rng.normal()
                    told = rng.random() < 1 / (1 + np.exp(-(1.5 - 2 * unsure)))
                    said = gives if told else f"slip {rng.integers(20)}"
                    cell.append(Vote(said, said == TESTS[t].output.strip(), unsure, not told and rng.random() < 0.5))
                cells.append(cell)
            programs.append(Seen(problem(f"p{i}"), cells, 1, K - 1))
            is_right.append(float(right))
            passes.append([float(p) for p in passing])
    return programs, np.array(is_right), np.array(passes)


@pytest.fixture(scope="module")
def belief():
    return fit(*drawn(150, 0), seed=0)


def likelihood(p, truth):
    return np.log(np.where(truth > 0, p, 1 - p)).mean()


def test_what_is_fitted_is_calibrated_on_what_was_not_seen(belief):
    programs, is_right, passes = drawn(150, 1)
    right, passing = belief(programs)
    for p, truth in ((right, is_right), (passing, passes)):
        for low in np.arange(0, 1, 0.2):
            inside = (p >= low) & (p < low + 0.2)
            if inside.sum() > 40:
                assert abs(p[inside].mean() - truth[inside].mean()) < 0.12, low
    shares = np.array([[np.mean([v.is_match for v in cell]) for cell in seen.cells] for seen in programs])
    assert likelihood(passing, passes) > likelihood(np.clip(shares, 0.05, 0.95), passes) + 0.05


def test_evidence_counts_as_it_should(belief):
    def right(*cells, **of):
        (p,), _ = belief([Seen(problem(), cells, **of)])
        return p

    sure, unsure = Vote("1", True, -2.0, False), Vote("1", True, 2.0, False)
    miss, doubted = Vote("7", False, -2.0, False), Vote("1", True, 0.0, True)
    nothing = right((), (), ())
    assert right((miss,), (), ()) < nothing < right((unsure,), (), ()) < right((sure,), (), ())
    assert right((doubted,), (), ()) < right((Vote("1", True, 0.0, False),), (), ())
    assert right((sure,), (), ()) < right((sure,), (sure,), ()) < right((sure,), (sure,), (sure,))
    other = Vote("8", False, -2.0, False)
    assert right((miss, miss), (), ()) < right((miss, other), (), ())  # misses that agree are worse
    assert right((), (), (), executed={0: False}) < 0.01 < nothing < right((), (), (), executed={0: True})
    assert right((miss,), (), (), executed={0: True}) > nothing
    silent = Vote("", False, 0.0, False)
    assert right((silent,), (), ()) == pytest.approx(nothing, abs=0.05)  # no output says nothing of the program


@pytest.mark.parametrize("name", WITHOUT)
def test_a_belief_may_be_fitted_without_looking_at_something(belief, name):
    """Then that says nothing, and what is foretold is no better for it."""
    programs, is_right, passes = drawn(150, 0)
    (less,) = fit_without(programs, is_right, passes, 0, [name])
    assert all(less.parameters[parameter] == 0.0 for parameter in WITHOUT[name])
    sure, unsure, doubted = Vote("1", True, -2.0, False), Vote("1", True, 2.0, False), Vote("1", True, -2.0, True)
    ways = {"surprise": [dict(cells=[[v]] * 3) for v in (sure, unsure)],
            "contradictions": [dict(cells=[[v]] * 3) for v in (sure, doubted)],
            "frequency": [dict(cells=[[sure]] * 3, written=n, others=6 - n) for n in (1, 6)]}  # fmt: skip
    for other, pair in ways.items():
        (a, b), _ = less([Seen(problem(), **of) for of in pair])
        if name == other:
            assert a == pytest.approx(b)
        elif other != "frequency":  # which is the same for all that was drawn
            assert a > b
    fresh, is_right, _ = drawn(150, 1)
    assert likelihood(belief(fresh)[0], is_right) > likelihood(less(fresh)[0], is_right) - 1e-3


def test_shares_of_votes_are_refitted():
    rng, programs, is_right = np.random.default_rng(0), [], []
    for i in range(4000):
        n = rng.integers(4)
        programs.append(Seen(problem(f"p{i}"), [[Vote("1", t < n, 0.0, False)] for t in range(3)]))
        is_right.append(float(rng.random() < 1 / (1 + np.exp(3 - 5 * n / 3))))
    assert refitted(programs, np.array(is_right)) == pytest.approx([5.0, -3.0], abs=0.4)


def test_a_failure_is_believed_as_far_as_the_model_was_sure(belief):
    config = get_config()
    said = lambda text, logprob: [Prediction(text, f"print {text}\n=>{text}", "stop", 1, 1, logprob)]  # noqa: E731

    def believed(*runs):
        return believed_failures(config, belief)(problem(), "print(input())", runs)

    assert believed(said("1", -0.1), said("2", -0.1), said("7", -8.0)) == [False, False, False]
    assert believed(said("1", -0.1), said("2", -0.1), said("7", -0.1)) == [False, False, True]
    config.belief.fails = 0.0  # all is told
    assert believed(said("1", -0.1), said("2", -0.1), said("7", -8.0)) == [True, True, True]


def test_problems_may_have_different_numbers_of_tests_and_of_votes(belief):
    sure = Vote("1", True, -2.0, False)
    short = Seen(dataclasses.replace(problem(), public_tests=TESTS[:1]), [[sure]])
    alone, _ = belief([short])
    together, passes = belief([short, Seen(problem(), [[sure, sure], [sure], []])])
    assert together[0] == pytest.approx(alone[0]) and passes.shape == (2, 3)
    assert belief([])[0].shape == (0,)


def test_passing_all_tests_is_not_passing_each_of_them(belief):
    """A right program passes them together; a wrong one is lucky with each by itself."""
    right, passes = np.array([0.5, 0.0, 1.0]), np.array([[0.6, 0.75], [0.2, 0.5], [1.0, 1.0]])
    assert passing_all(right, passes) == pytest.approx([0.5 + 0.5 * 0.2 * 0.5, 0.1, 1.0], abs=1e-5)
    assert passing_all(*belief([])).shape == (0,)


def test_without_programs_there_is_nothing_to_fit():
    with pytest.raises(ValueError, match="no program was written for any validation problem"):
        fit([], np.zeros(0), np.zeros((0, 0)), 0)


def test_a_vote_says_what_a_simulation_says():
    said = Prediction(" 1 \n", "told\n=> 1 ", "stop", 3, 5, logprob=-0.5)
    vote = vote_of(problem(), "source", TESTS[0], said, lambda source, p: source == "source" and "told" in p.text)
    assert vote == Vote("1", True, pytest.approx(np.log(0.501)), True)
    assert vote_of(problem(), "s", TESTS[0], dataclasses.replace(said, output=None), lambda *_: False).said == ""


# ---- searching -----------------------------------------------------------------------------------------------
class World:
    """Programs by problem, right or not; simulations of them are told right, and everything that is asked is noted."""

    def __init__(self, programs, told=None):
        self.programs, self.told, self.asked = programs, told or {}, []

    def means(self, may_execute=False):
        return Means(self.write, self.simulate, self.execute if may_execute else None)

    def write(self, wanted: list[Write]):
        self.asked += wanted
        return [[Sample((0,) * 10, (0,) * 5, (), s, "stop" if s else "length", 0)
                 for s in self.programs[w.problem.id][w.begin : w.end]] for w in wanted]  # fmt: skip

    def simulate(self, wanted: list[Simulate]):
        self.asked += wanted
        return [Prediction(self.output(w), "", "stop", 7, 20, logprob=-0.2) for w in wanted]

    def output(self, w):
        passes = self.told.get(w.source, "right" in w.source)
        return w.problem.public_tests[w.test].output if passes else "no"

    def execute(self, wanted: list[Execute]):
        self.asked += wanted
        return ["right" in w.source for w in wanted]


def searched(world, belief, spending, may_execute=False):
    problems = [problem(name) for name in world.programs]
    return search(problems, world.means(may_execute), belief, lambda *_: False, spending, "compact")


def test_nothing_more_is_asked_once_one_is_sure(belief):
    world = World({"a": ["right\n"] * 4, "b": ["bad\n", "worse\n", "right b\n", "bad\n"]})
    a, b = searched(world, belief, Spending(4, 2, 2, 0.9))
    assert (a.source, b.source) == ("right\n", "right b\n") and min(a.probability, b.probability) >= 0.9
    assert a.n_candidates == 2 and b.n_candidates == 4 and a.n_simulations < b.n_simulations < 4 * 3 * 2
    assert (a.n_executions, b.n_executions) == (0, 0)
    assert a.n_tokens == 2 * 5 + 7 * a.n_simulations and a.n_prefilled == 10 + 20 * a.n_simulations
    assert b.n_tokens == 4 * 5 + 7 * b.n_simulations and b.n_prefilled == 2 * 10 + 20 * b.n_simulations
    simulations = [(w.problem.id, w.source, w.test, w.vote) for w in world.asked if isinstance(w, Simulate)]
    assert len(set(simulations)) == len(simulations) == a.n_simulations + b.n_simulations
    assert sum(source == "bad\n" for _, source, _, _ in simulations) < 3 * 2  # it is left alone


def test_it_ends_whatever_comes(belief):
    world = World({"none": [""] * 4, "wrong": ["bad\n", "worse\n", "bad\n", "worst\n"]})
    none, wrong = searched(world, belief, Spending(4, 1, 2, 1.1))
    assert (none.source, none.probability, none.n_candidates, none.n_simulations) == (None, 0.0, 4, 0)
    assert wrong.source in world.programs["wrong"] and wrong.n_simulations == 3 * 3 * 2 and wrong.probability < 0.5
    bare = dataclasses.replace(problem("bare"), public_tests=())
    (found,) = search([bare], World({"bare": ["x\n", "y\n", "y\n", "z\n"]}).means(), belief, lambda *_: False,
                      Spending(4, 2, 2, 0.99), "compact")  # fmt: skip
    assert found.source == "y\n" and found.n_simulations == 0  # what it writes most often


def test_what_can_no_longer_win_is_left_alone(belief):
    """Were both of the bad one's votes left on its last test for it, it would still not be held likelier."""
    programs = {"p": ["bad\n", "right\n"]}
    world = World(programs, {"bad\n": False})
    found, = searched(world, belief, Spending(2, 2, 2, 1.1))
    simulated = [w.source for w in world.asked if isinstance(w, Simulate)]
    assert found.source == "right\n" and simulated.count("right\n") == 3 * 2
    assert simulated.count("bad\n") < 3 * 2 and found.n_simulations == len(simulated)


def test_nothing_is_submitted_that_is_not_likely_enough(belief):
    world = {"right": ["right\n"] * 2, "wrong": ["bad\n", "worse\n"]}
    sure, unsure = searched(World(world), belief, Spending(2, 2, 2, 0.9, abstain=0.5))
    assert (sure.source, unsure.source) == ("right\n", None) and 0 < unsure.probability < 0.5
    again = searched(World(world), belief, Spending(2, 2, 2, 0.9))
    assert [p.n_simulations for p in again] == [sure.n_simulations, unsure.n_simulations] and again[1].source


def test_executions_settle_what_simulations_leave_open(belief):
    programs = {"p": ["looks right, is bad\n".replace("right", "well"), "bad\n", "right but doubted\n", "bad\n"]}
    told = {"looks well, is bad\n": True, "right but doubted\n": False}
    fooled, = searched(World(programs, told), belief, Spending(4, 4, 1, 1.1))
    assert fooled.source == "looks well, is bad\n" and fooled.n_executions == 0
    mended, = searched(World(programs, told), belief, Spending(4, 4, 1, 1.1, least_gain=0.0), may_execute=True)
    assert mended.source == "right but doubted\n" and mended.n_executions <= 6
    promising, = searched(World(programs, told), belief, Spending(4, 4, 1, 1.1, least_gain=1.0), may_execute=True)
    assert promising.source == fooled.source and promising.n_executions == 0
    with pytest.raises(ValueError, match="nobody here can execute"):
        searched(World(programs), belief, Spending(least_gain=0.1))


def test_a_run_is_executed_for_what_it_promises_alone(belief):
    """That is where the likeliest may fail and another be right; and what was executed is not simulated."""
    programs = {"settled": ["right\n"] * 4, "open": ["right a\n", "bad b\n", "bad c\n", "bad d\n"]}
    told = dict.fromkeys(programs["open"], True)  # all simulations say the same
    found = {}
    for gain in (0.3, 0.1, 0.0):
        world = World(programs, told)
        settled, found[gain] = searched(world, belief, Spending(4, 4, 2, 0.9, gain), may_execute=True)
        assert settled.n_executions <= found[gain].n_executions
        known = set()
        for w in world.asked[2:]:
            assert (w.source, w.test) not in known and (w.source, "failed") not in known
            if isinstance(w, Execute):
                known |= {(w.source, w.test)} if "right" in w.source else {(w.source, "failed")}
    runs = [each.n_executions for each in found.values()]
    assert runs == sorted(runs) and runs[0] < runs[-1] and found[0.0].source == "right a\n"


def test_a_belief_is_its_parameters(belief):
    again = Belief(dict(belief.parameters))
    programs, _, _ = drawn(3, 2)
    assert all(np.array_equal(a, b) for a, b in zip(again(programs), belief(programs), strict=True))
