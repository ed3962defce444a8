"""How runs end: named from what the sandbox saw, told in answers, and no output for any comparison."""

import pytest

from selfexec_jax.problems import Problem, Test
from selfexec_jax.problems.compare import answers_match
from selfexec_jax.problems.endings import ending, ending_name, shown
from selfexec_jax.problems.judge import answer_of, outcome_of, run_on
from selfexec_jax.sandbox import Execution, Limits, SandboxPool
from selfexec_jax.tasks import fix, predict
from selfexec_jax.traces import Narration

STDIO = Problem("p", "Print.", public_tests=(Test("3\n", "4\n"),))
CALL = Problem("q", "Return.", kind="call", entry_point="f")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("print(4)\n", None),
        ("print(1 // 0)\n", "ZeroDivisionError"),
        ("print(4)\n[][0]\n", "IndexError"),
        ("class Odd(Exception):\n    pass\nraise Odd\n", "Odd"),
        ("import json\njson.loads('{')\n", "JSONDecodeError"),
        ("print(4\n", "SyntaxError"),
        ("while True:\n    pass\n", "timeout"),
        ("import os\nos.abort()\n", None),  # no exception, so nothing that is to be foretold
    ],
)
def test_endings_are_named_from_real_runs(source, name):
    with SandboxPool(workers=1, limits=Limits(cpu_s=0.3), min_tier="rlimits_only") as pool:
        execution = pool.submit(run_on(source, STDIO, "3\n")).result(60)
    found = outcome_of(STDIO, execution)
    assert ending_name(found) == name and (name or found == answer_of(STDIO, execution)), execution
    assert name is None or not answers_match("stdio", STDIO.public_tests[0].output, found)


def test_what_is_not_the_programs_doing_is_no_ending():
    for status in ("infra_error", "trace_tampered", "output_limit", "invalid_result"):
        assert outcome_of(CALL, Execution(status, error="ValueError: no")) is None
    assert outcome_of(CALL, Execution("runtime_error", error="killed by SIGSEGV")) is None
    assert outcome_of(CALL, Execution("runtime_error", error="KeyError: 'a: b'\nc")) == ending("KeyError")
    assert shown(ending("KeyError")) == "!KeyError" and shown("3\n") == "3\n" and shown(None) is None


@pytest.mark.parametrize("template", ["compact", "paper"])
@pytest.mark.parametrize("kind", ["stdio", "call"])
def test_an_ending_is_told_and_graded(template, kind):
    answer = predict.target(Narration("x=0\n", ending("ZeroDivisionError")), template, kind, "f(0)")
    assert answer.startswith("x=0\n") and predict.narration_of(answer) == "x=0"
    grade = lambda expected: predict.grade(answer, expected, kind).label  # noqa: E731
    assert grade(ending("ZeroDivisionError")) == "ok"
    assert grade(ending("ValueError")) == grade("0") == grade("'ZeroDivisionError'") == "wrong"
    right = predict.target(Narration("", "0"), template, kind, "f(0)")
    assert predict.grade(right, ending("timeout"), kind).label == "wrong"
    assert predict.grade("well", ending("timeout"), kind).label == "no_answer"
    assert predict.grade(answer, ending("ZeroDivisionError"), kind, "length").label == "truncated"
    for other in ("!", "! timeout", "!time out", "!=> 3", "<outcome></outcome>"):
        assert predict.extract(other, kind) is None


@pytest.mark.parametrize("template", ["compact", "paper"])
def test_a_fix_turn_is_told_how_a_run_ends(template):
    told = fix.render(STDIO, "print(1 // 0)\n", [fix.Feedback(STDIO.public_tests[0], ending("timeout"))], template)
    assert "!timeout" in told[0]["content"] and "\0" not in told[0]["content"]
