"""Verification with fewer votes, as baselines of what spends them better: the first ones alone, and halving.

Nothing is simulated for it: it takes of the votes that were made what it would have asked for.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from selfexec_jax.problems import Problem
from selfexec_jax.problems.compare import answers_match
from selfexec_jax.self_execution.simulate import Prediction
from selfexec_jax.stages.strategies import Decided, Judged, Strategy, ranked


@dataclasses.dataclass(frozen=True)
class _Program:
    """hits: TxV, whether a vote foretells what the test wants. tokens, read, again: by vote, over the tests: generated,
    read, and read where the votes before were asked for earlier."""

    hits: np.ndarray
    tokens: np.ndarray
    read: np.ndarray
    again: np.ndarray

    @classmethod
    def of(cls, problem: Problem, row: Sequence[Sequence[Prediction]]) -> _Program:
        tests = zip(problem.public_tests, row, strict=True)
        hits = np.array([[answers_match(problem.kind, test.output, p.output) for p in cell] for test, cell in tests])
        by_vote = list(zip(*row, strict=True))
        tokens, read, first = (np.array([sum(getattr(p, key) for p in said) for said in by_vote], float)
                               for key in ("n_tokens", "n_prompt", "n_first"))  # fmt: skip
        return cls(hits, tokens, read, read + first * (np.arange(len(first)) > 0))

    def share(self, votes: int) -> float:
        return float(self.hits[:, :votes].mean())


def strategies_of(
    problems: Sequence[Problem], decided: Decided, judged: Judged, written: Strategy, votes: int, K: int
) -> dict[str, Strategy]:
    """What best@K solves with each smaller number of votes, and with halving; `written`: a strategy that writes K
    candidates and simulates nothing. Empty where there is one vote, or where some problem has no public test."""
    if votes < 2 or not all(p.public_tests for p in problems):
        return {}
    correct, found = judged.correct[:, :K], {}
    seen = [
        {source: _Program.of(p, row) for source, row in zip(sources[:K], ranking.predictions, strict=True) if source}
        for p, sources, ranking in zip(problems, decided.sources, decided.rankings, strict=True)
    ]

    def strategy(values, spent) -> Strategy:
        tokens, read = np.array(spent).reshape(-1, 2).T
        return Strategy(values, written.tokens + tokens, written.prefilled + read)

    for v in range(1, votes):
        scores = [[of[s].share(v) if s else 0.0 for s in sources[:K]]
                  for of, sources in zip(seen, decided.sources, strict=True)]  # fmt: skip
        spent = [[sum(getattr(program, key)[:v].sum() for program in of.values()) for key in ("tokens", "read")]
                 for of in seen]  # fmt: skip
        found[f"best_at_{K}_votes_{v}"] = strategy(ranked(np.array(scores), correct, K), spent)
    chosen = [halved(of, Counter(sources[:K]), votes) for of, sources in zip(seen, decided.sources, strict=True)]
    values = [0.0 if source is None else row[sources.index(source)]
              for (source, *_), sources, row in zip(chosen, decided.sources, correct, strict=True)]  # fmt: skip
    found[f"best_at_{K}_halved"] = strategy(np.array(values), [spent for _, *spent in chosen])
    return found


def halved(programs: dict[str, _Program], written: Counter, votes: int) -> tuple[str | None, float, float]:
    """Sequential halving: one vote a test for every program, one more for the better half, and so on to the last one
    or to so many votes. What is left, and the tokens generated and read; ties go to what was written more often."""
    left, tokens, read = list(programs), 0.0, 0.0
    for v in range(votes):
        tokens += sum(programs[s].tokens[v] for s in left)
        read += sum(programs[s].again[v] for s in left)
        left.sort(key=lambda s: (programs[s].share(v + 1), written[s]), reverse=True)
        left = left[: 1 if v + 1 == votes else (len(left) + 1) // 2]
        if len(left) < 2:
            break
    return (left[0] if left else None), tokens, read
