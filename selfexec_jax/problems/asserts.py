"""Python tests that say no more than what goes in and what comes out: those become tests of ours."""

from __future__ import annotations

import ast

from selfexec_jax.problems import syntax
from selfexec_jax.problems.compare import is_literal
from selfexec_jax.problems.types import Test


def literal_tests(source: str, entry_point: str) -> tuple[Test, ...] | None:
    """The tests that say the same as Python test code, None unless all of it is `assert f(LITERALS) == LITERAL`.

    source: asserts that call `entry_point`, or a function `check(candidate)` made of them, as HumanEval has it.
    """
    try:
        body = syntax.parse(source).body
    except syntax.UNREADABLE:
        return None
    name = entry_point
    checks = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == "check"]
    if checks:
        name, body = "candidate", checks[0].body
    tests = []
    for node in body:
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant) and node.test.value:
            continue  # a placeholder: `assert True, "..."`
        pair = _pair(node, name)
        if pair is None:
            return None
        tests.append(pair)
    answers = dict.fromkeys(tests)
    if len({test.input for test in answers}) < len(answers):
        return None  # one question, two answers: what counts is the order of the calls
    return tuple(tests) or None


def _pair(node: ast.stmt, name: str) -> Test | None:
    if not (isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare) and len(node.test.ops) == 1):
        return None
    call, expected = node.test.left, node.test.comparators[0]
    if not (isinstance(node.test.ops[0], ast.Eq) and isinstance(call, ast.Call) and is_literal(expected)):
        return None
    if not (isinstance(call.func, ast.Name) and call.func.id == name):
        return None
    if not all(is_literal(a) for a in call.args) or not all(k.arg and is_literal(k.value) for k in call.keywords):
        return None
    arguments = [*map(ast.unparse, call.args), *(f"{k.arg}={ast.unparse(k.value)}" for k in call.keywords)]
    return Test(", ".join(arguments), ast.unparse(expected))
