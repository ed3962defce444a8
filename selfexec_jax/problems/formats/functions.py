"""Rows of HumanEval(+) and MBPP(+): functions with Python tests."""

from __future__ import annotations

import ast
import dataclasses
import re

from selfexec_jax.problems import syntax
from selfexec_jax.problems.asserts import literal_tests
from selfexec_jax.problems.formats.fields import text, texts
from selfexec_jax.problems.types import Problem, Test

_ASSERTS_S = 5.0  # the slowest reference program of MBPP takes four
_HUMANEVAL_S = 3.0  # as its own judge has it


def humaneval(row: dict) -> Problem:
    name, test, solution = text(row, "entry_point"), text(row, "test"), text(row, "canonical_solution")
    problem = Problem(
        id=text(row, "task_id"),
        statement=text(row, "prompt"),
        entry_point=name,
        solutions=(text(row, "prompt") + solution,) if solution else (),
        source="humaneval",
        time_limit_s=_HUMANEVAL_S,
    )
    if not test:  # a statement alone, as some copies of CodeContests have it
        return problem
    return _of_asserts(
        problem,
        (f"{test}\n\ncheck({name})\n",),
        literal_tests(test, name),
    )


# EvalPlus's own comparison: equal, or floats of the same shape within the tolerance.
_SAME = """
import copy

inf, nan = float("inf"), float("nan")

def floats(value):
    if isinstance(value, float):
        return True
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(one, float) for one in value)

def close(got, wanted, atol):
    if isinstance(wanted, (list, tuple)):
        return len(got) == len(wanted) and all([close(a, b, atol) for a, b in zip(got, wanted)])
    return got == wanted or abs(got - wanted) <= atol + 1e-07 * abs(wanted)

def check(function, args, atol):
    wanted = reference(*copy.deepcopy(args))
    got = function(*copy.deepcopy(args))
    if atol == 0 and floats(wanted):
        atol = 1e-6
    if atol == 0 or not floats(wanted):
        assert got == wanted
    else:
        assert type(got) == type(wanted) and close(got, wanted, atol)
"""


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# What MBPP+ calls its functions with where JSON cannot say it, from what JSON says, by the number of the task: the
# types that EvalPlus restores.
_ARGUMENTS = {
    task: restored
    for tasks, restored in {
        (2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809): (
            lambda args: [tuple(arg) for arg in args]
        ),
        (63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780): (
            lambda args: [[tuple(item) for item in arg] for arg in args]
        ),
        (75, 413, 444, 753): lambda args: [[tuple(item) for item in args[0]], *args[1:]],
        (106, 750): lambda args: [args[0], tuple(args[1])],
        (250, 307, 405, 446, 617, 720, 763, 808): lambda args: [tuple(args[0]), *args[1:]],
        (259, 278, 401, 445, 580, 615, 791): lambda args: [_tuples(arg) for arg in args],
        (115,): lambda args: [[set(item) or {} for item in args[0]]],
        (124,): lambda args: [float(args[0]), complex(args[1])],
        (252,): lambda args: [complex(args[0])],
        (722,): lambda args: [{key: tuple(value) for key, value in args[0].items()}, *args[1:]],
    }.items()
    for task in tasks
}  # fmt: skip


def evalplus(row: dict) -> Problem:
    name, source = text(row, "entry_point"), text(row, "prompt") + text(row, "canonical_solution")
    inputs = [*row["base_input"], *(row["plus_input"] or [])]
    number = re.fullmatch(r"Mbpp/(\d+)", text(row, "task_id"))
    if number and int(number[1]) in _ARGUMENTS:
        inputs = list(map(_ARGUMENTS[int(number[1])], inputs))
    try:
        body = [*syntax.parse(source).body, syntax.parse(f"return {name}").body[0]]
    except syntax.UNREADABLE:
        raise KeyError("prompt, canonical_solution (together no Python)") from None
    inside = ast.FunctionDef("make", syntax.parse("def f(): pass").body[0].args, body, [])
    reference = ast.unparse(ast.fix_missing_locations(ast.Module([inside], [])))
    atol = float(row.get("atol") or 0)
    calls = "\n".join(f"check({name}, {args!r}, {atol})" for args in inputs)
    return Problem(
        id=text(row, "task_id"),
        statement=text(row, "prompt"),
        kind="check",
        entry_point=name,
        private_tests=(Test(f"{reference}\nreference = make()\n{_SAME}\n{calls}\n", ""),),
        solutions=(source,),
        source="humaneval" if row["task_id"].startswith("HumanEval") else "mbpp",
        time_limit_s=_ASSERTS_S,
    )


def mbpp(row: dict) -> Problem:
    asserts = texts(row, "test_list")
    name = _called(asserts)
    setup = row.get("test_setup_code") or ""
    return _of_asserts(
        Problem(
            id=f"mbpp/{row['task_id']}",
            statement=text(row, "text") + "\n" + "\n".join(asserts),
            entry_point=name,
            solutions=(text(row, "code"),),
            source="mbpp",
            time_limit_s=_ASSERTS_S,
        ),
        tuple(f"{setup}\n{line}\n" for line in asserts),
        literal_tests("\n".join(asserts), name),
    )


def mbpp_plus(row: dict) -> Problem:
    asserts = texts(row, "test_list")
    return _of_asserts(
        Problem(
            id=f"Mbpp/{row['task_id']}",
            statement=text(row, "prompt") + "\n" + "\n".join(asserts),
            entry_point=_called(asserts),
            solutions=(text(row, "code"),),
            source="mbpp",
            time_limit_s=_ASSERTS_S,
        ),
        (text(row, "test"),),
        None,
    )


def _called(asserts: tuple[str, ...]) -> str:
    found = re.match(r"assert \(*(?:\w+\()*?(\w+)\(", asserts[0]) if asserts else None
    return found[1] if found else "f"


def _of_asserts(problem: Problem, checks: tuple[str, ...], literal: tuple[Test, ...] | None) -> Problem:
    """With tests of kind "call" where all asserts compare literals, else with Python tests."""
    if literal:
        return dataclasses.replace(problem, kind="call", private_tests=literal)
    return dataclasses.replace(problem, kind="check", private_tests=tuple(Test(check, "") for check in checks))
