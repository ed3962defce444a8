"""Tests that the model makes itself: it proposes inputs, and its candidates' simulated outputs vote on what is right.

A candidate that agrees with most others on inputs which nobody gave an output for is likelier to be right, as wrong
programs are wrong in different ways. Source: Chen et al. 2022, "CodeT", whose tests are executed.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from selfexec_jax.problems.types import Problem
from selfexec_jax.rollout import Request
from selfexec_jax.self_execution.simulate import Asking, Prediction, request_seed, simulate
from selfexec_jax.self_execution.verify import Ranking
from selfexec_jax.tasks import propose

_DRAWS = 3  # answers asked for, for each input that is wanted: some are said twice or are public
_LEAST = 1e-3  # less than one vote on one public test


@dataclasses.dataclass(frozen=True)
class OwnTests:
    """The inputs proposed for a problem, each with the output that most candidates are simulated to give (None where
    none gives any) and the share of them that do; and of each candidate with how many it agrees, a mean over inputs.
    `n_tokens`, `n_prefilled`: of proposing and simulating."""

    inputs: tuple[str, ...]
    outputs: tuple[str | None, ...]
    shares: tuple[float, ...]
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
    engine, tokenizer, items: Sequence[tuple[Problem, Sequence[str | None]]], n: int, seed: int, asking: Asking,
    simulating: Asking,
) -> list[OwnTests]:  # fmt: skip
    """Own tests of every problem's candidates, each program simulated once on each of up to n proposed inputs."""
    proposed = propose_inputs(engine, tokenizer, [problem for problem, _ in items], n, seed, asking)
    cases = [(source, given) for (_, sources), (inputs, _, _) in zip(items, proposed, strict=True)
             for source in dict.fromkeys(sources) if source is not None for given in inputs]  # fmt: skip
    said = dict(zip(cases, simulate(engine, tokenizer, cases, 1, seed, simulating) if cases else [], strict=True))
    found = []
    for (_, sources), (inputs, n_tokens, n_read) in zip(items, proposed, strict=True):
        table = [[said[source, given][0] if source is not None else None for given in inputs] for source in sources]
        columns = [_votes(column) for column in zip(*table, strict=True)]
        most = [votes.most_common(1)[0] if votes else (None, 0) for votes in columns]
        runs = {(source, given): said[source, given][0] for source in sources if source is not None for given in inputs}
        found.append(
            OwnTests(
                tuple(inputs), tuple(output for output, _ in most), tuple(count / len(sources) for _, count in most),
                tuple(_agreement(row, columns, len(sources)) for row in table),
                n_tokens + sum(p.n_tokens for p in runs.values()), n_read + sum(p.n_prompt for p in runs.values()),
            )
        )  # fmt: skip
    return found


def ranked_with(ranking: Ranking, own: OwnTests) -> tuple[float, ...]:
    """Scores by the public tests first; among candidates that these do not tell apart, by agreement on own ones."""
    return tuple(score + _LEAST * agreement for score, agreement in zip(ranking.scores, own.scores, strict=True))


def _votes(column: Sequence[Prediction | None]) -> Counter:
    return Counter(_key(said) for said in column if said is not None and said.output is not None)


def _key(said: Prediction) -> str:
    return " ".join(said.output.split())


def _agreement(row: Sequence[Prediction | None], columns: Sequence[Counter], n: int) -> float:
    agreeing = [
        votes[_key(said)] / n if said is not None and said.output is not None else 0.0
        for said, votes in zip(row, columns, strict=True)
    ]
    return sum(agreeing) / len(agreeing) if agreeing else 0.0
