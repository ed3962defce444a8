"""What answers earn: outputs are compared, programs are judged in the sandbox, and an episode goes on with feedback."""

from __future__ import annotations

import bisect
import dataclasses
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from selfexec_jax.problems import Problem
from selfexec_jax.rollout import Sample
from selfexec_jax.sandbox import Execution, Run, SandboxPool
from selfexec_jax.self_execution.fix import random_feedback
from selfexec_jax.stages.outcomes import told_of
from selfexec_jax.stages.telling import told, traced, words_of
from selfexec_jax.stages.verdicts import Seen, Verdicts, then, together
from selfexec_jax.tasks import fix, predict, solve
from selfexec_jax.tasks.fix import Feedback, Submit
from selfexec_jax.traces import TOO_LONG, claims_held, right_lines
from selfexec_jax.train.rollouts import Ask, End, Next, Outcome, Prompt, Turn

_RIGHT, _UNREADABLE, _UNKNOWN = ("ok", "passed"), ("no_answer", "not_literal"), ("undecided", "infra_error")
_RUN_OF_TOKENS = 8  # what counts as said before


@dataclasses.dataclass(frozen=True)
class Case:
    """An output to predict: of a program for a problem, on one of its inputs."""

    problem: Problem
    source: str
    input: str
    output: str


@dataclasses.dataclass(frozen=True)
class Episode:
    """A problem to solve in turns, and the kind of feedback between them."""

    problem: Problem
    feedback: str = "real"


class Rewards:
    """The end of every rollout, or how it goes on.

    A prompt's subject is a Case for `predict`, a Problem for `solve`, and an Episode for `rlef`.
    Episodes are rewarded by the last program's verdict on all tests, and see the public ones alone.
    """

    def __init__(self, config, tokenizer, problems: Sequence[Problem], pool: SandboxPool, verdicts: Verdicts):
        self._config, self._tokenizer, self._pool, self.verdicts = config, tokenizer, pool, verdicts
        self._template = config.tasks.template
        self._random_feedback = random_feedback(config.seed, problems)
        self._words = words_of(config)
        self._recorded: dict[Run, Future[Execution]] = {}
        self._lock = threading.Lock()

    def react(self, prompt: Prompt, turns: list[Turn]) -> Ask | Future[Outcome]:
        """See `train.rollouts.Environment`."""
        last = turns[-1]
        if last.is_learned:
            ended = self._without_answer(prompt.task, last.sample)
            if ended is not None:
                return _done(ended)
        if prompt.task == "predict":
            return self._go_on(prompt.subject, turns) or self._predicted(prompt.subject, turns)
        if prompt.task == "solve":
            return self._judged(prompt.subject, standing(turns, self._template))
        problem, kind = prompt.subject.problem, prompt.subject.feedback
        source = standing(turns, self._template)
        if not last.is_learned:  # it was simulated on every public test
            samples = [turn.sample for turn in turns[-len(problem.public_tests) :]]
            outputs = [predict.extract(s.text, problem.kind) if s.finish_reason == "stop" else None for s in samples]
            said = [self._words(predict.narration_of(s.text), t.output, source) if self._words else ""
                    for s, t in zip(samples, problem.public_tests, strict=True)]  # fmt: skip
            return Ask(_done(self._fix_or_end(problem, source, outputs, said)))
        is_over = sum(turn.is_learned for turn in turns) > self._config.rl.fixes or submits(turns, self._template)
        if source is None or is_over or not problem.public_tests:  # without any there is nothing to be told
            return self._judged(problem, source)
        if kind == "simulated":
            asked = [predict.render(source, problem.given(test.input), self._template, problem.kind)
                     for test in problem.public_tests]  # fmt: skip
            return Ask(_done([self._encoded(messages) for messages in asked]), is_learned=False)
        if kind == "random":
            (told,) = self._random_feedback([(problem, source)])
            return Ask(_done(self._fix_or_end(problem, source, [f.output for f in told.feedback])))
        return Ask(then(self.verdicts.public(source, problem), lambda seen: self._told(problem, source, seen)))

    def outputs(self, source: str, problem: Problem) -> tuple[str | None, ...]:
        """What a program gives on the public tests."""
        return self.verdicts.public(source, problem).result().outputs

    def _told(self, problem: Problem, source: str, seen: Seen) -> Next | Future[Next]:
        if seen.status == "infra_error":
            return End(_done(self._outcome(seen.status)))
        if self._words is None or seen.status == "passed":
            return self._fix_or_end(problem, source, seen.outputs)

        def go_on(said: dict | None) -> Next:
            if said is None:
                return End(_done(self._outcome("infra_error")))
            return self._fix_or_end(problem, source, seen.outputs, said["words"])

        def ask() -> Future[dict | None]:
            runs = together(self._traced(problem, source))
            return then(runs, lambda done: self._said(problem, source, seen, done))

        return then(self.verdicts.remembered(("words", problem.id, source), ask), go_on)

    def _traced(self, problem: Problem, source: str) -> list[Future[Execution]]:
        return [self._pool.submit(traced(self._config, source, problem, t.input)) for t in problem.public_tests]

    def _said(self, problem: Problem, source: str, seen: Seen, done: Sequence[Execution]) -> dict | None:
        if any(execution.status == "infra_error" for execution in done):
            return None
        runs = zip(done, seen.outputs, problem.public_tests, strict=True)
        return {"words": [told(self._config, self._words, run, output, t.output, source) for run, output, t in runs]}

    def _fix_or_end(
        self, problem: Problem, source: str, outputs: Sequence[str | None], said: Sequence[str] | None = None
    ) -> Next:
        """The prompt of the next turn, with words on failed tests; the verdict where there is no room for it."""
        feedback = [Feedback(t, o, problem.kind) for t, o in zip(problem.public_tests, outputs, strict=True)]
        if said is not None:
            feedback = [f.with_words(words) for f, words in zip(feedback, said, strict=True)]
        tokens = self._encoded(fix.render(problem, source, feedback, self._template))
        return [tokens] if has_room(self._config, tokens) else End(self._judged(problem, source))

    def _encoded(self, messages: list[dict]) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode_prompt(messages))

    def _judged(self, problem: Problem, source: str | None) -> Future[Outcome]:
        if source is None:
            return _done(self._outcome("no_answer"))

        def earned(seen: Seen) -> Outcome:
            remarks = ["denied"] if seen.is_denied else []
            if seen.status == "failed" and seen.is_private and problem.public_tests:
                remarks.append("passes_public_only")
            return self._outcome(seen.status, remarks=tuple(remarks))

        return then(self.verdicts.final(source, problem), earned)

    def _go_on(self, case: Case, turns: list[Turn]) -> Ask | None:
        """The next piece of a simulation that is told in pieces; None at its end, or without room for more."""
        tasks, last = self._config.tasks, turns[-1].sample
        state = predict.carried(last.text) if last.finish_reason == "stop" else ""
        if not state or not tasks.chunk_chars or len(turns) >= tasks.max_chunks:
            return None
        tokens = self._encoded(predict.render(case.source, "", self._template, case.problem.kind, state))
        return Ask(_done([tokens])) if has_room(self._config, tokens) else None

    def _predicted(self, case: Case, turns: list[Turn]) -> Future[Outcome]:
        sample = turns[-1].sample
        label = predict.grade(sample.text, case.output, case.problem.kind, sample.finish_reason).label
        style, knobs = self._config.tasks.style, self._config.rl
        is_blamed = knobs.credit == "first_wrong" and label == "wrong"
        if style == "direct" or not (is_blamed or knobs.claims_share):
            return _done(self._outcome(label))

        def checked(done: Execution) -> dict | None:
            if done.status == "infra_error":
                self._recorded.pop(run, None)
                return None
            if done.trace is None:
                return {"first": 0, "held": 0.0}
            pieces = [predict.narration_of(turn.sample.text) for turn in turns]
            trace = told_of(self._config, done.trace, case.output)
            if trace.stop not in (None, TOO_LONG):  # what comes after its budget may be told, and be true
                return {}
            said = "\n".join(pieces)
            first = self._first_wrong(turns, pieces, right_lines(said, trace, style))
            return {"first": first, "held": claims_held(said, trace, style)}

        def earned(seen: dict | None) -> Outcome:
            if seen is None:
                return self._outcome("infra_error")
            if not seen:
                return self._outcome(label)
            return self._outcome(label, seen["first"], held=seen["held"] if knobs.claims_share else None)

        run = traced(self._config, case.source, case.problem, case.input)
        names = ("claims", case.problem.id, case.source, case.input, *(turn.sample.text for turn in turns))
        return then(self.verdicts.remembered(names, lambda: then(self._once(run), checked)), earned)

    def _once(self, run: Run) -> Future[Execution]:
        """A traced run, which all of a group's simulations are compared with."""
        with self._lock:
            if run not in self._recorded:
                self._recorded[run] = self._pool.submit(run)
                if len(self._recorded) > 2 * self._config.rl.prompts:  # those of a batch, and of one that is ahead
                    self._recorded.pop(next(iter(self._recorded)))
            return self._recorded[run]

    def _first_wrong(self, turns: Sequence[Turn], pieces: Sequence[str], n_right: int) -> int:
        """The token, of all turns', with which the first line begins that does not hold."""
        before = 0
        for turn, said in zip(turns, pieces, strict=True):
            lines = said.split("\n")
            if n_right < len(lines) or turn is turns[-1]:
                break
            n_right, before = n_right - len(lines), before + len(turn.sample.tokens)
        at, decode, tokens = len("\n".join(lines[:n_right])), self._tokenizer.decode, turn.sample.tokens
        return before + bisect.bisect_left(range(len(tokens)), True, key=lambda n: len(decode(tokens[: n + 1])) > at)

    def _without_answer(self, task: str, sample: Sample) -> Outcome | None:
        knobs = self._config.rl
        if sample.finish_reason == "too_long":  # the prompt's fault
            return Outcome(None, "too_long")
        if sample.finish_reason == "length" and knobs.overlong == "mask":
            return Outcome(None, "truncated")
        if sample.finish_reason == "length":  # what a simulation told before may count
            return None if task == "predict" else self._outcome("truncated")
        if is_gibberish(sample, knobs.gibberish_repeats, knobs.gibberish_nats):
            return Outcome(None, "gibberish")
        return None

    def _outcome(
        self, label: str, first_wrong: int | None = None, remarks: tuple[str, ...] = (), held: float | None = None
    ) -> Outcome:
        """held: the share of the run that was told right, where that counts beside what came of it."""
        knobs, is_right = self._config.rl, label in _RIGHT
        if label in _UNKNOWN:
            return Outcome(None, label, remarks=remarks)
        wrong = knobs.reward_unreadable if label in _UNREADABLE else knobs.reward_wrong
        reward = knobs.reward_right if is_right else wrong
        if held is not None:  # less than half, so that no wrong output earns as much as a right one
            told = knobs.reward_wrong + held * (knobs.reward_right - knobs.reward_wrong)
            reward = (1 - knobs.claims_share) * reward + knobs.claims_share * told
        return Outcome(reward, label, is_right, first_wrong, remarks)


def has_room(config, tokens: Sequence[int]) -> bool:
    """Whether a prompt leaves room for an answer, in the engine's cache and in a row of the update."""
    room = min(config.rl.row_tokens, config.rollout.cache_length)
    return len(tokens) + config.rl.max_new_tokens <= room


def standing(turns: Sequence[Turn], template: str) -> str | None:
    """The program that stands after these turns; None where the last answer is none."""
    program = None
    for i, turn in enumerate(turn for turn in turns if turn.is_learned):
        answer = fix.parse(turn.sample.text, template) if i else solve.extract(turn.sample.text, template)
        program = program if isinstance(answer, Submit) else answer
    return program


def submits(turns: Sequence[Turn], template: str) -> bool:
    """Whether the last answer leaves the program as it is."""
    learned = [turn for turn in turns if turn.is_learned]
    return len(learned) > 1 and isinstance(fix.parse(learned[-1].sample.text, template), Submit)


def is_gibberish(sample: Sample, most_repeats: float, most_nats: float) -> bool:
    """Whether an answer repeats itself or surprises its own author too much; short ones are never called so."""
    n = len(sample.tokens)
    if n < 4 * _RUN_OF_TOKENS:
        return False
    return repeats(sample.tokens) > most_repeats or -sum(sample.logprobs) / n > most_nats


def repeats(tokens: Sequence[int]) -> float:
    """The share of the runs of 8 tokens that were there before."""
    runs = [tuple(tokens[i : i + _RUN_OF_TOKENS]) for i in range(len(tokens) - _RUN_OF_TOKENS + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _done(value) -> Future:
    future: Future = Future()
    future.set_result(value)
    return future
