"""Problems from files: our own jsonl, CodeContests-style jsonl, CRUXEval, HumanEval and MBPP, told apart by fields."""

from __future__ import annotations

import dataclasses
import gzip
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from selfexec_jax.problems.asserts import literal_tests
from selfexec_jax.problems.types import SEVERAL_ANSWERS, Problem, Test

log = logging.getLogger(__name__)


class ProblemFileError(ValueError):
    """A problem file that cannot be used; one line naming the file and the mend."""


def _tests(rows: list, field: str) -> tuple[Test, ...]:
    if not isinstance(rows, list):
        raise KeyError(f"{field} (a list of {{input, output}})")
    tests = []
    for row in rows:
        if not isinstance(row, dict) or not all(isinstance(row.get(k), str) for k in ("input", "output")):
            raise KeyError(f"{field} (each with text `input` and `output`)")
        tests.append(Test(row["input"], row["output"]))
    return tuple(tests)


def _text(row: dict, field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise KeyError(f"{field} (text)")
    return value


def _texts(row: dict, field: str) -> tuple[str, ...]:
    values = row.get(field, [])
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise KeyError(f"{field} (a list of texts)")
    return tuple(values)


def _own(row: dict) -> Problem:
    known = {f.name for f in dataclasses.fields(Problem)}
    extra = sorted(set(row) - known)
    if extra:
        raise KeyError(f"{extra[0]} (no such field)")
    fields = row | {"id": _text(row, "id"), "statement": _text(row, "statement")}
    for name in ("public_tests", "private_tests"):
        fields[name] = _tests(row.get(name, []), name)
    for name in ("solutions", "wrong_solutions", "tags"):
        fields[name] = _texts(row, name)
    for name in ("time_limit_s", "memory_limit_mb"):
        if type(row.get(name, 1)) not in (int, float):
            raise KeyError(f"{name} (a number)")
    if row.get("kind", "stdio") not in ("stdio", "call"):
        raise KeyError("kind (stdio or call)")
    if row.get("kind") == "call":
        _text(row, "entry_point")
    return Problem(**fields)


_ANY_ANSWER = re.compile(
    r"(print|output) any\b|any of (them|these|those) (is|are|will be) acc|"
    r"(print|output)[^.]{0,80} in (any|arbitrary|an arbitrary) order",
    re.IGNORECASE,
)


def _accepts(statement: str) -> tuple[str, ...]:
    """The tag of a problem whose statement lets a program choose among right answers."""
    return (SEVERAL_ANSWERS,) if _ANY_ANSWER.search(statement) else ()


def _codecontests(row: dict) -> Problem:
    public = _tests(row.get("public_tests_parsed"), "public_tests_parsed")
    every = _tests(row.get("tests"), "tests")
    return Problem(
        id=_text(row, "id"),
        statement=_text(row, "statement"),
        public_tests=public,
        private_tests=tuple(t for t in every if t not in set(public)),
        solutions=(_text(row, "solution"),),
        source="codecontests",
        tags=(*(row.get("tags") or ()), *_accepts(_text(row, "statement"))),
    )


def _cruxeval(row: dict) -> Problem:
    test = Test(_text(row, "input"), _text(row, "output"))
    return Problem(
        id=_text(row, "id"),
        statement="Return what the function returns.",
        kind="call",
        entry_point="f",
        private_tests=(test,),
        solutions=(_text(row, "code"),),
        source="cruxeval",
    )


_ASSERTS_S = 5.0  # the slowest reference program of MBPP takes four


def _humaneval(row: dict) -> Problem:
    name = _text(row, "entry_point")
    test = _text(row, "test")
    return _of_asserts(
        Problem(
            id=_text(row, "task_id"),
            statement=_text(row, "prompt"),
            entry_point=name,
            solutions=(_text(row, "prompt") + _text(row, "canonical_solution"),),
            source="humaneval",
            time_limit_s=_ASSERTS_S,
        ),
        (f"{test}\n\ncheck({name})\n",),
        literal_tests(test, name),
    )


def _mbpp(row: dict) -> Problem:
    asserts = _texts(row, "test_list")
    called = re.match(r"assert \(*(?:\w+\()*?(\w+)\(", asserts[0]) if asserts else None
    name = called[1] if called else "f"
    tests = literal_tests("\n".join(asserts), name)
    setup = row.get("test_setup_code") or ""
    return _of_asserts(
        Problem(
            id=f"mbpp/{row['task_id']}",
            statement=_text(row, "text") + "\n" + "\n".join(asserts),
            entry_point=name,
            solutions=(_text(row, "code"),),
            source="mbpp",
            time_limit_s=_ASSERTS_S,
        ),
        tuple(f"{setup}\n{line}\n" for line in asserts),
        tests,
    )


def _of_asserts(problem: Problem, checks: tuple[str, ...], literal: tuple[Test, ...] | None) -> Problem:
    """With tests of kind "call" where all asserts compare literals, else with Python tests."""
    if literal:
        return dataclasses.replace(problem, kind="call", private_tests=literal)
    return dataclasses.replace(problem, kind="check", private_tests=tuple(Test(check, "") for check in checks))


# The fields that tell a format, and its reader.
FORMATS: tuple[tuple[frozenset, Callable[[dict], Problem]], ...] = (
    (frozenset({"id", "statement", "public_tests_parsed", "tests", "solution"}), _codecontests),
    (frozenset({"id", "code", "input", "output"}), _cruxeval),
    (frozenset({"task_id", "prompt", "canonical_solution", "test", "entry_point"}), _humaneval),
    (frozenset({"task_id", "text", "code", "test_list"}), _mbpp),
    (frozenset({"id", "statement"}), _own),
)

NAMES = {
    "codecontests_mini": "codecontests_mini.jsonl",
    "cruxeval": "cruxeval.jsonl",
    "humaneval": "HumanEval.jsonl.gz",
    "mbpp": "mbpp.jsonl",
}


def data_dir(default: str = "../shared/data") -> Path:
    """Where real data is looked for: SELFEXEC_DATA, else `default`."""
    return Path(os.environ.get("SELFEXEC_DATA") or default)


def _rows(path: Path) -> Iterator[tuple[int, str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, line


def _read(line: str) -> Problem:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise KeyError(f"the whole row (not JSON: {error.msg})") from None
    if not isinstance(row, dict):
        raise KeyError("the whole row (not a JSON object)")
    for fields, reader in FORMATS:
        if fields <= set(row):
            return reader(row)
    raise KeyError("id, statement (or the fields of codecontests or cruxeval)")


def load_problems(name_or_path: str | Path, split: str | None = None) -> list[Problem]:
    """Problems of a named set or a jsonl file (.gz too); `split` keeps those whose tags hold it.

    A malformed row is left out with a warning that names the row and the field, and the number of rows
    left out is said at the end. A file that is missing or has no good row raises ProblemFileError.
    """
    path = Path(name_or_path)
    if str(name_or_path) in NAMES:
        path = data_dir() / NAMES[str(name_or_path)]
    if not path.is_file():
        raise ProblemFileError(f"{path}: no such problem file; give a path or one of {', '.join(NAMES)}")
    problems, bad = [], 0
    for number, line in _rows(path):
        try:
            problems.append(_read(line))
        except (KeyError, TypeError) as error:
            bad += 1
            log.warning("%s: row %d left out: bad field %s", path, number, str(error.args[0]))
    if bad:
        log.warning("%s: %d of %d rows left out", path, bad, bad + len(problems))
    if not problems:
        raise ProblemFileError(f"{path}: no row is a problem; see the fields in problems/datasets.py")
    return [p for p in problems if split is None or split in p.tags]


def save_problems(path: str | Path, problems: list[Problem]) -> None:
    """Writes our own jsonl, whole or not at all."""
    partial = Path(f"{path}.partial")
    with open(partial, "w", encoding="utf-8") as out:
        for problem in problems:
            out.write(json.dumps(dataclasses.asdict(problem)) + "\n")
    partial.replace(path)
