"""Steps say only what is so: every operation whose operands are values gives the stated value."""

import ast
import builtins

import pytest
from harness import run_traced
from hypothesis import HealthCheck, given, settings
from programs import programs

from selfexec_jax.sandbox.types import TraceBudget
from selfexec_jax.traces import steps
from selfexec_jax.traces.steps import Bind, Call, Catch, Compare, LoopEnd, Op, Raise, Read, Return

_PURE = {
    name: getattr(builtins, name) for name in ("len", "max", "min", "sum", "sorted", "abs", "any", "all")
}


def closed_steps(trace):
    """(step, what its text really gives) for the operations and comparisons that name no variable."""
    for step in steps(trace):
        if isinstance(step, (Op, Compare)):
            try:
                yield step, eval(step.text, {"__builtins__": _PURE})
            except NameError:
                continue


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@given(source=programs)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_stated_values_are_true(source):
    trace = run_traced(source, "5 7 -2 10", budget=TraceBudget(events=1000)).trace
    for step, value in closed_steps(trace):
        if isinstance(step, Compare):
            assert bool(value) == step.holds, step
        else:
            assert repr(value) == repr(ast.literal_eval(step.value)), step


def test_the_kinds_of_steps():
    source = (
        "x = int(input())\ndef f(a):\n    return a // 0\nfor i in [x]:\n    pass\n"
        "try:\n    f(x)\nexcept Exception:\n    pass\n"
    )
    assert steps(run_traced(source, "4").trace) == [
        Read(1, "'4'"),
        Bind(1, "x", "4"),
        Bind(4, "i", "4"),
        LoopEnd(4, "i"),
        Call(2, "f", (("a", "4"),)),
        Raise(3, "ZeroDivisionError", "integer division or modulo by zero"),
        Catch(8, "ZeroDivisionError"),
    ]
    assert steps(run_traced("def f():\n    pass\n", call="f()").trace) == [
        Call(1, "f", ()),
        Return(2, "None"),
    ]
