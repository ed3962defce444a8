"""Simulated runs: the model says what a program would do, batched over a whole evaluation."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from selfexec_jax.problems.types import Problem, Test
from selfexec_jax.rollout import Engine, Request, Sample
from selfexec_jax.tasks import predict


@dataclasses.dataclass(frozen=True)
class Asking:
    """How the model is asked: the template and how answers are sampled."""

    template: str = "paper"
    temperature: float = 1.0
    top_p: float = 0.95
    max_new_tokens: int = 256
    max_chunks: int = 1  # pieces that one simulation may have
    chunk_votes: int = 1  # answers a piece, of which the simulation goes on with what most say


class Invocation(NamedTuple):
    """What is simulated: a program, and the text of stdin or, of kind "call", the call that it is given."""

    source: str
    given: str
    kind: str = "stdio"

    @classmethod
    def of(cls, source: str, problem: Problem, test: Test) -> Invocation:
        return cls(source, problem.given(test.input), problem.kind)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One simulated run: the predicted output (None when the answer claims none), the whole answer, and the tokens of
    all answers that were drawn for it.

    `n_prompt`: tokens that were read for it; several votes on one case read their first prompt, of `n_first`, once,
    which counts for the first. `logprob`: of the answer, in nats.
    """

    output: str | None
    text: str
    finish_reason: str
    n_tokens: int
    n_prompt: int
    logprob: float = 0.0
    n_first: int = 0


def request_seed(seed: int, *names: str) -> int:
    """A seed for one request out of the run's seed and what the request is about, whatever its place in a batch."""
    digest = hashlib.blake2b("\0".join([str(seed), *names]).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")


def simulate(
    engine: Engine, tokenizer, cases: Sequence[Invocation], votes: int, seed: int, asking: Asking
) -> list[list[Prediction]]:
    """`votes` simulated runs of each case, in order; equal cases are simulated once.

    A run that is told in pieces goes on from the state that an answer ends with; of several answers to a piece, from
    the state, or with the output, that most of them end with. An answer that was cut off predicts nothing, nor does one
    to a program too long for the engine ("too_long").
    """
    each = asking.chunk_votes  # answers to a piece, of one vote

    def request(case: Invocation, names: Sequence[str], n: int, state: str = "") -> Request:
        prompt = predict.render(case.source, case.given, asking.template, case.kind, state)
        return Request(
            tuple(tokenizer.encode_prompt(prompt)), n, asking.max_new_tokens, asking.temperature, asking.top_p,
            seed=request_seed(seed, "simulate", case.source, case.given, *names),
        )  # fmt: skip

    distinct = list(dict.fromkeys(cases))
    answers = engine.generate([request(case, (), votes * each) for case in distinct])
    runs = {(case, vote): [_Piece.of(row[vote * each : (vote + 1) * each], case.kind)]
            for case, row in zip(distinct, answers, strict=True) for vote in range(votes)}  # fmt: skip
    for n in range(1, asking.max_chunks):
        going = {key: run[-1].state for key, run in runs.items() if len(run) == n and run[-1].state}
        if not going:
            break
        requests = [request(case, (f"{vote}", f"{n}"), each, state) for (case, vote), state in going.items()]
        for key, row in zip(going, engine.generate(requests), strict=True):
            runs[key].append(_Piece.of(row, key[0].kind))
    found = {case: [_predicted(runs[case, vote], vote) for vote in range(votes)] for case in distinct}
    return [found[case] for case in cases]


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Answers to one piece of a run, and the one that is taken, with the state or the output that it ends with."""

    drawn: Sequence[Sample]
    taken: Sample
    state: str
    output: str | None

    @classmethod
    def of(cls, drawn: Sequence[Sample], kind: str) -> _Piece:
        ends = [(predict.carried(s.text), predict.extract(s.text, kind)) if s.finish_reason == "stop" else ("", None)
                for s in drawn]  # fmt: skip
        said = [end for end in ends if end != ("", None)] or ends
        end = collections.Counter(said).most_common(1)[0][0]
        return cls(drawn, drawn[ends.index(end)], *end)


def _predicted(run: Sequence[_Piece], vote: int) -> Prediction:
    """What the answers of one simulation say together; the lines that carry the state between them are left out."""
    taken, last = [piece.taken for piece in run], run[-1].taken
    text = "\n".join([*(predict.narration_of(s.text.rstrip()) for s in taken[:-1]), last.text])
    read = sum(len(s.prompt_tokens) for s in taken[bool(vote) :])
    logprob = sum(sum(s.logprobs) for s in taken)
    spent = sum(len(s.tokens) for piece in run for s in piece.drawn)
    return Prediction(run[-1].output, text, last.finish_reason, spent, read, logprob, len(taken[0].prompt_tokens))
