"""Self-verification: candidates ranked by the public tests that they are predicted to pass (best@k)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from selfexec_jax.problems.compare import answers_match
from selfexec_jax.problems.types import Problem
from selfexec_jax.self_execution.simulate import Asking, Invocation, Prediction, simulate

_LEAST = 1e-3  # less than one vote on one public test


@dataclasses.dataclass(frozen=True)
class Ranking:
    """`scores[i]`: share of (test, vote) pairs that candidate i is predicted to pass.

    `predictions[i][t]`: its simulated runs on public test t. `n_tokens` were generated and `n_prefilled` read for all
    of it, each distinct simulation charged once.
    """

    scores: tuple[float, ...]
    predictions: tuple[tuple[tuple[Prediction, ...], ...], ...]
    n_tokens: int
    n_prefilled: int


def verify(
    engine, tokenizer, items: Sequence[tuple[Problem, Sequence[str | None]]], votes: int, seed: int, asking: Asking
) -> list[Ranking]:
    """A ranking of every item's candidates, in one stream of simulations; None, no program, scores 0."""
    cases = [
        Invocation.of(source, problem, test)
        for problem, sources in items
        for source in sources
        if source is not None
        for test in problem.public_tests
    ]
    predictions = dict(zip(cases, simulate(engine, tokenizer, cases, votes, seed, asking), strict=True))
    rankings = []
    for problem, sources in items:
        table = tuple(
            tuple(tuple(predictions.get(Invocation.of(source, problem, test), ())) for test in problem.public_tests)
            for source in sources
        )
        scores = tuple(_score(problem, row) for row in table)
        distinct = dict(zip(sources, table, strict=True))
        cells = [cell for row in distinct.values() for cell in row]
        generated = sum(p.n_tokens for cell in cells for p in cell)
        rankings.append(Ranking(scores, table, generated, sum(p.n_prompt for cell in cells for p in cell)))
    return rankings


def tie_broken(ranking: Ranking, by: Sequence[float]) -> tuple[float, ...]:
    """Scores by the public tests first; among candidates that these do not tell apart, by another one from 0 to 1."""
    return tuple(score + _LEAST * other for score, other in zip(ranking.scores, by, strict=True))


def _score(problem: Problem, row: Sequence[Sequence[Prediction]]) -> float:
    hits = [
        answers_match(problem.kind, test.output, p.output)
        for test, cell in zip(problem.public_tests, row, strict=True)
        for p in cell
    ]
    return sum(hits) / len(hits) if hits else 0.0
