"""Proposing inputs: a statement with its public tests, answered with one more input, whose output nobody says."""

from __future__ import annotations

from selfexec_jax.problems.types import Problem
from selfexec_jax.tasks import Messages, check_template, user
from selfexec_jax.tasks.solve import statement_with_tests

_PAPER = """Propose one more input for the problem, of the same form as those of the examples, that tells right programs
from wrong ones. Answer with the input alone inside an <input> element.

{statement}"""


def render(problem: Problem, template: str) -> Messages:
    check_template(template)
    shown = statement_with_tests(problem, template)
    return user(f"input\n{shown}" if template != "paper" else _PAPER.format(statement=shown))


def target(given: str, template: str) -> str:
    """The answer to learn for an input."""
    check_template(template)
    return given.rstrip("\n") if template != "paper" else f"<input>\n{given.rstrip()}\n</input>"


def extract(answer: str, template: str = "paper") -> str | None:
    """The input that an answer proposes, or None."""
    if template != "paper":
        return answer.rstrip() + "\n" if answer.strip() else None
    _, opens, rest = answer.partition("<input>")
    given, closes, _ = rest.partition("</input>")
    return given.strip("\n") + "\n" if opens and closes and given.strip() else None
