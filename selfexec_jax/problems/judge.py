"""Judging a program: one jailed run a test, and the comparison outside of it.

A program is told its test's input. The expected outputs go no further than the broker, which compares.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from selfexec_jax.problems import syntax
from selfexec_jax.problems.compare import is_literal, literals_match, outputs_match
from selfexec_jax.problems.dialogue import Dialogue, together
from selfexec_jax.problems.endings import ending
from selfexec_jax.problems.types import SEVERAL_ANSWERS, Problem, Test, Verdict
from selfexec_jax.sandbox.types import Execution, Limits, Run, TraceBudget

_WALL_S = 10.0  # at least, and five times the CPU limit: a busy machine must not fail a program
_STDOUT_BYTES = 1 << 20
_is_literal = functools.lru_cache(maxsize=4096)(is_literal)  # the same tests judge many programs
_ENTRY_POINT = re.compile(r"(?:[^\W\d]\w*\(\)\.)?[^\W\d]\w*")  # of a class too, as in `Solution().f`
# What a source's own judge puts before every program, so that its annotations and favourite functions are there.
_PREAMBLES = {
    "livecodebench": "".join(
        f"from {name} import *\n"
        for name in "string re datetime collections heapq bisect copy math random statistics itertools functools "
        "operator io sys json builtins typing".split()
    )
    + "import string, re, datetime, collections, heapq, bisect, copy, math, random, statistics, itertools, functools\n"
    "import operator, io, sys, json\n"
}
# How answers are compared, by where the problem comes from and by kind.
_RULES = {
    ("codecontests", "stdio"): "tokens",
    ("livecodebench", "stdio"): "lines",
    ("livecodebench", "call"): "as_json",
    ("humaneval", "call"): "equal",
    ("mbpp", "call"): "equal",
}
_RULES_OF_KIND = {"stdio": ("tokens", "lines", "exact"), "call": ("literal", "as_json", "equal"), "check": ("assert",)}


def rule_of(problem: Problem) -> str:
    """How the answers to a problem are compared: its source's rule, else the usual one for its kind."""
    return _RULES.get((problem.source, problem.kind)) or _RULES_OF_KIND[problem.kind][0]


def judge(
    source: str, problem: Problem, tests: Sequence[Test], pool, rule: str | None = None, in_process: bool = False,
    together: bool = False,
) -> Future[Verdict]:  # fmt: skip
    """Run a program on each test and compare; a future of which tests it passed.

    rule: how answers are compared, by default as the problem's source has it; for stdio see `outputs_match`,
    for calls `literals_match`. in_process: whether a test that exchanges more than literals with the program
    may share its process, which the verdict then says; else it stays undecided. together: whether all calls are made
    in one process, under one limit, until one does not return, as HumanEval and MBPP have it; each test by itself
    otherwise. Raises
    ValueError for a problem or test that cannot be judged. A verdict is `infra_error` as soon as one run is:
    it must not be rewarded or punished.
    """
    _check(problem, tests, rule)
    limits = limits_of(problem, tests)
    if problem.kind == "check":
        return _Checks(source, tests, limits, pool, in_process).verdict
    inputs = list(dict.fromkeys(test.input for test in tests))  # equal inputs share a run
    places = {text: i for i, text in enumerate(inputs)}
    expected = [(places[test.input], test.output) for test in tests]
    rule = rule or rule_of(problem)
    may_be_right = _equal_to_a_literal if rule == "equal" else None
    if SEVERAL_ANSWERS in problem.tags:
        may_be_right = _other_answer
    runs = [run_on(source, problem, text) for text in inputs]
    together = together and problem.kind == "call"
    if together:
        runs = [dataclasses.replace(runs[0], more_calls=tuple(run.call for run in runs[1:]))]
    verdict = pool.request(
        runs,
        limits,
        finding=("selfexec_jax.problems.judge:compare", (problem.kind, expected, rule, together)),
        make=functools.partial(_verdict, expected, may_be_right),
    )
    if may_be_right is not _equal_to_a_literal:
        return verdict
    checks = [Test(f"assert {problem.entry_point}({test.input}) == {test.output.strip()}", "") for test in tests]
    return _unless_undecided(verdict, lambda: _Checks(source, checks, limits, pool, in_process).verdict)


def limits_of(problem: Problem, tests: Sequence[Test]) -> Limits:
    """What a program may use on each of the tests."""
    return Limits(
        cpu_s=problem.time_limit_s,
        wall_s=max(_WALL_S, 5 * problem.time_limit_s),
        memory_mb=problem.memory_limit_mb,
        stdout_bytes=max([_STDOUT_BYTES, *(4 * len(test.output) for test in tests)]),
    )


def compare(question: tuple, executions: Sequence[Execution]) -> tuple[bool, ...]:
    """Which tests were passed, from what ran; the broker calls this, in its own process."""
    kind, expected, rule, together = question
    if together:
        values = (executions[0].value or "").split("\n")
        executions = [dataclasses.replace(executions[0], status="ok", value=value) for value in values]
    return tuple(i < len(executions) and _passed(kind, output, executions[i], rule) for i, output in expected)


def _unless_undecided(first: Future[Verdict], second: Callable) -> Future[Verdict]:
    verdict: Future[Verdict] = Future()

    def pass_on(done: Future[Verdict]) -> None:
        if (error := done.exception()) is not None:
            verdict.set_exception(error)
        else:
            verdict.set_result(done.result())

    def on_first(done: Future[Verdict]) -> None:
        is_undecided = done.exception() is None and done.result().status == "undecided"
        second().add_done_callback(pass_on) if is_undecided else pass_on(done)

    first.add_done_callback(on_first)
    return verdict


def _other_answer(execution: Execution) -> bool:
    return execution.status == "ok"


def _equal_to_a_literal(execution: Execution) -> bool:
    """Whether == may hold with what is no literal: a Counter equals a dict. A class of the program's is just wrong."""
    return execution.status == "invalid_result" and "no literal for the library " in (execution.error or "")


def _verdict(
    expected: list, may_be_right: Callable | None, executions: list[Execution], passed: tuple | None
) -> Verdict:
    ran = tuple([executions[min(i, len(executions) - 1)] for i, _ in expected])
    if passed and all(passed):
        return Verdict("passed", passed, ran)
    passed = passed or (False,) * len(expected)
    if any(execution.status == "infra_error" for execution in ran):
        return Verdict("infra_error", passed, ran)
    is_open = may_be_right and all(good or may_be_right(e) for e, good in zip(ran, passed, strict=True))
    return Verdict("undecided" if is_open else "failed", passed, ran)


class _Checks:
    """A program against Python tests, each apart from it; stops nowhere, so that every test has its say."""

    def __init__(self, source: str, tests: Sequence[Test], limits: Limits, pool, in_process: bool):
        self.verdict: Future[Verdict] = Future()
        self._source, self._limits, self._pool, self._in_process = source, limits, pool, in_process
        self._hows = [""] * len(tests)
        self._executions: list[list[Execution]] = [[] for _ in tests]
        self._shared = False
        self._lock = threading.Lock()
        for i, test in enumerate(tests):
            Dialogue(test.input, source, limits, pool, functools.partial(self._on_end, i, test))

    def _on_end(self, i: int, test: Test, how: str, executions: list[Execution]) -> None:
        if how == "not plain" and self._in_process:
            self._shared = True
            try:
                run = self._pool.submit(together(test.input, self._source), self._limits)
            except RuntimeError:  # the pool was closed meanwhile; nobody hears of what is raised in a callback
                self._set(i, "infra_error", executions)
                return
            run.add_done_callback(lambda done: self._set(i, _HOW.get(done.result().status, "failed"), [done.result()]))
        else:
            self._set(i, "undecided" if how == "not plain" else how, executions)

    def _set(self, i: int, how: str, executions: list[Execution]) -> None:
        with self._lock:
            self._hows[i], self._executions[i] = how, executions
            if not all(self._hows):
                return
        status = next((how for how in ("infra_error", "failed", "undecided") if how in self._hows), "passed")
        ran = tuple(execution for each in self._executions for execution in each)
        passed = tuple(how == "passed" for how in self._hows)
        self.verdict.set_result(Verdict(status, passed, ran, "in_process" if self._shared else ""))


_HOW = {"ok": "passed", "infra_error": "infra_error"}


def run_on(source: str, problem: Problem, text: str, trace: TraceBudget | None = None) -> Run:
    """The run of a program on a test's input, as its problem's own judge would make it."""
    source = _PREAMBLES.get(problem.source, "") + source
    given = problem.given(text)
    return Run(source, stdin=given, trace=trace) if problem.kind == "stdio" else Run(source, call=given, trace=trace)


def answer_of(problem: Problem, execution: Execution) -> str | None:
    """What a run of `run_on` answered: its output or its value, None where it did not end well."""
    if execution.status != "ok":
        return None
    return execution.stdout if problem.kind == "stdio" else execution.value


_ENDINGS = {"timeout": "timeout", "memory_limit": "MemoryError", "syntax_error": "SyntaxError"}
_EXCEPTION = re.compile(r"([A-Za-z_][\w.]*)(: .*)?", re.DOTALL)  # a signal or an exit code is none


def outcome_of(problem: Problem, execution: Execution) -> str | None:
    """What came of a run of `run_on`: its answer, else how it ended; None where neither is the program's doing."""
    return ending_of(execution) or answer_of(problem, execution)


def ending_of(execution: Execution) -> str | None:
    """How a run ended that gave nothing (`problems.endings`), None for one that did, or that something else ended."""
    name = _ENDINGS.get(execution.status)
    if execution.status == "runtime_error":
        found = _EXCEPTION.fullmatch(execution.error or "")
        name = found and found.group(1)
        if name == "timeout":  # an exception of the program's own
            return None
    return ending(name) if name else None


def _passed(kind: str, output: str, execution: Execution, rule: str) -> bool:
    if execution.status != "ok":
        return False
    if kind == "call":  # the same text is the same value, and reading it twice would cost more than all the rest
        value = execution.value or ""
        if output.strip() == value:
            return True
        return bool(value) and literals_match(output, value, rule)
    return outputs_match(output, execution.stdout, rule)


def _check(problem: Problem, tests: Sequence[Test], rule: str | None) -> None:
    if problem.kind not in _RULES_OF_KIND:
        raise ValueError(f"problem {problem.id}: kind {problem.kind!r} is not one of {', '.join(_RULES_OF_KIND)}")
    if rule is not None and rule not in _RULES_OF_KIND[problem.kind]:
        raise ValueError(f"rule: {rule!r} is not one of {', '.join(_RULES_OF_KIND[problem.kind])}")
    if not tests:
        raise ValueError(f"problem {problem.id}: no tests to judge by")
    if problem.kind == "call":
        if not _ENTRY_POINT.fullmatch(problem.entry_point or ""):
            raise ValueError(f"problem {problem.id}: entry_point {problem.entry_point!r} is not a name")
        for i, test in enumerate(tests):
            if not _is_literal(test.output.strip()):
                raise ValueError(f"problem {problem.id}, test {i}: the output is not a Python literal")
    if problem.kind == "check":
        for i, test in enumerate(tests):
            try:
                syntax.parse(test.input)
            except syntax.UNREADABLE:
                raise ValueError(f"problem {problem.id}, test {i}: not a Python program") from None
