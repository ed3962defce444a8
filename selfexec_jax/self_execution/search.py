"""Verification that spends where it matters: the likeliest program first, until one is sure enough.

Programs are written a few at a time and simulated a run at a time, always the one that is likeliest to be right. What
is not promising is left alone, and so is what can no longer win: what would not be held likelier than the best is, if
all that is left to simulate spoke for it. Nothing more is written or simulated once one is sure. Then, where whoever
asks allows it, the likeliest is executed on a test if that promises enough: it may fail, and another be right. Whoever
asks executes it, nothing here can.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Generator, Sequence

from selfexec_jax.problems.types import Problem
from selfexec_jax.rollout import Sample
from selfexec_jax.self_execution.belief import SURELY, Belief, Doubt, Seen, Vote, vote_of
from selfexec_jax.self_execution.candidates import program_of
from selfexec_jax.self_execution.simulate import Prediction


@dataclasses.dataclass(frozen=True)
class Spending:
    """At most so many candidates, of which `first` to begin with, and votes a test; how likely to be right a program
    must be for the search to end, and for it to be submitted at all; and how much a run must be expected to add to the
    chance of solving the problem, to be executed (None: nothing is)."""

    candidates: int = 8
    first: int = 2
    votes: int = 2
    sure: float = 0.9
    least_gain: float | None = None
    abstain: float = 0.0


@dataclasses.dataclass(frozen=True)
class Write:
    """The candidates of a problem from one number up to another are wanted."""

    problem: Problem
    begin: int
    end: int


@dataclasses.dataclass(frozen=True)
class Simulate:
    """One simulated run of a program on a public test is wanted, the vote of that number."""

    problem: Problem
    source: str
    test: int
    vote: int


@dataclasses.dataclass(frozen=True)
class Execute:
    """Whether a program passes a public test is wanted, by running it."""

    problem: Problem
    source: str
    test: int


@dataclasses.dataclass(frozen=True)
class Picked:
    """What is submitted, None where no answer was a program or none was likely enough; how likely the best is held to
    be right; and what was spent."""

    source: str | None
    probability: float
    n_candidates: int
    n_simulations: int
    n_executions: int
    n_tokens: int
    n_prefilled: int


@dataclasses.dataclass(frozen=True)
class Means:
    """Who answers, each a batch at a time: answers to problems, simulated runs, and runs where they are allowed."""

    write: Callable[[list[Write]], list[list[Sample]]]
    simulate: Callable[[list[Simulate]], list[Prediction]]
    execute: Callable[[list[Execute]], list[bool]] | None = None


def search(
    problems: Sequence[Problem], means: Means, belief: Belief, doubt: Doubt, spending: Spending, template: str
) -> list[Picked]:
    """A program for every problem, all in step. Raises ValueError for executions that nobody does."""
    if spending.least_gain is not None and means.execute is None:
        raise ValueError("least_gain: nobody here can execute; set it to None")
    plans = [_plan(problem, belief, doubt, spending, template) for problem in problems]
    picked: list[Picked | None] = [None] * len(plans)
    wanted = {i: next(plan) for i, plan in enumerate(plans)}
    while wanted:
        answers = {}
        for kind, answer in ((Write, means.write), (Simulate, means.simulate), (Execute, means.execute)):
            asked = {i: want for i, want in wanted.items() if isinstance(want, kind)}
            if asked:
                answers |= zip(asked, answer(list(asked.values())), strict=True)
        wanted = {}
        for i, given in answers.items():
            try:
                wanted[i] = plans[i].send(given)
            except StopIteration as end:
                picked[i] = end.value
    return picked


def _plan(
    problem: Problem, belief: Belief, doubt: Doubt, spending: Spending, template: str
) -> Generator[Write | Simulate | Execute, list[Sample] | Prediction | bool, Picked]:
    """What is wanted for one problem, one thing after the other."""
    samples: list[Sample] = []
    cells: dict[str, list[list[Vote]]] = {}
    executed: dict[str, dict[int, bool]] = {}
    more, n_simulations, n_tokens, n_prefilled = min(spending.first, spending.candidates), 0, 0, 0
    while True:
        if more:
            new = yield Write(problem, len(samples), len(samples) + more)
            samples += new
            n_tokens, n_prefilled = n_tokens + sum(len(s.tokens) for s in new), n_prefilled + len(new[0].prompt_tokens)
            more = 0
        sources = Counter(filter(None, (program_of(sample, template) for sample in samples)))
        for source in sources:
            cells.setdefault(source, [[] for _ in problem.public_tests])
            executed.setdefault(source, {})
        known = [Seen(problem, cells[s], n, len(samples) - n, executed[s]) for s, n in sources.items()]
        another = Seen(problem, [()] * len(problem.public_tests), 1, len(samples))  # written next
        (*right, fresh), passes = belief([*known, another])
        of = dict(zip(sources, right, strict=True))
        best = max(of, key=of.get, default=None)
        if best is None or of[best] < spending.sure or not _is_seen(cells[best], executed[best]):
            open_ = {s: tests for s in of if (tests := _open_tests(cells[s], executed[s], spending.votes))}
            hopes = dict(zip(sources, belief([_at_best(seen, spending.votes) for seen in known])[0], strict=True))
            open_ = {s: tests for s, tests in open_.items() if s == best or hopes[s] > of[best]}
            likeliest = max(open_, key=of.get, default=None)
            more = min(len(samples), spending.candidates - len(samples))
            if more and of.get(likeliest, 0.0) < fresh:
                continue
            more = 0
            if likeliest is not None:
                row = cells[likeliest]
                test = min(open_[likeliest], key=lambda t: len(row[t]))
                said = yield Simulate(problem, likeliest, test, len(row[test]))
                row[test].append(vote_of(problem, likeliest, problem.public_tests[test], said, doubt))
                n_simulations += 1
                n_tokens, n_prefilled = n_tokens + said.n_tokens, n_prefilled + said.n_prompt
                continue
        if best is None or spending.least_gain is None:
            break
        passing = passes[list(of).index(best)]
        left = [t for t in range(len(problem.public_tests)) if t not in executed[best]]
        test = min(left, key=lambda t: passing[t], default=None)
        others = [p for s, p in of.items() if s != best] + [fresh] * (len(samples) < spending.candidates)
        if test is None or (1 - passing[test]) * max(others, default=0.0) < spending.least_gain:
            break
        executed[best][test] = yield Execute(problem, best, test)
    n_executions = sum(map(len, executed.values()))
    likely = float(of.get(best, 0.0))
    submitted = best if likely >= spending.abstain else None
    return Picked(submitted, likely, len(samples), n_simulations, n_executions, n_tokens, n_prefilled)


def _is_seen(row: Sequence[Sequence[Vote]], executed: dict[int, bool]) -> bool:
    return all(cell or test in executed for test, cell in enumerate(row))


def _at_best(seen: Seen, enough: int) -> Seen:
    """The program as it would be seen if all of its votes that are still to come foretold what the tests want."""
    cells = [
        cell if test in seen.executed else [*cell, *[SURELY] * (enough - len(cell))]
        for test, cell in enumerate(seen.cells)
    ]
    return dataclasses.replace(seen, cells=cells)


def _open_tests(row: Sequence[Sequence[Vote]], executed: dict[int, bool], enough: int) -> list[int]:
    """The tests that a program may still be simulated on; none for one that is known to fail."""
    if not all(executed.values()):
        return []
    return [test for test, cell in enumerate(row) if len(cell) < enough and test not in executed]
