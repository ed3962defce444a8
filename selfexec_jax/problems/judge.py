"""Judging a program: one jailed run a test, and the comparison here, outside of it.

The sandbox is told the program and a test's input. The expected output stays in this process.
"""

from __future__ import annotations

import ast
import concurrent.futures
import threading
from collections.abc import Sequence

from selfexec_jax.problems.compare import RULES, literals_match, outputs_match
from selfexec_jax.problems.types import Problem, Test, Verdict
from selfexec_jax.sandbox.types import Execution, Limits, Run

_WALL_S = 10.0  # at least, and five times the CPU limit: a busy machine must not fail a program
_STDOUT_BYTES = 1 << 20


def judge(
    source: str,
    problem: Problem,
    tests: Sequence[Test],
    pool,
    rule: str = "tokens",
    tuples_as_lists: bool = False,
) -> concurrent.futures.Future[Verdict]:
    """Run a program on each test and compare; a future of which tests it passed.

    rule: how stdout is compared, for problems of kind "stdio". tuples_as_lists: whether a tuple may stand
    for a list, for kind "call". Raises ValueError for a problem or test that cannot be judged. A verdict is
    `infra_error` as soon as one run is: it must not be rewarded or punished.
    """
    _check(problem, tests, rule)
    limits = Limits(
        cpu_s=problem.time_limit_s,
        wall_s=max(_WALL_S, 5 * problem.time_limit_s),
        memory_mb=problem.memory_limit_mb,
        stdout_bytes=max([_STDOUT_BYTES, *(4 * len(test.output) for test in tests)]),
    )
    runs: dict[str, concurrent.futures.Future[Execution]] = {}  # equal inputs share a run
    for test in tests:
        if test.input not in runs:
            runs[test.input] = pool.submit(_run(source, problem, test), limits)
    verdict: concurrent.futures.Future[Verdict] = concurrent.futures.Future()
    missing = len(runs)
    lock = threading.Lock()

    def on_run(_) -> None:
        nonlocal missing
        with lock:
            missing -= 1
            if missing:
                return
        try:
            executions = [runs[test.input].result() for test in tests]
            passed = tuple(
                _passed(problem, test, execution, rule, tuples_as_lists)
                for test, execution in zip(tests, executions, strict=True)
            )
            failed_to_run = any(execution.status == "infra_error" for execution in executions)
            status = "infra_error" if failed_to_run else "passed" if all(passed) else "failed"
            verdict.set_result(Verdict(status, passed, tuple(executions)))
        except Exception as error:  # noqa: BLE001  whoever waits for the verdict must hear of it
            verdict.set_exception(error)

    for run in runs.values():
        run.add_done_callback(on_run)
    return verdict


def _run(source: str, problem: Problem, test: Test) -> Run:
    if problem.kind == "call":
        return Run(source, call=f"{problem.entry_point}({test.input})")
    return Run(source, stdin=test.input)


def _passed(problem: Problem, test: Test, execution: Execution, rule: str, tuples_as_lists: bool) -> bool:
    if execution.status != "ok":
        return False
    if problem.kind == "call":
        return execution.value is not None and literals_match(test.output, execution.value, tuples_as_lists)
    return outputs_match(test.output, execution.stdout, rule)


def _check(problem: Problem, tests: Sequence[Test], rule: str) -> None:
    if problem.kind not in ("stdio", "call"):
        raise ValueError(f"problem {problem.id}: kind {problem.kind!r} is not stdio or call")
    if rule not in RULES:
        raise ValueError(f"rule: {rule!r} is not one of {', '.join(RULES)}")
    if not tests:
        raise ValueError(f"problem {problem.id}: no tests to judge by")
    if problem.kind == "call":
        if not (problem.entry_point or "").isidentifier():
            raise ValueError(f"problem {problem.id}: entry_point {problem.entry_point!r} is not a name")
        for i, test in enumerate(tests):
            try:
                ast.literal_eval(test.output.strip())
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                raise ValueError(
                    f"problem {problem.id}, test {i}: the output is not a Python literal"
                ) from None
