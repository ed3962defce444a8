"""Tests that the model makes itself: it proposes inputs, and its candidates' simulated outputs vote on what is right.

A candidate that agrees with most others on inputs which nobody gave an output for is likelier to be right, as wrong
programs are wrong in different ways. Source: Shi et al. 2022, "Natural Language to Code Translation with Execution",
whose candidates are executed on given inputs.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from selfexec_jax.problems.endings import ending_name
from selfexec_jax.problems.types import Problem
from selfexec_jax.rollout import Request
from selfexec_jax.self_execution.simulate import Asking, Invocation, Prediction, request_seed, simulate
from selfexec_jax.self_execution.verify import Ranking
from selfexec_jax.tasks import propose

_DRAWS = 3  # answers asked for, for each input that is wanted: some are said twice or are public


@dataclasses.dataclass(frozen=True)
class OwnTests:
    """The inputs proposed for a problem, and with which share of its contenders each candidate is simulated to agree on
    them, a mean over inputs; 0 for who is none. `n_tokens`, `n_prefilled`: of proposing and simulating."""

    inputs: tuple[str, ...]
    scores: tuple[float, ...]
    n_tokens: int
    n_prefilled: int


def propose_inputs(
    engine, tokenizer, problems: Sequence[Problem], n: int, seed: int, asking: Asking
) -> list[tuple[list[str], int, int]]:
    """Up to n inputs a problem that are not its public ones, with the tokens generated and read; none for
    problems that ask for calls."""
    asked = [problem for problem in problems if problem.kind == "stdio"]
    requests = [
        Request(
            tuple(tokenizer.encode_prompt(propose.render(problem, asking.template))), n * _DRAWS, asking.max_new_tokens,
            asking.temperature, asking.top_p, seed=request_seed(seed, "propose", problem.id),
        )
        for problem in asked
    ]  # fmt: skip
    found = {}
    for problem, samples in zip(asked, engine.generate(requests), strict=True):
        given = [propose.extract(s.text, asking.template) for s in samples if s.finish_reason == "stop"]
        public = {test.input.strip() for test in problem.public_tests}
        new = dict.fromkeys(text for text in given if text is not None and text.strip() not in public)
        found[problem.id] = list(new)[:n], sum(len(s.tokens) for s in samples), len(samples[0].prompt_tokens)
    return [found.get(problem.id, ([], 0, 0)) for problem in problems]


def own_tests(
    engine, tokenizer, items: Sequence[tuple[Problem, Sequence[str | None]]], rankings: Sequence[Ranking], n: int,
    seed: int, asking: Asking, simulating: Asking,
) -> list[OwnTests]:  # fmt: skip
    """Own tests of every problem's contenders, the candidates that its public tests rank first: each program is
    simulated once on each of up to n proposed inputs. Where all contenders are one program nothing is asked."""
    contenders = [_contenders(sources, ranking) for (_, sources), ranking in zip(items, rankings, strict=True)]
    unsure = [i for i, programs in enumerate(contenders) if len(programs) > 1]
    proposed = dict(zip(
        unsure, propose_inputs(engine, tokenizer, [items[i][0] for i in unsure], n, seed, asking), strict=True
    ))  # fmt: skip
    cases = [Invocation(source, given) for i in unsure for source in contenders[i] for given in proposed[i][0]]
    cells = simulate(engine, tokenizer, cases, 1, seed, simulating)
    said = {(case.source, case.given): cell[0] for case, cell in zip(cases, cells, strict=True)}
    found = []
    for i, (_, sources) in enumerate(items):
        inputs, n_tokens, n_read = proposed.get(i, ([], 0, 0))
        table = [[said[source, given] if source in contenders[i] else None for given in inputs] for source in sources]
        columns = [Counter(map(_vote, column)) for column in zip(*table, strict=True)]
        n_contenders = sum(source in contenders[i] for source in sources)
        runs = [said[source, given] for source in contenders[i] for given in inputs]
        found.append(
            OwnTests(
                tuple(inputs), tuple(_agreement(row, columns, n_contenders) for row in table),
                n_tokens + sum(p.n_tokens for p in runs), n_read + sum(p.n_prompt for p in runs),
            )
        )  # fmt: skip
    return found


def _contenders(sources: Sequence[str | None], ranking: Ranking) -> list[str]:
    """The different programs that public tests rank first."""
    best = max(ranking.scores)
    first = (source for source, score in zip(sources, ranking.scores, strict=True) if score == best)
    return [source for source in dict.fromkeys(first) if source is not None]


def _vote(said: Prediction | None) -> str | None:
    """The output that a simulation votes for; none for a run that ends without, which says nothing of what is right."""
    if said is None or said.output is None or ending_name(said.output):
        return None
    return " ".join(said.output.split())


def _agreement(row: Sequence[Prediction | None], columns: Sequence[Counter], n: int) -> float:
    votes = [(_vote(said), counts) for said, counts in zip(row, columns, strict=True)]
    agreeing = [0.0 if vote is None else counts[vote] / n for vote, counts in votes]
    return sum(agreeing) / len(agreeing) if agreeing else 0.0
