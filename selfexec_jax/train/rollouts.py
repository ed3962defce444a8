"""Rollouts: prompts answered in groups, one turn or several, and what the answers earned.

What a task asks, and what an answer is worth, is the business of an `Environment`; here samples are drawn, turns are
strung together, and outcomes are waited for as late as can be.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Protocol

import numpy as np

from selfexec_jax.rollout import Engine, Request, Sample
from selfexec_jax.train.losses import ADVANTAGES


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One question: its task, a name that is its own within the task, its tokens, and what its judge needs."""

    task: str
    name: str
    tokens: tuple[int, ...]
    subject: Any = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a rollout earned.

    `reward` is None where nothing can be said (the infrastructure failed, the answer is masked): no reward and no
    punishment. `first_wrong`: of the tokens of all turns that are learned from, the one with which what is told begins
    to be wrong, where somebody looked. `remarks`: what somebody who looks for reward hacking wants to know.
    """

    reward: float | None
    label: str
    is_right: bool = False
    first_wrong: int | None = None
    remarks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Turn:
    """A sample, whether it is learned from, and its log-probabilities under the policy that drew it (trainer's)."""

    sample: Sample
    is_learned: bool = True
    old: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Rollout:
    """One way in which a prompt was answered, turn by turn; every turn has a prompt of its own."""

    turns: tuple[Turn, ...]
    outcome: Outcome


@dataclasses.dataclass(frozen=True)
class Group:
    """A prompt with its rollouts and, after `with_advantages`, an advantage for each."""

    prompt: Prompt
    rollouts: list[Rollout]
    advantages: np.ndarray


@dataclasses.dataclass(frozen=True)
class End:
    """A rollout that was to go on ends after all."""

    outcome: Future[Outcome]


Next = list[tuple[int, ...]] | End  # prompts that are to be answered, or none


@dataclasses.dataclass(frozen=True)
class Ask:
    """A rollout goes on with an answer to each of the prompts that come. is_learned: whether these are learned from."""

    prompts: Future[Next]
    is_learned: bool = True


class Environment(Protocol):
    """What the loop trains on. Everything that it decides follows from the seed, the step and `state`."""

    def draw(self, step: int, n: int) -> list[Prompt]:
        """n prompts for a step, as the tasks' shares and the curriculum have it."""

    def react(self, prompt: Prompt, turns: list[Turn]) -> Ask | Future[Outcome]:
        """What comes after the last of these turns: more to answer, or the end of the rollout."""

    def learn(self, groups: list[Group]) -> None:
        """Takes note of what prompts turned out like, for later draws."""

    def validation(self) -> list[Prompt]:
        """Prompts that are never drawn, to choose the best checkpoint by."""

    def state(self) -> dict:
        """All that later draws depend on, as JSON."""

    def restore(self, state: dict) -> None:
        """Takes `state` back."""


@dataclasses.dataclass
class _Open:
    """A rollout under way: its turns so far, the answers that are being sampled, its end."""

    turns: list[Turn] = dataclasses.field(default_factory=list)
    answers: list[Sample | None] = dataclasses.field(default_factory=lambda: [None])
    is_learned: bool = True
    outcome: Future[Outcome] | None = None


@dataclasses.dataclass
class Drawn:
    """A batch whose turns are all sampled, while some outcomes may still be on their way."""

    prompts: list[Prompt]
    rollouts: list[list[_Open]]
    sampling_s: float

    @classmethod
    def of(cls, groups: list[Group]) -> Drawn:
        """A batch whose outcomes are known."""
        rows = []
        for group in groups:
            rows.append([_Open(list(rollout.turns), outcome=Future()) for rollout in group.rollouts])
            for one, rollout in zip(rows[-1], group.rollouts, strict=True):
                one.outcome.set_result(rollout.outcome)
        return cls([group.prompt for group in groups], rows, 0.0)

    def score(self, logprobs: Callable[[list[Turn]], list[np.ndarray]]) -> None:
        """Fills in `old` of every turn that is learned from."""
        open_ = [r for row in self.rollouts for r in row]
        places = [(r, k) for r in open_ for k, t in enumerate(r.turns) if t.is_learned and t.sample.tokens]
        found = logprobs([r.turns[k] for r, k in places])
        for (r, k), old in zip(places, found, strict=True):
            r.turns[k] = dataclasses.replace(r.turns[k], old=old)

    def collect(self) -> tuple[list[Group], float]:
        """The groups, in prompt order, and the seconds that their outcomes were waited for."""
        started = time.monotonic()
        groups = []
        for prompt, row in zip(self.prompts, self.rollouts, strict=True):
            done = [Rollout(tuple(r.turns), r.outcome.result()) for r in row]
            groups.append(Group(prompt, done, np.zeros(len(done), np.float32)))
        return groups, time.monotonic() - started


class CutShort(Exception):
    """A batch is not sampled to its end, because the run is to end."""


def sample_batch(
    engine: Engine, environment: Environment, prompts: list[Prompt], n: int, max_new_tokens: int, temperature: float,
    seed: tuple[int, ...], numbers: Sequence[int] | None = None, is_asked_to_end: Callable[[], bool] = lambda: False,
) -> Drawn:  # fmt: skip
    """n rollouts of each prompt. What is drawn depends on the seed and the parameters, never on what is ready first, up
    to the rounding of sums over caches of different lengths (README, "The rollout engine").

    numbers: the prompts' places in their batch, where these are some of it. Raises CutShort as soon as it is asked to.
    """
    numbers = range(len(prompts)) if numbers is None else numbers
    started = time.monotonic()
    rollouts = [[_Open() for _ in range(n)] for _ in prompts]
    going_on: dict[tuple[int, int], Ask] = {}  # rollouts whose next prompts are on their way
    # Of each request of the stream: prompt, rollout (None: as many as samples) and place among the rollout's answers.
    places: list[tuple[int, int | None, int]] = [(i, None, 0) for i in range(len(prompts))]

    def request(tokens: tuple[int, ...], many: int, *names: int) -> Request:
        drawn = np.random.default_rng((*seed, *names)).integers(1 << 48)
        return Request(tokens, many, max_new_tokens, temperature, seed=int(drawn))

    def take(i: int, j: int, place: int, sample: Sample) -> None:
        rollout = rollouts[i][j]
        rollout.answers[place] = sample
        if any(answer is None for answer in rollout.answers):
            return
        rollout.turns += [Turn(answer, rollout.is_learned) for answer in rollout.answers]
        reaction = environment.react(prompts[i], rollout.turns)
        if isinstance(reaction, Ask):
            going_on[i, j] = reaction
        else:
            rollout.outcome = reaction

    def next_requests() -> list[Request]:
        found = []
        for i, j in [key for key, ask in going_on.items() if ask.prompts.done()]:
            ask, rollout = going_on.pop((i, j)), rollouts[i][j]
            tokens = ask.prompts.result()
            if isinstance(tokens, End):
                rollout.outcome = tokens.outcome
                continue
            rollout.answers, rollout.is_learned = [None] * len(tokens), ask.is_learned
            for place, one in enumerate(tokens):
                found.append(request(one, 1, numbers[i], j, len(rollout.turns) + place))
                places.append((i, j, place))
        return found

    requests = [request(prompt.tokens, n, i) for i, prompt in zip(numbers, prompts, strict=True)]
    while requests or going_on:
        for number, sample in engine.stream(requests) if requests else ():
            if is_asked_to_end():
                raise CutShort
            i, j, place = places[number]
            take(i, sample.index if j is None else j, place, sample)
            for more in next_requests():
                engine.submit(more)
        places.clear()
        if going_on:  # nothing decodes any more: wait for what is to be asked next
            wait([ask.prompts for ask in going_on.values()], return_when=FIRST_COMPLETED)
        requests = next_requests()
    return Drawn(prompts, rollouts, time.monotonic() - started)


def with_advantages(groups: list[Group], kind: str, weights: dict[str, float]) -> list[Group]:
    """Fills in the advantages, task by task; a task's weight multiplies them after the baseline is taken off.

    A reward that is no number counts as none.
    """
    found: list[Group | None] = [None] * len(groups)
    for task in sorted({g.prompt.task for g in groups}):
        chosen = [i for i, g in enumerate(groups) if g.prompt.task == task]
        given = [[is_reward(r.outcome.reward) for r in groups[i].rollouts] for i in chosen]
        rewards = [[r.outcome.reward if ok else 0.0 for r, ok in zip(groups[i].rollouts, row, strict=True)]
                   for i, row in zip(chosen, given, strict=True)]  # fmt: skip
        advantages = ADVANTAGES[kind](np.array(rewards, np.float64), np.array(given, bool)) * weights[task]
        for i, row in zip(chosen, advantages.astype(np.float32), strict=True):
            found[i] = dataclasses.replace(groups[i], advantages=row)
    return found


def is_reward(reward: float | None) -> bool:
    return reward is not None and math.isfinite(reward)


def has_advantage(group: Group) -> bool:
    return bool(np.abs(group.advantages).max(initial=0.0) > 1e-8)
