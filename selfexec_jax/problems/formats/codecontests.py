"""Rows of CodeContests."""

from __future__ import annotations

import re

from selfexec_jax.problems.formats.fields import tests, text
from selfexec_jax.problems.types import SEVERAL_ANSWERS, Problem

_ANY_ANSWER = re.compile(
    r"(print|output) any\b|any of (them|these|those) (is|are|will be) acc|"
    r"(print|output)[^.]{0,80} in (any|arbitrary|an arbitrary) order",
    re.IGNORECASE,
)


def _accepts(statement: str) -> tuple[str, ...]:
    """The tag of a problem whose statement lets a program choose among right answers."""
    return (SEVERAL_ANSWERS,) if _ANY_ANSWER.search(statement) else ()


def codecontests_flat(row: dict) -> Problem:
    public = tests(row.get("public_tests_parsed"), "public_tests_parsed")
    every = tests(row.get("tests"), "tests")
    return Problem(
        id=text(row, "id"),
        statement=text(row, "statement"),
        public_tests=public,
        private_tests=tuple(t for t in every if t not in set(public)),
        solutions=(text(row, "solution"),),
        source="codecontests",
        tags=(*(row.get("tags") or ()), *_accepts(text(row, "statement"))),
    )


_PYTHON = (3, "PYTHON3")  # codes of the language in CodeContests


def codecontests(row: dict) -> Problem:
    statement = text(row, "description")
    private = [t for name in ("private_tests", "generated_tests") for t in tests(row.get(name, []), name)]
    limit = row.get("time_limit") or {}
    return Problem(
        id=text(row, "name"),
        statement=statement,
        public_tests=tests(row.get("public_tests"), "public_tests"),
        private_tests=tuple(private),
        solutions=_in_python(row, "solutions"),
        wrong_solutions=_in_python(row, "incorrect_solutions"),
        source="codecontests",
        time_limit_s=(limit.get("seconds") or 0) + (limit.get("nanos") or 0) / 1e9 or 2.0,
        memory_limit_mb=max((row.get("memory_limit_bytes") or 512 << 20) >> 20, 1),
        tags=(*filter(None, row.get("cf_tags") or ()), *_accepts(statement)),
    )


def _in_python(row: dict, field: str) -> tuple[str, ...]:
    rows = row.get(field) or []
    if isinstance(rows, dict):
        rows = [{"language": a, "solution": b} for a, b in zip(rows["language"], rows["solution"], strict=True)]
    return tuple(text(one, "solution") for one in rows if one.get("language") in _PYTHON)
