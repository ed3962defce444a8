"""Solving: a statement with its public tests, answered with one program."""

from __future__ import annotations

import re

from selfexec_jax.problems.types import Problem, Test
from selfexec_jax.tasks import Messages, check_template, user

_PAPER = """Solve the problem with a Python program{how}. Answer with exactly one fenced block of code.

{statement}

{tests}"""
_FENCE = re.compile(r"```(?:python|py)?[ \t]*\r?\n(.*?)```", re.DOTALL)


def show_test(test: Test, template: str) -> str:
    if template != "paper":
        return f"{test.input.strip()}>{test.output.strip()}"
    return f"Input:\n{test.input.rstrip()}\nOutput:\n{test.output.rstrip()}"


def statement_with_tests(problem: Problem, template: str) -> str:
    """The statement and the public tests; private ones are never shown."""
    joiner = "\n" if template != "paper" else "\n\n"
    return joiner.join([problem.statement, *(show_test(t, template) for t in problem.public_tests)])


def render(problem: Problem, template: str) -> Messages:
    check_template(template)
    if template != "paper":
        return user(f"solve\n{statement_with_tests(problem, template)}")
    stdio = problem.kind == "stdio"
    how = " that reads standard input and writes standard output" if stdio else f": {problem.entry_point}"
    tests = "\n\n".join(show_test(t, template) for t in problem.public_tests)
    return user(_PAPER.format(how=how, statement=problem.statement, tests=tests))


def target(source: str, template: str) -> str:
    """The answer to learn for a program."""
    check_template(template)
    return source.rstrip("\n") if template != "paper" else f"```python\n{source.rstrip()}\n```"


def extract(answer: str, template: str = "paper") -> str | None:
    """The program of an answer: its only fenced block (paper), or the whole answer (compact)."""
    if template != "paper":
        return answer.rstrip() + "\n" if answer.strip() else None
    found = _FENCE.findall(answer)
    return found[0] if len(found) == 1 and answer.count("```") == 2 else None
