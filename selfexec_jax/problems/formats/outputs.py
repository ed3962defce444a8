"""Rows that hold a program, what it is run on, and what it gives: CRUXEval, and the sets of `tools.predictions`."""

from __future__ import annotations

import ast
import hashlib

from selfexec_jax.problems import syntax
from selfexec_jax.problems.formats.fields import text
from selfexec_jax.problems.types import Problem, Test


def cruxeval(row: dict) -> Problem:
    test = Test(text(row, "input"), text(row, "output"))
    return Problem(
        id=text(row, "id"),
        statement="Return what the function returns.",
        kind="call",
        entry_point="f",
        private_tests=(test,),
        solutions=(text(row, "code"),),
        source="cruxeval",
    )


def program_output(row: dict) -> Problem:
    source, output = text(row, "source"), text(row, "output")
    name, args = None, row.get("stdin")
    if isinstance(row.get("call"), str):
        try:
            name = ast.unparse(syntax.parse(row["call"], mode="eval").body.func)
        except (*syntax.UNREADABLE, AttributeError):
            raise KeyError("call (the source of one call)") from None
        args = row["call"][len(name) + 1 : -1]
    if not isinstance(args, str):
        raise KeyError("stdin, call (text in one of them)")
    digest = hashlib.sha256(f"{source}\0{args}".encode()).hexdigest()[:8]
    return Problem(
        id=f"{text(row, 'problem')}/{row.get('model') or ''}/{digest}",
        statement="Say what the program gives.",
        kind="stdio" if name is None else "call",
        entry_point=name,
        private_tests=(Test(args, output),),
        solutions=(source,),
        source="outputs",
    )
