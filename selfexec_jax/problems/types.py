"""What is to be solved, and whether it was: plain frozen data."""

from __future__ import annotations

import dataclasses

SEVERAL_ANSWERS = "several_answers"


@dataclasses.dataclass(frozen=True)
class Test:
    """One test. kind "stdio": text; kind "call": Python literals, `input` the source of the argument list;
    kind "check": `input` is Python test code, which raises when the program fails it, and there is no output."""

    __test__ = False  # not a test case for pytest

    input: str
    output: str


@dataclasses.dataclass(frozen=True)
class Problem:
    """A statement with its tests and reference programs; `tags` carry what splits and reports group by.

    The tag SEVERAL_ANSWERS marks a problem that accepts more outputs than the one its tests hold.
    """

    id: str
    statement: str
    kind: str = "stdio"  # stdio | call | check
    entry_point: str | None = None
    public_tests: tuple[Test, ...] = ()
    private_tests: tuple[Test, ...] = ()
    solutions: tuple[str, ...] = ()
    wrong_solutions: tuple[str, ...] = ()
    source: str = ""
    time_limit_s: float = 2.0
    memory_limit_mb: int = 512
    tags: tuple[str, ...] = ()

    def given(self, text: str) -> str:
        """What a program is run on, from a test's input: the text of stdin, or the call expression."""
        return text if self.kind == "stdio" else f"{self.entry_point}({text})"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Which tests a program passed.

    status: passed, failed, undecided (nothing failed but an answer is neither the known one nor provably
    wrong) or infra_error; the last two are never a reward or a punishment. integrity: "" where no program
    could reach what judged it, "in_process" where test and program shared a process because it was asked for.
    """

    status: str
    passed: tuple[bool, ...]
    executions: tuple = ()  # one sandbox Execution a test that was run
    integrity: str = ""

    @property
    def share(self) -> float:
        return sum(self.passed) / len(self.passed) if self.passed else 0.0
