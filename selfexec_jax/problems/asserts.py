"""Problems judged by Python tests: literal asserts become tests of ours, the others run apart from the program.

A test may say anything of what a program returns, so it has to run; a program that ran in the same process
could change what the test sees. So the test runs in one jailed process and the program in another, and all
that passes between them is text: the test asks for a call, the program is run on it, and the test starts
again with that answer in its table, until it needs no further one.
"""

from __future__ import annotations

import ast
import builtins
import concurrent.futures
import sys
from collections.abc import Callable

from selfexec_jax.problems.compare import is_literal
from selfexec_jax.problems.types import Test
from selfexec_jax.sandbox.types import Execution, Limits, Run

_ROUNDS = 1_000  # calls that one test may make

# Runs in front of a test, in its process. Nothing of the program is there.
_HARNESS = '''
import ast as _ast, builtins as _builtins, importlib as _importlib

class _Ask(BaseException):
    pass

class _NotPlain(BaseException):
    pass

def _text(value):
    kind = type(value)
    if kind in (int, bool, str, bytes, type(None), complex):
        return repr(value)
    if kind is float:
        return repr(value) if value - value == 0 else "1e999" if value > 0 else "-1e999" if value < 0 else _no(value)
    if kind in (list, tuple):
        inside = ", ".join(map(_text, value)) + ("," if kind is tuple and len(value) == 1 else "")
        return "[" + inside + "]" if kind is list else "(" + inside + ")"
    if kind is dict:
        return "{" + ", ".join(_text(k) + ": " + _text(v) for k, v in value.items()) + "}"
    if kind is set and value:
        return "{" + ", ".join(sorted(map(_text, value))) + "}"
    if kind is type and getattr(_builtins, value.__name__, None) is value:
        return value.__name__
    return _no(value)

def _no(value):
    raise _NotPlain(type(value).__name__)

def _stub(name, table):
    def call(*args, **kwargs):
        asked = name + "(" + ", ".join([*map(_text, args), *(k + "=" + _text(v) for k, v in kwargs.items())]) + ")"
        if asked not in table:
            raise _Ask(asked)
        how, what = table[asked]
        if how == "value":
            return _ast.literal_eval(what)
        if how == "error":
            kind, _, message = what.partition(": ")
            found = getattr(_builtins, kind, None)
            known = isinstance(found, type) and issubclass(found, Exception)
            raise found(message) if known else Exception(what)
        raise _NotPlain(what)
    return call

def _test(source, names, modules, table):
    space = {"__name__": "test", **{name: _stub(name, table) for name in names}}
    space.update({name: _importlib.import_module(name) for name in modules})
    try:
        exec(compile(source, "<test>", "exec"), space)
    except _Ask as ask:
        return ["ask", ask.args[0]]
    except _NotPlain as why:
        return ["not plain", why.args[0]]
    except BaseException as error:
        return ["failed", type(error).__name__]
    return ["passed", ""]
'''


def literal_tests(source: str, entry_point: str) -> tuple[Test, ...] | None:
    """The tests that say the same as Python test code, None unless all of it is `assert f(LITERALS) == LITERAL`.

    source: asserts that call `entry_point`, or a function `check(candidate)` made of them, as HumanEval has it.
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError):
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


def borrowed_names(test: str) -> tuple[list[str], list[str]]:
    """The names that a test uses and does not make itself: functions of the program, and modules it imports.

    A module is a name of the standard library that the test only takes attributes of.
    """
    tree = ast.parse(test)
    nodes = list(ast.walk(tree))
    made = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
        elif isinstance(node, ast.alias):
            made.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            made.add(node.name)
    bases = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    used = [node for node in nodes if isinstance(node, ast.Name)]
    called = {node.id for node in used if id(node) not in bases}
    borrowed = {node.id for node in used} - made - set(vars(builtins))
    modules = (borrowed & sys.stdlib_module_names) - called
    return sorted(borrowed - modules), sorted(modules)


class Dialogue:
    """One test and one program, each in its own process; `finish` gets how it went and what was run.

    How: passed, failed, infra_error, or "not plain" where they would have to exchange what is no literal.
    """

    def __init__(self, test: str, source: str, limits: Limits, pool, finish: Callable[[str, list[Execution]], None]):
        self._test, self._source, self._limits, self._pool, self._finish = test, source, limits, pool, finish
        self._names, self._modules = borrowed_names(test)
        self._table: dict[str, tuple[str, str]] = {}
        self._executions: list[Execution] = []
        self._run_test()

    def _run_test(self) -> None:
        call = f"_test({self._test!r}, {self._names!r}, {self._modules!r}, {self._table!r})"
        self._pool.submit(Run(_HARNESS, call=call), self._limits).add_done_callback(self._on_test)

    def _on_test(self, future: concurrent.futures.Future[Execution]) -> None:
        execution = future.result()
        if execution.status == "infra_error":
            self._finish("infra_error", self._executions)
        elif execution.status != "ok" or execution.value is None:
            self._finish("failed", self._executions)  # the test itself ran out of time or memory on these answers
        else:
            how, what = ast.literal_eval(execution.value)
            if how != "ask":
                self._finish(how, self._executions)
            elif len(self._table) >= _ROUNDS:
                self._finish("failed", self._executions)
            else:
                run = Run(self._source, call=what)
                self._pool.submit(run, self._limits).add_done_callback(lambda done: self._on_answer(what, done))

    def _on_answer(self, asked: str, future: concurrent.futures.Future[Execution]) -> None:
        execution = future.result()
        self._executions.append(execution)
        if execution.status == "infra_error":
            self._finish("infra_error", self._executions)
        elif execution.status == "ok":
            self._answer(asked, "value", execution.value or "None")
        elif execution.status == "invalid_result":
            self._answer(asked, "not plain", execution.error or "")
        elif execution.status == "runtime_error" and execution.error:
            self._answer(asked, "error", execution.error)
        else:
            self._finish("failed", self._executions)  # out of time, out of memory, or no program at all

    def _answer(self, asked: str, how: str, what: str) -> None:
        self._table[asked] = (how, what)
        self._run_test()


def together(test: str, source: str) -> Run:
    """Both in one process, where a hostile program could make any test pass."""
    return Run(f"{source}\n\n{test}\n")
