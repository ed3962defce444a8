"""What is to be solved, and whether it was: plain frozen data."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Test:
    """One test. kind "stdio": text; kind "call": Python literals, `input` the source of the argument list."""

    __test__ = False  # not a test case for pytest

    input: str
    output: str


@dataclasses.dataclass(frozen=True)
class Problem:
    """A statement with its tests and reference programs; `tags` carry what splits and reports group by."""

    id: str
    statement: str
    kind: str = "stdio"  # stdio | call
    entry_point: str | None = None
    public_tests: tuple[Test, ...] = ()
    private_tests: tuple[Test, ...] = ()
    solutions: tuple[str, ...] = ()
    wrong_solutions: tuple[str, ...] = ()
    source: str = ""
    time_limit_s: float = 2.0
    memory_limit_mb: int = 512
    tags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Which tests a program passed. `status`: passed failed infra_error (the last is never a reward)."""

    status: str
    passed: tuple[bool, ...]
    executions: tuple = ()  # one sandbox Execution a test that was run

    @property
    def share(self) -> float:
        return sum(self.passed) / len(self.passed) if self.passed else 0.0
