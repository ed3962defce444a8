"""Problems from files, rows of any format in formats: jsonl, JSON, either packed, and parquet, or folders of these.

A named benchmark is found in the folder of real data, else on the Hugging Face hub; see benchmarks.py.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import logging
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from selfexec_jax.problems.files import write_whole
from selfexec_jax.problems.formats import read_row
from selfexec_jax.problems.types import Problem

log = logging.getLogger(__name__)
_SUFFIXES = (".jsonl", ".json", ".parquet", ".jsonl.gz", ".json.gz")


class ProblemFileError(ValueError):
    """A problem file that cannot be used; one line naming the file and the mend."""


# Sets that are used by name alone.
NAMES = {
    "codecontests_mini": "codecontests_mini.jsonl",
    "cruxeval": "cruxeval.jsonl",
    "humaneval": "HumanEval.jsonl.gz",
    "mbpp": "mbpp.jsonl",
}


def data_dir(default: str = "../shared/data") -> Path:
    """Where real data is looked for: SELFEXEC_DATA, else `default`."""
    return Path(os.environ.get("SELFEXEC_DATA") or default)


def load_problems(name_or_path: str | Path, split: str | None = None) -> list[Problem]:
    """Problems of a named set, a file or a folder of files; `split` keeps those whose tags hold it.

    A malformed row is left out with a warning that names the row and the field, and the number of rows
    left out is said at the end. A file that is missing or has no good row raises ProblemFileError.
    """
    path = Path(name_or_path)
    if str(name_or_path) in NAMES:
        path = data_dir() / NAMES[str(name_or_path)]
    problems = [problem for file in files_of(path) for problem in _of_file(file)]
    return [p for p in problems if split is None or split in p.tags]


def files_of(path: Path) -> list[Path]:
    """The problem files that a path stands for: itself, or those in a folder."""
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file() and file.name.endswith(_SUFFIXES))
        if not found:
            raise ProblemFileError(f"{path}: no file in this folder ends in {', '.join(_SUFFIXES)}")
        return found
    if not path.is_file():
        raise ProblemFileError(f"{path}: no such problem file; give a path or one of {', '.join(NAMES)}")
    return [path]


def _of_file(path: Path) -> list[Problem]:
    problems, bad = [], 0
    for number, row in _rows(path):
        try:
            problems.append(read_row(json.loads(row) if isinstance(row, str) else row))
        except json.JSONDecodeError as error:
            bad += 1
            log.warning("%s: row %d left out: bad field the whole row (not JSON: %s)", path, number, error.msg)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, MemoryError) as error:
            bad += 1
            what = str(error.args[0]) if error.args else type(error).__name__
            printable = what.encode("unicode_escape").decode()  # a terminal obeys some
            log.warning("%s: row %d left out: bad field %s", path, number, printable)
    if bad:
        log.warning("%s: %d of %d rows left out", path, bad, bad + len(problems))
    if not problems:
        raise ProblemFileError(f"{path}: no row is a problem; see the fields in problems/formats")
    return problems


def _rows(path: Path) -> Iterator[tuple[int, str | dict]]:
    """Rows with their numbers: lines of jsonl as text, else objects."""
    if path.suffix == ".parquet":
        yield from enumerate(_parquet(path), 1)
        return
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            if path.name.removesuffix(".gz").endswith(".json"):
                rows = json.load(lines)
                yield from enumerate(rows if isinstance(rows, list) else [rows], 1)
                return
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line
    except (UnicodeDecodeError, gzip.BadGzipFile, zlib.error, EOFError, json.JSONDecodeError) as error:
        raise ProblemFileError(f"{path}: cannot be read: {error}") from None


def _parquet(path: Path) -> list[dict]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ProblemFileError(f"{path}: parquet needs the extra: pip install 'selfexec_jax[hf]'") from None
    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise ProblemFileError(f"{path}: cannot be read: {error}") from None


def save_problems(path: str | Path, problems: list[Problem]) -> None:
    """Writes our own jsonl, whole or not at all."""
    write_whole(path, "".join(json.dumps(dataclasses.asdict(problem)) + "\n" for problem in problems))
