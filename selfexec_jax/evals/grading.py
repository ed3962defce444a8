"""Grading any model's answers to a benchmark: one label a sample, and the figures over problems."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import numpy as np

from selfexec_jax.evals.metrics import bootstrap_ci, majority_at_k, pass_at_k, rank_score_at_k
from selfexec_jax.problems import Problem, Test
from selfexec_jax.problems.answers import arguments_in, canonical, label_output, output_in, program_in
from selfexec_jax.problems.judge import judge
from selfexec_jax.problems.samples import Sample

_STATUS_LABELS = {"passed": "ok", "failed": "wrong"}  # of a verdict; the others keep their names


@dataclasses.dataclass(frozen=True)
class Graded:
    """One sample's label: ok, wrong, not_literal, no_answer, truncated, undecided or infra_error.

    index: which of the problem's samples it is. answer: the output that it predicts, where it predicts one.
    """

    problem: str
    index: int
    label: str
    answer: str | None = None
    n_tokens: int | None = None


def numbered(samples: Sequence[Sample]) -> list[tuple[int, Sample]]:
    """Each sample with its number among those of its problem."""
    counts: collections.Counter = collections.Counter()
    found = []
    for sample in samples:
        found.append((counts[sample.problem], sample))
        counts[sample.problem] += 1
    return found


def grade(
    asks: str, problems: Sequence[Problem], samples: Sequence[tuple[int, Sample]], pool, rule: str | None = None,
    in_process: bool = False,
) -> Iterator[Graded]:  # fmt: skip
    """Grades numbered samples, in order; programs run in the pool, predicted outputs are never run.

    asks: program, output or input, see `Benchmark`. rule, in_process: see `judge` and `label_output`. Raises
    ValueError for a problem that cannot be graded so.
    """
    by_id = {problem.id: problem for problem in problems}
    if asks == "output":
        bare = next((problem.id for problem in problems if not problem.private_tests), None)
        if bare is not None:
            raise ValueError(f"problem {bare}: no private test, whose output is what is asked for")
        for index, sample in samples:
            yield _graded_output(by_id[sample.problem], index, sample, rule)
        return
    pending: collections.deque[tuple[int, Sample, Future | None]] = collections.deque()
    for index, sample in samples:
        pending.append((index, sample, _verdict(asks, by_id[sample.problem], sample, pool, rule, in_process)))
        while pending and (len(pending) > _AHEAD or pending[0][2] is None or pending[0][2].done()):
            yield _graded_program(*pending.popleft())
    while pending:
        yield _graded_program(*pending.popleft())


_TOGETHER = ("humaneval", "mbpp")  # their own judges make all calls of a program in one process
_AHEAD = 512  # samples under way: enough for any number of workers, and bounded in memory


def _graded_output(problem: Problem, index: int, sample: Sample, rule: str | None) -> Graded:
    if _is_cut(sample):
        return Graded(sample.problem, index, "truncated", None, sample.n_tokens)
    answer = sample.text if problem.kind == "stdio" else output_in(sample.text)
    label = label_output(answer, problem.private_tests[0].output, problem.kind, rule)
    return Graded(sample.problem, index, label, answer and canonical(answer), sample.n_tokens)


def _is_cut(sample: Sample) -> bool:
    return sample.finish_reason == "length"


def _verdict(asks: str, problem: Problem, sample: Sample, pool, rule, in_process) -> Future | None:
    if _is_cut(sample):
        return None
    if asks == "program":
        tests, program = problem.public_tests + problem.private_tests, program_in(sample.text)
        return judge(program, problem, tests, pool, rule, in_process, together=problem.source in _TOGETHER)
    arguments = arguments_in(sample.text, problem.entry_point)
    if arguments is None:
        return None
    return judge(problem.solutions[0], problem, [Test(arguments, problem.private_tests[0].output)], pool, rule)


def _graded_program(index: int, sample: Sample, verdict: Future | None) -> Graded:
    unread = "truncated" if _is_cut(sample) else "not_literal"
    status = unread if verdict is None else verdict.result().status
    return Graded(sample.problem, index, _STATUS_LABELS.get(status, status), None, sample.n_tokens)


def figures(problems: Sequence[Problem], graded: Sequence[Graded], ks: Sequence[int], seed: int) -> dict:
    """Figures over all problems, answered or not: name -> {value, low, high, n}.

    pass@k for each k, majority@k of outputs, and short1@k where tokens are known. A problem with fewer samples than
    another has unanswered ones in their place, so that no sample that is missing makes a figure better. A sample
    that the sandbox could not run (infra_error) is wrong here, and counted apart in `labels`. Raises ValueError for a
    k beyond the number of samples.
    """
    by_problem: dict[str, list[Graded]] = {problem.id: [] for problem in problems}
    for one in graded:
        by_problem[one.problem].append(one)
    n = max((len(each) for each in by_problem.values()), default=0)
    if not n or not all(1 <= k <= n for k in ks):
        raise ValueError(f"k must lie between 1 and the number of samples a problem, which is {n}")
    rows = [[one.label == "ok" for one in each] + [False] * (n - len(each)) for each in by_problem.values()]
    values = {f"pass_at_{k}": [pass_at_k(n, sum(row), k) for row in rows] for k in ks}
    has_outputs = any(one.answer is not None for one in graded)
    knows_tokens = all(one.n_tokens is not None for one in graded)
    for k in ks:
        if k > 1 and has_outputs:
            answers = [[one.answer for one in each] + [None] * (n - len(each)) for each in by_problem.values()]
            values[f"majority_at_{k}"] = [majority_at_k(a, row, k, seed) for a, row in zip(answers, rows, strict=True)]
        if k > 1 and knows_tokens:
            lengths = [[-one.n_tokens for one in each] + [-np.inf] * (n - len(each)) for each in by_problem.values()]
            values[f"short1_at_{k}"] = [rank_score_at_k(a, row, k) for a, row in zip(lengths, rows, strict=True)]
    found = {}
    for name, each in values.items():
        value, low, high = bootstrap_ci(each, seed)
        found[name] = {"value": value, "low": low, "high": high, "n": len(each)}
    return found


def labels(problems: Sequence[Problem], graded: Sequence[Graded]) -> dict[str, int]:
    """How many samples have each label; those that a problem lacks beside the others have no_answer."""
    counts = collections.Counter(one.label for one in graded)
    per_problem = collections.Counter(one.problem for one in graded)
    most = max(per_problem.values(), default=0)
    missing = sum(most - per_problem[problem.id] for problem in problems)
    if missing:
        counts["no_answer"] += missing
    return dict(counts.most_common())
