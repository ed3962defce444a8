"""How likely a program is right, given what simulating it said: a model of votes, fitted where the truth is known.

A vote, one simulated run, is right with a probability that depends on how sure the model was of it and on whether it
contradicts itself. A program that is right passes every test; a wrong one passes each with some probability. From these
follow, by Bayes' rule and for any number of votes, the probabilities that a program passes a test and that it is right.
All parameters are fitted together, by maximum likelihood; the log-odds of a test's votes are damped, since votes of one
model err together.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Sequence

import jax
import numpy as np
from scipy.optimize import minimize

from selfexec_jax.problems.compare import answers_match
from selfexec_jax.problems.types import Problem, Test
from selfexec_jax.self_execution.simulate import Prediction

Doubt = Callable[[str, Prediction], bool]  # of a source and a simulated run of it: whether that contradicts itself

_NAMES = ("trust", "trust_if_unsure", "trust_if_contradicting", "chance", "damped", "damped_by_more", "right",
          "written", "others", "lucky")  # fmt: skip
_START = (3.0, -0.5, -1.0, -4.0, 1.0, -1.0, 0.0, 1.0, 0.0, -0.5)
_PRIOR = 1e-3  # weight of the squared distance from there
_SUREST = 1e-3  # nats of surprise that nothing is surer than
_KNOWN = 30.0  # log-odds of what was executed
_DRAWS = 4  # numbers of votes that a test is seen with while fitting: all, and random ones
_LEAST = 1e-6  # probability
# What a belief may be fitted without, with the parameters that say nothing then.
WITHOUT = {"surprise": ("trust_if_unsure",), "contradictions": ("trust_if_contradicting",),
           "frequency": ("written", "others")}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Vote:
    """What one simulated run says: an output, white space apart ("" for none); whether that is what the test wants; the
    log of how much it surprised the model, in nats; and whether it contradicts itself."""

    said: str
    is_match: bool
    unsure: float
    is_doubted: bool


SURELY = Vote("", True, float(np.log(_SUREST)), False)  # what speaks most for a program


def vote_of(problem: Problem, source: str, test: Test, said: Prediction, doubt: Doubt) -> Vote:
    output = " ".join((said.output or "").split())
    unsure = float(np.log(max(-said.logprob, 0.0) + _SUREST))
    told = said if problem.kind == "stdio" else dataclasses.replace(said, output=None)  # a call's is not what it prints
    return Vote(output, answers_match(problem.kind, test.output, said.output), unsure, doubt(source, told))


@dataclasses.dataclass(frozen=True)
class Seen:
    """A program for a problem and what is known of it.

    cells: votes, public test by public test. written, others: how often the model wrote it, and other answers.
    executed: by the number of a public test, whether it was seen to pass.
    """

    problem: Problem
    cells: Sequence[Sequence[Vote]]
    written: int = 1
    others: int = 0
    executed: dict[int, bool] = dataclasses.field(default_factory=dict)


def seen_of(
    problem: Problem, source: str, runs: Sequence[Sequence[Prediction]], doubt: Doubt, written: int = 1, others: int = 0
) -> Seen:
    """A program with its simulated runs, public test by public test."""
    cells = [[vote_of(problem, source, test, said, doubt) for said in cell]
             for test, cell in zip(problem.public_tests, runs, strict=True)]  # fmt: skip
    return Seen(problem, cells, written, others)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known of P programs with up to T tests and V votes each, as arrays.

    asked, match: PxTxV, whether there is a vote, and whether it foretells what the test wants. same: PxTxVxV, whether
    two votes foretell the same. unsure, doubted: PxTxV, log of the surprise of a vote in nats, and whether it
    contradicts itself. known: PxT, log-odds of what was executed, else 0. written, others: P.
    """

    asked: np.ndarray
    match: np.ndarray
    same: np.ndarray
    unsure: np.ndarray
    doubted: np.ndarray
    known: np.ndarray
    written: np.ndarray
    others: np.ndarray


@dataclasses.dataclass(frozen=True)
class Belief:
    """The fitted parameters by name."""

    parameters: dict[str, float]

    def __call__(self, programs: Sequence[Seen]) -> tuple[np.ndarray, np.ndarray]:
        """The probability of each program's being right, P, and of its passing each public test, PxT (T of the problem
        with the most tests)."""
        if not programs:
            return np.zeros(0), np.zeros((0, 0))
        return _probabilities(np.array([self.parameters[name] for name in _NAMES]), evidence_of(programs))


def passing_all(right_P: np.ndarray, passes_PxT: np.ndarray) -> np.ndarray:
    """The probability of passing every test, P: a right program does, a wrong one passes each by itself."""
    wrong_P = np.maximum(1 - right_P, _LEAST)
    by_luck_PxT = np.clip((passes_PxT - right_P[:, None]) / wrong_P[:, None], 0.0, 1.0)
    return right_P + wrong_P * by_luck_PxT.prod(-1)


def evidence_of(programs: Sequence[Seen]) -> Evidence:
    P, T = len(programs), max(len(seen.problem.public_tests) for seen in programs)
    V = max((len(cell) for seen in programs for cell in seen.cells), default=0)
    asked, match, doubted = (np.zeros((P, T, V), bool) for _ in range(3))
    same, unsure, known = np.zeros((P, T, V, V), bool), np.zeros((P, T, V)), np.zeros((P, T))
    for p, seen in enumerate(programs):
        for t, cell in enumerate(seen.cells):
            n = len(cell)
            asked[p, t, :n] = True
            match[p, t, :n] = [vote.is_match for vote in cell]
            unsure[p, t, :n] = [vote.unsure for vote in cell]
            doubted[p, t, :n] = [vote.is_doubted for vote in cell]
            same[p, t, :n, :n] = [[vote.said != "" and vote.said == other.said for other in cell] for vote in cell]
        for t, passes in seen.executed.items():
            known[p, t] = _KNOWN if passes else -_KNOWN
    written, others = (np.array([getattr(seen, name) for seen in programs], float) for name in ("written", "others"))
    return Evidence(asked, match, same, unsure, doubted, known, written, others)


def fit(programs: Sequence[Seen], is_right: np.ndarray, passes: np.ndarray, seed: int) -> Belief:
    """Parameters that make what turned out likeliest, over all numbers of votes. Problems count alike.

    is_right: P. passes: PxT, whether a program passes a public test. ValueError without programs to learn from.
    """
    return fit_without(programs, is_right, passes, seed, [""])[0]


def fit_without(
    programs: Sequence[Seen], is_right: np.ndarray, passes: np.ndarray, seed: int, names: Sequence[str]
) -> list[Belief]:
    """`fit` for each of the names in WITHOUT, of what is not looked at; an empty one leaves nothing out."""
    if not len(programs):
        raise ValueError("belief: no program was written for any validation problem; train for longer")
    evidence, rng = evidence_of(programs), np.random.default_rng(seed)
    V = evidence.asked.shape[-1]
    counts = [np.full(evidence.asked.shape[:2], V)]
    counts += [rng.integers(0, V + 1, evidence.asked.shape[:2]) for _ in range(_DRAWS - 1)]
    views = [dataclasses.replace(evidence, asked=evidence.asked & (np.arange(V) < n[..., None])) for n in counts]
    of_problem = Counter(seen.problem.id for seen in programs)
    weight = np.array([1 / of_problem[seen.problem.id] for seen in programs]) / len(of_problem)
    is_test = np.array([np.arange(passes.shape[1]) < len(seen.problem.public_tests) for seen in programs])
    of_tests = weight[:, None] * is_test / is_test.sum(1, keepdims=True)

    @jax.jit
    @jax.value_and_grad
    def loss(weights, is_used):
        xp, weights = weights.__array_namespace__(), weights * is_used
        total = _PRIOR * ((weights - np.array(_START) * is_used) ** 2).sum()
        for view in views:
            right_P, passes_PxT = _probabilities(weights, view)
            for found, truth, share in ((right_P, is_right, weight), (passes_PxT, passes, of_tests)):
                p = xp.clip(found, _LEAST, 1 - _LEAST)
                total -= (share * xp.where(truth > 0, xp.log(p), xp.log(1 - p))).sum() / len(views)
        return total

    beliefs = []
    for name in names:
        is_used = np.array([parameter not in WITHOUT.get(name, ()) for parameter in _NAMES], float)
        value = lambda weights, mask=is_used: [np.asarray(x, float) for x in loss(weights, mask)]  # noqa: E731
        found = minimize(value, np.array(_START) * is_used, jac=True, method="L-BFGS-B")
        beliefs.append(Belief(dict(zip(_NAMES, map(float, found.x), strict=True))))
    return beliefs


def _probabilities(weights, evidence: Evidence) -> tuple:
    """(P, PxT); of whichever kind of arrays the weights are."""
    xp = weights.__array_namespace__()
    _, _, _, _, damped, by_more, right, by_written, by_others, lucky = weights
    n_PxT = xp.maximum(evidence.asked.sum(-1), 1)
    share_PxT = xp.exp(_log_sigmoid(xp, damped)) * n_PxT ** -xp.exp(by_more)
    odds_PxT = evidence.known + share_PxT * _log_odds(xp, weights, evidence)
    prior_P = right + by_written * np.log(evidence.written) + by_others * np.log1p(evidence.others)
    passed, failed = _log_sigmoid(xp, lucky), _log_sigmoid(xp, -lucky)  # a wrong program, by luck
    if_wrong_PxT = xp.logaddexp(passed + odds_PxT, failed + 0 * odds_PxT)
    right_P = xp.exp(_log_sigmoid(xp, prior_P + (odds_PxT - if_wrong_PxT).sum(-1)))
    by_luck_PxT = xp.exp(passed + odds_PxT - if_wrong_PxT)
    return right_P, right_P[:, None] + (1 - right_P[:, None]) * by_luck_PxT


def _log_odds(xp, weights, evidence: Evidence):
    """Of passing each test, PxT, from its votes alone.

    A right vote says what is so; a wrong one says any given thing with a small probability, the chance. A program that
    fails gives something else: what one of the votes says, each by chance, or something that none does.
    """
    trust, if_unsure, if_doubted, chance = weights[:4]
    vote_PxTxV = trust + if_unsure * evidence.unsure + if_doubted * evidence.doubted
    right_PxTxV = _log_sigmoid(xp, vote_PxTxV)
    by_chance = _log_sigmoid(xp, chance)
    wrong_PxTxV = _log_sigmoid(xp, -vote_PxTxV) + by_chance
    asked = evidence.asked
    passed_PxT = xp.where(asked, xp.where(evidence.match, right_PxTxV, wrong_PxTxV), 0.0).sum(-1)
    each_PxTxVxV = xp.where(evidence.same, right_PxTxV[..., None, :], wrong_PxTxV[..., None, :])
    if_so_PxTxV = xp.where(asked[..., None, :], each_PxTxVxV, 0.0).sum(-1)  # if the program gives what vote v says
    is_said_PxTxV = _first_of_its_kind(evidence)
    none_PxT = xp.where(asked, wrong_PxTxV, 0.0).sum(-1)
    left_PxT = xp.log(xp.maximum(1 - xp.exp(by_chance) * is_said_PxTxV.sum(-1), 1e-3))
    said_PxTxV = xp.where(is_said_PxTxV, if_so_PxTxV + by_chance, -np.inf)
    return passed_PxT - functools.reduce(xp.logaddexp, xp.moveaxis(said_PxTxV, -1, 0), none_PxT + left_PxT)


def _first_of_its_kind(evidence: Evidence) -> np.ndarray:
    """The votes that foretell a failing output which none before them foretells, PxTxV."""
    V = evidence.asked.shape[-1]
    before = (evidence.same & evidence.asked[..., None, :] & np.tri(V, k=-1, dtype=bool)).any(-1)
    has_output = np.diagonal(evidence.same, axis1=-2, axis2=-1)
    return evidence.asked & ~evidence.match & has_output & ~before


def _log_sigmoid(xp, x):
    return -xp.logaddexp(0 * x, -x)
