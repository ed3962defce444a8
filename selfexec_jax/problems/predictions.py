"""The paper's output-prediction set: programs that models wrote, each with every public test of its problem."""

from __future__ import annotations

import ast
import collections
from collections.abc import Iterable, Iterator

from selfexec_jax.problems import syntax
from selfexec_jax.problems.judge import judge, rule_of
from selfexec_jax.problems.samples import Sample
from selfexec_jax.problems.types import Problem


def prediction_set(
    problems: Iterable[Problem], samples: Iterable[Sample], pool, right: int = 4, wrong: int = 0
) -> tuple[list[dict], dict[str, int]]:
    """One row a kept program and public test: problem, model, source, stdin or call, output, is_right.

    Of each problem and model the first `right` right programs are kept (paper: 4), of those that were not written
    before by any model, and the first `wrong` wrong ones (paper: 0). A program that does not end well on a test has
    no output to predict. Also the number of samples by what became of them. Raises ValueError for a sample of no
    problem, or of one with Python tests.
    """
    by_id = {problem.id: problem for problem in problems}
    counts: collections.Counter = collections.Counter()
    pending = []
    for sample in _distinct(samples, counts):
        if sample.problem not in by_id:
            raise ValueError(f"a sample of {sample.model}: there is no problem {sample.problem!r}")
        problem = by_id[sample.problem]
        if problem.kind == "check":
            raise ValueError(f"problem {problem.id}: what Python tests ask a program is no output to be predicted")
        tests = problem.public_tests + problem.private_tests
        rule = "literal" if rule_of(problem) == "equal" else None  # an output to predict is a literal
        pending.append((sample, problem, judge(sample.text, problem, tests, pool, rule)))
    rows: list[dict] = []
    kept: collections.Counter = collections.Counter()
    for sample, problem, future in pending:
        verdict = future.result()
        is_right = verdict.status == "passed"
        if verdict.status not in ("passed", "failed"):
            counts[verdict.status] += 1
            continue
        place = (sample.problem, sample.model, is_right)
        if kept[place] >= (right if is_right else wrong):
            counts["right, beyond those kept" if is_right else "wrong"] += 1
            continue
        kept[place] += 1
        counts["kept"] += 1
        rows += _rows(sample, problem, verdict, is_right)
    return rows, dict(counts)


def _distinct(samples: Iterable[Sample], counts: collections.Counter) -> Iterator[Sample]:
    """Samples whose program, comments and layout apart, was not there before for its problem."""
    seen = set()
    for sample in samples:
        try:
            program = ast.dump(syntax.parse(sample.text))
        except syntax.UNREADABLE:
            counts["no program"] += 1
            continue
        if (sample.problem, program) in seen:
            counts["duplicate"] += 1
            continue
        seen.add((sample.problem, program))
        yield sample


def _rows(sample: Sample, problem: Problem, verdict, is_right: bool) -> Iterator[dict]:
    tests = problem.public_tests + problem.private_tests
    for test, execution in list(zip(tests, verdict.executions, strict=True))[: len(problem.public_tests)]:
        if execution.status != "ok":
            continue
        is_call = problem.kind == "call"
        yield {
            "problem": problem.id, "model": sample.model, "source": sample.text,
            "stdin": None if is_call else test.input,
            "call": f"{problem.entry_point}({test.input})" if is_call else None,
            "output": execution.value if is_call else execution.stdout, "is_right": is_right,
        }  # fmt: skip
