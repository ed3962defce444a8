"""Self-RLEF: submit or repair, turn by turn, on simulated (or, for a trainer, real) feedback."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Sequence

from selfexec_jax.problems.types import Problem, Test
from selfexec_jax.rollout import Request, Sample
from selfexec_jax.self_execution.simulate import Asking, Invocation, Prediction, request_seed, simulate
from selfexec_jax.tasks import Messages, predict
from selfexec_jax.tasks import fix as task
from selfexec_jax.tasks.fix import Feedback, Submit


@dataclasses.dataclass(frozen=True)
class Told:
    """Feedback on the public tests, and the tokens that were generated and read for it."""

    feedback: list[Feedback]
    n_tokens: int = 0
    n_prefilled: int = 0


Words = Callable[[str, str, str], str]  # of a narration, the wanted output and the program: how the output came about
# Of a problem, a program and its simulated runs by public test: of which tests it is believed that the program fails.
Believed = Callable[[Problem, str, Sequence[Sequence[Prediction]]], Sequence[bool]]
FeedbackSource = Callable[[Sequence[tuple[Problem, str]]], list[Told]]  # of (problem, source) pairs


@dataclasses.dataclass(frozen=True)
class Turn:
    """One fix turn: what was asked, the answer, and the program that stands after it."""

    messages: Messages
    sample: Sample
    feedback: tuple[Feedback, ...]
    source: str | None
    is_submit: bool


@dataclasses.dataclass(frozen=True)
class Episode:
    """From a first program to the submitted one. `n_tokens` were generated and `n_prefilled` read in every turn and
    simulation after the first."""

    first: str | None
    submitted: str | None
    turns: tuple[Turn, ...]
    n_tokens: int
    n_prefilled: int


def simulated_feedback(
    engine, tokenizer, seed: int, asking: Asking, votes: int = 1, words: Words | None = None,
    believed: Believed | None = None,
) -> FeedbackSource:  # fmt: skip
    """Feedback by the model itself; of several votes the commonest output counts, the earliest among equals. `words`
    are told of what disagrees; a failure that is not believed, by `believed`, is told as a pass."""

    def ask(pairs: Sequence[tuple[Problem, str]]) -> list[Told]:
        cases = [Invocation.of(source, problem, test) for problem, source in pairs for test in problem.public_tests]
        found = dict(zip(cases, simulate(engine, tokenizer, cases, votes, seed, asking), strict=True))
        answers = []
        for problem, source in pairs:
            cells = [found[Invocation.of(source, problem, test)] for test in problem.public_tests]
            fails = believed(problem, source, cells) if believed else [True] * len(cells)
            feedback = [
                _feedback(problem, source, test, cell, words) if may_fail else Feedback(test, test.output, problem.kind)
                for test, cell, may_fail in zip(problem.public_tests, cells, fails, strict=True)
            ]
            said = [p for cell in cells for p in cell]
            answers.append(Told(feedback, sum(p.n_tokens for p in said), sum(p.n_prompt for p in said)))
        return answers

    return ask


def random_feedback(seed: int, problems: Sequence[Problem]) -> FeedbackSource:
    """Feedback that knows nothing of the program, a control: each test is passed or failed by the toss of a coin, and
    a failing output is one that some other test expects. Source: Gehring et al. 2024, "RLEF", its random feedback."""
    outputs = sorted({test.output for p in problems for test in p.public_tests})

    def ask(pairs: Sequence[tuple[Problem, str]]) -> list[Told]:
        answers = []
        for problem, source in pairs:
            rng = random.Random(request_seed(seed, "random feedback", problem.id, source))
            given = [t.output if rng.random() < 0.5 else rng.choice(outputs) for t in problem.public_tests]
            tests = zip(problem.public_tests, given, strict=True)
            answers.append(Told([Feedback(test, output, problem.kind) for test, output in tests]))
        return answers

    return ask


def _feedback(
    problem: Problem, source: str, test: Test, cell: Sequence[Prediction], words: Words | None
) -> Feedback:
    outputs = [p.output for p in cell]
    said = cell[outputs.index(max(outputs, key=outputs.count))]
    feedback = Feedback(test, said.output, problem.kind)
    return feedback.with_words(words(predict.narration_of(said.text), test.output, source)) if words else feedback


def fix(
    engine,
    tokenizer,
    items: Sequence[tuple[Problem, str | None]],
    feedback: FeedbackSource,
    max_fixes: int,
    seed: int,
    asking: Asking,
) -> list[Episode]:
    """Episodes from each item's first program, all in step; every turn is an independent prompt.

    A problem may stand in several items, whose episodes are drawn apart.

    An answer that is neither a program nor #SUBMIT, or a prompt too long for the engine, leaves the
    standing program and ends the episode.
    """
    standing = [source for _, source in items]
    turns: list[list[Turn]] = [[] for _ in items]
    generated, prefilled = [0] * len(items), [0] * len(items)
    live = [i for i, source in enumerate(standing) if source is not None]
    places, seen = [], Counter()  # of each item among those of its problem
    for problem, _ in items:
        places.append([str(seen[problem.id])] if seen[problem.id] else [])
        seen[problem.id] += 1
    for turn in range(max_fixes):
        if not live:
            break
        told = feedback([(items[i][0], standing[i]) for i in live])
        prompts = [
            task.render(items[i][0], standing[i], given_back.feedback, asking.template)
            for i, given_back in zip(live, told, strict=True)
        ]
        requests = [
            Request(
                prompt_tokens=tuple(tokenizer.encode_prompt(prompt)),
                max_new_tokens=asking.max_new_tokens,
                temperature=asking.temperature,
                top_p=asking.top_p,
                seed=request_seed(seed, "fix", items[i][0].id, str(turn), *places[i]),
            )
            for i, prompt in zip(live, prompts, strict=True)
        ]
        still = []
        for i, prompt, given_back, (sample,) in zip(live, prompts, told, engine.generate(requests), strict=True):
            generated[i] += given_back.n_tokens + len(sample.tokens)
            prefilled[i] += given_back.n_prefilled
            if sample.finish_reason == "too_long":
                continue
            answer = task.parse(sample.text, asking.template) if sample.finish_reason == "stop" else None
            is_submit = isinstance(answer, Submit)
            if isinstance(answer, str):
                standing[i] = answer
                still.append(i)
            prefilled[i] += len(sample.prompt_tokens)
            turns[i].append(Turn(prompt, sample, tuple(given_back.feedback), standing[i], is_submit))
        live = still
    return [
        Episode(first, submitted, tuple(t), *cost)
        for (_, first), submitted, t, *cost in zip(items, standing, turns, generated, prefilled, strict=True)
    ]
