"""Fixing: a program with what its public tests gave, answered with #SUBMIT or a new program."""

from __future__ import annotations

import dataclasses

from selfexec_jax.problems import endings
from selfexec_jax.problems.compare import answers_match
from selfexec_jax.problems.types import Problem, Test
from selfexec_jax.tasks import Messages, check_template, solve, user

_SUBMIT = "#SUBMIT"
_PAPER = """{question}

Here is a program for it:
```python
{source}
```

What it gives on the examples:
{feedback}

Answer with a fenced block that holds only #SUBMIT if the program is right, else with one fenced block
that holds a right program."""


@dataclasses.dataclass(frozen=True)
class Feedback:
    """What a program gave on one public test, really run or predicted: an output, an ending (`problems.endings`), or
    None for neither; and, where the config asks for it, words on how it came about."""

    test: Test
    output: str | None
    kind: str = "stdio"  # of the problem
    words: str = ""

    @property
    def agrees(self) -> bool:
        return answers_match(self.kind, self.test.output, self.output)

    def with_words(self, words: str) -> Feedback:
        """The same with words on how the output came about, which what is wanted does not need."""
        return self if self.agrees or self.output is None else dataclasses.replace(self, words=words)


@dataclasses.dataclass(frozen=True)
class Submit:
    """The model is content with the program."""


def _show(feedback: Feedback, template: str) -> str:
    got = "no output" if feedback.output is None else endings.shown(feedback.output).strip()
    shown = solve.show_test(feedback.test, template)
    if template != "paper":
        words = f"\n{feedback.words}" if feedback.words else ""
        return f"{shown} {'ok' if feedback.agrees else 'got ' + got.replace(chr(10), ' ')}{words}"
    words = f"\nHow it came about:\n{feedback.words}" if feedback.words else ""
    return f"{shown}\nThe program's output:\n{got}{words}"


def render(problem: Problem, source: str, feedback: list[Feedback], template: str) -> Messages:
    check_template(template)
    shown = [_show(f, template) for f in feedback]
    if template != "paper":
        return user("\n".join(["fix", problem.statement, source.rstrip("\n"), *shown]))
    return user(
        _PAPER.format(question=problem.statement, source=source.rstrip(), feedback="\n\n".join(shown))
    )


def target(answer: str | Submit, template: str) -> str:
    """The answer to learn: Submit() or a program."""
    if isinstance(answer, Submit):
        return _SUBMIT if template != "paper" else f"```\n{_SUBMIT}\n```"
    return solve.target(answer, template)


def parse(answer: str, template: str = "paper") -> Submit | str | None:
    """Submit(), the source of a new program, or None when the answer is neither."""
    source = solve.extract(answer, template)
    if source is not None and source.strip() == _SUBMIT:
        return Submit()
    return source
