"""Fields of a row, checked; KeyError names the one that is missing or bad."""

from __future__ import annotations

import json

from selfexec_jax.problems.types import Test


def tests(rows: list | dict, field: str) -> tuple[Test, ...]:
    """Of a list of {input, output}, or of {input: [...], output: [...]} as tables have it."""
    if isinstance(rows, dict) and rows.keys() >= {"input", "output"}:
        rows = [{"input": one, "output": two} for one, two in zip(rows["input"], rows["output"], strict=True)]
    if not isinstance(rows, list):
        raise KeyError(f"{field} (a list of {{input, output}})")
    found = []
    for row in rows:
        if not isinstance(row, dict) or not all(isinstance(row.get(k), str) for k in ("input", "output")):
            raise KeyError(f"{field} (each with text `input` and `output`)")
        found.append(Test(row["input"], row["output"]))
    return tuple(found)


def text(row: dict, field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise KeyError(f"{field} (text)")
    return value


def texts(row: dict, field: str) -> tuple[str, ...]:
    values = row.get(field, [])
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise KeyError(f"{field} (a list of texts)")
    return tuple(values)


def json_in(row: dict, field: str):
    try:
        return json.loads(text(row, field))
    except ValueError:
        raise KeyError(f"{field} (JSON in a text)") from None
