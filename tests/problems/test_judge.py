"""Verdicts: which tests a program passed, and that nothing but its output can make it pass."""

import concurrent.futures
import dataclasses

import pytest

from selfexec_jax.problems.judge import compare, judge, rule_of
from selfexec_jax.problems.types import Problem, Test
from selfexec_jax.sandbox import Execution

ADD = Problem(
    "add", "Add two numbers.", kind="stdio", time_limit_s=1.0,
    private_tests=(Test("1 2\n", "3\n"), Test("10 -3\n", "7\n"), Test("1 2\n", "3\n")),
)  # fmt: skip
TWICE = Problem(
    "twice", "Double.", kind="call", entry_point="twice",
    private_tests=(Test("[1, 2]", "[2, 4]"), Test("[], ", "[]"), Test("xs=[True]", "[2]")),
)  # fmt: skip


class CannedPool:
    """Answers every run with one execution, and remembers what it was told."""

    def __init__(self, execution):
        self.execution = execution
        self.told = []

    def request(self, runs, limits, finding, make):
        self.told += [(run, limits) for run in runs]
        function, question = finding
        assert function == "selfexec_jax.problems.judge:compare"
        future = concurrent.futures.Future()
        executions = [self.execution] * len(runs)
        future.set_result(make(executions, compare(question, executions)))
        return future


def verdict(source, problem, pool, **options):
    return judge(source, problem, problem.private_tests, pool, **options).result(60)


def test_stdio(pool):
    good = verdict("print(sum(map(int, input().split())))", ADD, pool)
    assert (good.status, good.passed, good.share) == ("passed", (True, True, True), 1.0)
    assert [execution.status for execution in good.executions] == ["ok"] * 3
    half = verdict("print(3)", ADD, pool)
    assert (half.status, half.passed) == ("failed", (True, False, True))
    assert verdict("print(3); 1 / 0", ADD, pool).passed == (False,) * 3
    assert verdict("print(3)\nwhile True: pass", ADD, pool).passed == (False,) * 3
    assert verdict("", ADD, pool).status == "failed"


def test_calls(pool):
    good = verdict("def twice(xs): return [2 * x for x in xs]", TWICE, pool)
    assert (good.status, good.passed) == ("passed", (True, True, True))
    assert verdict("def twice(xs): return tuple(2 * x for x in xs)", TWICE, pool).status == "failed"
    lenient = verdict("def twice(xs): return tuple(2 * x for x in xs)", TWICE, pool, rule="as_json")
    assert lenient.status == "passed"
    assert verdict("twice = None", TWICE, pool).passed == (False,) * 3


@pytest.mark.parametrize(
    "source",
    [
        "import os; os._exit(0)",
        "class A(list):\n    def __eq__(self, other): return True\ndef twice(xs): return A()",
        "class A:\n    def __eq__(self, other): return True\n    def __repr__(self): return '[2, 4]'\n"
        "def twice(xs): return A()",
        "import sys\ndef twice(xs): sys.exit(0)",
        "import gc\ndef twice(xs):\n    return [x for x in gc.get_objects() if x == [2, 4]]",
        "def twice(xs):\n    raise SystemExit",
        "print('[2, 4]')\ndef twice(xs): print('[2, 4]')",
        "import builtins\nbuiltins.eval = lambda *a: [2, 4]\ndef twice(xs): return None",
    ],
)
def test_tricks_do_not_pass(pool, source):
    judged = verdict(source, TWICE, pool)
    assert judged.status == "failed"
    assert not judged.passed[2]


@pytest.mark.parametrize(
    "source",
    [
        "print(3); print(7)",  # every answer that may be asked for
        "print(3, end='')\nimport sys; sys.stdout.close(); print(7)",
        "import os\nos.write(1, b'3\\xff')",
        "print('3\\x00')",
        "print('3' * 10**5)",
        "print('3 ' * 2)",
        "import sys\nprint(3)\nsys.exit(1)",
        "import os\nprint(3, flush=True)\nos._exit(3)",
        "print(3)\nraise KeyboardInterrupt",
    ],
)
def test_tricks_on_stdout_do_not_pass(pool, source):
    assert not any(verdict(source, ADD, pool).passed)


def test_several_right_answers_are_never_judged_wrong(pool):
    marked = dataclasses.replace(ADD, tags=("several_answers",))
    assert verdict("print(sum(map(int, input().split())))", marked, pool).status == "passed"
    assert verdict("print(0)", marked, pool).status == "undecided"
    assert verdict("1 / 0", marked, pool).status == "failed"
    assert verdict("print(0)", ADD, pool).status == "failed"


def test_the_source_of_a_problem_chooses_the_rule(pool):
    lines = Problem("p", "", source="livecodebench", private_tests=(Test("", "1 2\n"),))
    assert rule_of(lines) == "lines"
    assert verdict("print('1\\n2')", lines, pool).status == "failed"
    contest = dataclasses.replace(lines, source="codecontests")
    assert rule_of(contest) == "tokens"
    assert verdict("print('1\\n2')", contest, pool).status == "passed"
    assert verdict("print(1, '', 2)", contest, pool, rule="exact").status == "failed"
    call = Problem("p", "", "call", "f", private_tests=(Test("", "[1]"),), source="livecodebench")
    assert verdict("def f(): return (1,)", call, pool).status == "passed"
    assert verdict("def f(): return (1,)", dataclasses.replace(call, source=""), pool).status == "failed"


def test_an_infrastructure_failure_is_no_verdict():
    broken = judge("x", ADD, ADD.private_tests, CannedPool(Execution("infra_error"))).result(1)
    assert (broken.status, broken.passed) == ("infra_error", (False,) * 3)


@pytest.mark.parametrize(
    "status", ["runtime_error", "timeout", "output_limit", "trace_budget", "memory_limit"]
)
def test_the_right_output_counts_only_when_the_run_was_ok(status):
    assert (
        judge("x", ADD, ADD.private_tests[:1], CannedPool(Execution(status, "3\n"))).result(1).status
        == "failed"
    )


def test_a_program_is_told_inputs_and_limits_and_nothing_else():
    canned = CannedPool(Execution("ok", "3\n"))
    judge("source", ADD, ADD.private_tests, canned).result(1)
    assert len(canned.told) == 2  # equal inputs share a run
    run, limits = canned.told[0]
    assert (run.source, run.stdin, run.call) == ("source", "1 2\n", None)
    assert (limits.cpu_s, limits.memory_mb) == (1.0, 512)
    secret = Problem("s", "", kind="call", entry_point="f", private_tests=(Test("1", "'expected-answer'"),))
    canned = CannedPool(Execution("ok", value="1"))
    assert judge("def f(x): ...", secret, secret.private_tests, canned).result(1).status == "failed"
    assert "expected-answer" not in repr(canned.told)


def test_what_cannot_be_judged_is_refused_at_once():
    canned = CannedPool(Execution("ok"))
    with pytest.raises(ValueError, match="no tests"):
        judge("", ADD, (), canned)
    with pytest.raises(ValueError, match="entry_point"):
        judge("", Problem("p", "", kind="call", entry_point="f(1); g"), (Test("1", "1"),), canned)
    with pytest.raises(ValueError, match="test 0: the output is not a Python literal"):
        judge("", TWICE, (Test("1", "f(1)"),), canned)
    with pytest.raises(ValueError, match="rule"):
        judge("", ADD, ADD.private_tests, canned, rule="close")
    assert canned.told == []


def test_calls_in_one_process_are_judged_one_by_one(pool):
    tests = (Test("1", "[1]"), Test("2", "[1, 2]"), Test("3", "{1: 1}"))
    problem = Problem("p", "", kind="call", entry_point="f", private_tests=tests, source="humaneval")
    body = "    kept.append(x)\n    return kept if x < 3 else "  # the same list, told as it is at each call
    source = "from collections import Counter\nkept = []\ndef f(x):\n" + body
    together = lambda end: judge(source + end, problem, tests, pool, together=True).result(30)  # noqa: E731
    assert (together("{1: 1}").status, together("{1: 1}").passed) == ("passed", (True, True, True))
    assert (together("{1: 2}").status, together("{1: 2}").passed) == ("failed", (True, True, False))
    assert together("1 // 0").passed == (True, True, False)
    apart = judge(source + "{1: 1}", problem, tests, pool).result(30)
    assert apart.passed == (True, False, True)
    wants = (Test("3", "{1: 1}"),)  # equal to a literal without being one: decided in a dialogue
    assert judge("from collections import Counter\ndef f(x): return Counter([1])", problem, wants, pool,
                 together=True).result(30).status == "passed"  # fmt: skip
