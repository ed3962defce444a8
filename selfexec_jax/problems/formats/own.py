"""Rows of our own format."""

from __future__ import annotations

import dataclasses
import math

from selfexec_jax.problems.formats.fields import tests, text, texts
from selfexec_jax.problems.types import Problem


def own(row: dict) -> Problem:
    known = {f.name for f in dataclasses.fields(Problem)}
    extra = sorted(set(row) - known)
    if extra:
        raise KeyError(f"{extra[0]} (no such field)")
    fields = row | {"id": text(row, "id"), "statement": text(row, "statement")}
    for name in ("public_tests", "private_tests"):
        fields[name] = tests(row.get(name, []), name)
    for name in ("solutions", "wrong_solutions", "tags"):
        fields[name] = texts(row, name)
    limit, memory = row.get("time_limit_s", 1), row.get("memory_limit_mb", 1)
    if type(limit) not in (int, float) or not 0 < limit < math.inf:
        raise KeyError("time_limit_s (a number above 0)")
    if type(memory) is not int or memory < 1:
        raise KeyError("memory_limit_mb (a whole number above 0)")
    if not isinstance(row.get("source", ""), str):
        raise KeyError("source (text)")
    if row.get("kind", "stdio") not in ("stdio", "call", "check"):
        raise KeyError("kind (stdio, call or check)")
    if row.get("kind") == "call":
        text(row, "entry_point")
    return Problem(**fields)
