"""What reinforcement learning asks: outputs to predict, problems to solve, Self-RLEF episodes, by their shares."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future

from selfexec_jax.hosts import ALONE, Hosts
from selfexec_jax.problems import Problem
from selfexec_jax.problems.compare import answers_match
from selfexec_jax.problems.splits import program_key
from selfexec_jax.self_execution.simulate import request_seed
from selfexec_jax.stages.problems import is_left_to_rl
from selfexec_jax.stages.rewards import Case, Episode, Rewards, has_room, standing
from selfexec_jax.tasks import predict, solve
from selfexec_jax.train.curriculum import Curriculum
from selfexec_jax.train.rollouts import Ask, Group, Outcome, Prompt, Turn

_RECYCLED = "recycled/"  # in front of the names of prompts that are no part of a pool


class ExecutionTasks:
    """The tasks of RL as the config shares them out; see `train.rollouts.Environment`.

    `programs`: rows of `stages.material`. Prompts that leave no room for an answer are left out.
    """

    def __init__(
        self, config, tokenizer, problems: list[Problem], programs: list[dict], rewards: Rewards, hosts: Hosts = ALONE
    ):
        self._config, self._tokenizer, self._rewards, self._hosts = config, tokenizer, rewards, hosts
        self._template = config.tasks.template
        self._problems = {p.id: p for p in problems}
        held_back = max(config.rl.validation_prompts // 2, 1) if config.rl.validate_every else 0
        first, rest = problems[:held_back], problems[held_back:]
        held = {p.id for p in first}
        known = {program_key(source) for p in first for source in p.solutions}
        kept = {p.id for p in rest if known.isdisjoint(map(program_key, p.solutions))}
        known |= {program_key(row["source"]) for row in programs if row["problem"] in held}
        apart = lambda p: p.task != "predict" or program_key(p.subject.source) not in known  # noqa: E731
        rates = _solve_rates(config, problems, programs)
        self._pools, self._held_back = {}, []
        for task, prompts in self._prompts(problems, programs).items():
            self._pools[task] = [p for p in prompts if _problem_of(p).id in kept and apart(p)]
            if task != "rlef":
                validating = [p for p in prompts if _problem_of(p).id in held]
                self._held_back += random.Random(config.seed).sample(validating, min(held_back, len(validating)))
        self._curriculum = Curriculum(config.rl.solve_rates, rates)
        self._recycled: list[list[str]] = []  # problem, source, input, output

    def react(self, prompt: Prompt, turns: list[Turn]) -> Ask | Future[Outcome]:
        return self._rewards.react(prompt, turns)

    @property
    def counts(self) -> dict[str, int]:
        return {task: len(prompts) for task, prompts in self._pools.items()} | {"validation": len(self._held_back)}

    def draw(self, step: int, n: int) -> list[Prompt]:
        """n prompts for a step, tasks by their shares, those of fitting solve rates first."""
        knobs, rng = self._config.rl, random.Random(f"{self._config.seed}/rl/{step}")
        tasks = [task for task in sorted(self._pools) if knobs.share[task] > 0 and self._pools[task]]
        if not tasks:
            raise ValueError("rl.share: there are no prompts of any task with a share; raise rl.problems")
        counts = {task: int(n * knobs.share[task]) for task in tasks}
        if rest := n - sum(counts.values()):
            left = [n * knobs.share[t] - counts[t] for t in tasks]
            for task in rng.choices(tasks, left if any(left) else [knobs.share[t] for t in tasks], k=rest):
                counts[task] += 1
        found = []
        for task in tasks:
            again = []
            if task == "predict" and self._recycled:
                again = rng.sample(self._recycled, min(round(counts[task] * knobs.recycled), len(self._recycled)))
            found += [self._recycled_prompt(*row) for row in again]
            found += self._curriculum.draw(self._pools[task], counts[task] - len(again), rng)
        kinds = (knobs.feedback, knobs.feedback_end)
        done = step / max(knobs.steps - 1, 1)
        return [
            dataclasses.replace(p, subject=Episode(p.subject.problem, kinds[rng.random() < done]))
            if p.task == "rlef" else p
            for p in found
        ]

    def validation(self) -> list[Prompt]:
        return self._held_back

    def learn(self, groups: list[Group]) -> None:
        """Measures solve rates; programs that failed are to be simulated, if the config recycles them."""
        self._curriculum.learn([g for g in groups if not g.prompt.name.startswith(_RECYCLED)])
        if not self._config.rl.recycled:
            return
        failed = [
            (self._problems[group.prompt.name], standing(rollout.turns, self._template))
            for group in groups
            if group.prompt.task != "predict"
            for rollout in group.rollouts
            if rollout.outcome.label == "failed"
        ]
        ask = lambda pairs: [self._rewards.outputs(source, problem) for problem, source in pairs]  # noqa: E731
        for (problem, source), outputs in zip(failed, self._hosts.divide("outputs", failed, ask), strict=True):
            self._recycle(problem, source, outputs)
        self._recycled = self._recycled[-self._config.rl.recycled_kept :]

    def _recycle(self, problem: Problem, source: str, outputs: Sequence[str | None]) -> None:
        for test, output in zip(problem.public_tests, outputs, strict=False):
            row = [problem.id, source, test.input, output]
            if output is None or row in self._recycled:
                continue
            if has_room(self._config, self._recycled_prompt(*row).tokens):
                self._recycled.append(row)

    def state(self) -> dict:
        return {"rates": self._curriculum.rates, "recycled": self._recycled,
                "verdicts": self._rewards.verdicts.next_generation()}  # fmt: skip

    def restore(self, state: dict) -> None:
        self._curriculum.rates, self._recycled = dict(state["rates"]), list(state["recycled"])
        self._rewards.verdicts.start(state["verdicts"])

    def _prompts(self, problems: list[Problem], programs: list[dict]) -> dict[str, list[Prompt]]:
        """By task. Output prediction holds what SFT did not narrate: long inputs and other forms."""
        config, found = self._config, {"predict": [], "solve": [], "rlef": []}
        for problem in problems:
            messages = solve.render(problem, self._template)
            found["solve"].append(self._prompt("solve", problem.id, messages, problem))
            found["rlef"].append(self._prompt("rlef", problem.id, messages, Episode(problem)))
        for i, row in enumerate(programs):
            problem, source = self._problems[row["problem"]], row["source"]
            if not config.rl.wrong_programs and not _passes_public(problem, row):
                continue
            cases = list(row["long"])
            if is_left_to_rl(config, source):
                cases += [(t.input, o) for t, o in zip(problem.public_tests, row["public"], strict=True)]
            for j, (given, output) in enumerate(cases):
                if output is not None:
                    found["predict"].append(self._predict(f"{i}/{j}", Case(problem, source, given, output)))
        return {task: [p for p in prompts if has_room(config, p.tokens)] for task, prompts in found.items()}

    def _predict(self, name: str, case: Case) -> Prompt:
        given = case.problem.given(case.input)
        messages = predict.render(case.source, given, self._template, case.problem.kind)
        return self._prompt("predict", name, messages, case)

    def _recycled_prompt(self, problem: str, source: str, given: str, output: str) -> Prompt:
        case = Case(self._problems[problem], source, given, output)
        return self._predict(f"{_RECYCLED}{request_seed(0, problem, source, given):012x}", case)

    def _prompt(self, task: str, name: str, messages: list[dict], subject) -> Prompt:
        return Prompt(task, name, tuple(self._tokenizer.encode_prompt(messages)), subject)


def _problem_of(prompt: Prompt) -> Problem:
    return prompt.subject if isinstance(prompt.subject, Problem) else prompt.subject.problem


def _passes_public(problem: Problem, row: dict) -> bool:
    tests = zip(problem.public_tests, row["public"], strict=True)
    return all(answers_match(problem.kind, test.output, output) for test, output in tests)


def _solve_rates(config, problems: list[Problem], programs: list[dict]) -> dict[str, float]:
    """A first measure: the share of the programs written before RL that pass the public tests."""
    by_id, passed = {p.id: p for p in problems}, Counter()
    for row in programs:
        if _passes_public(by_id[row["problem"]], row):
            passed[row["problem"]] += row["written"]
    rates = {p.id: passed[p.id] / config.rl.own_programs for p in problems} if config.rl.own_programs else {}
    return {f"{task}/{name}": rate for task in ("solve", "rlef") for name, rate in rates.items()}
