"""Further sources of fine-tuning data: files of other projects' examples, and sets of narrated runs.

A source is a row of `config.sft.sources`: (file or folder, share of the examples, format). A format is one reader.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from selfexec_jax.tasks import Messages, check_template, predict, user
from selfexec_jax.traces import Narration
from selfexec_jax.traces.dataset import read as read_shards

Pair = tuple[Messages, str]


def _openmath(row: dict, template: str, style: str) -> Pair:
    """A row of OpenMathReasoning (NVIDIA, 2025): a problem and one generated solution."""
    return user(row["problem"]), row["generated_solution"]


def _opencode(row: dict, template: str, style: str) -> Pair:
    """A row of OpenCodeReasoning (NVIDIA, 2025): a contest problem and an answer with its reasoning."""
    return user(row["input"]), row["output"]


def _narrated(row: dict, template: str, style: str) -> Pair:
    """A record of `tools.narrate`: a program and its run in the style of the config."""
    kind = "stdio" if row["call"] is None else "call"
    given = row["stdin"] if kind == "stdio" else row["call"]
    narration = Narration(row["narrations"][style], row["output"])
    return predict.render(row["source"], given, template, kind), predict.target(narration, template, kind, row["call"])


FORMATS: dict[str, Callable[[dict, str, str], Pair]] = {
    "openmath": _openmath,
    "opencode": _opencode,
    "narrated": _narrated,
}


def read(path: str | Path, form: str, template: str, style: str) -> Iterator[Pair]:
    """The questions of a source with the answers to learn.

    path: jsonl, jsonl.gz, or the folder that `tools.narrate` wrote. Raises ValueError for an unknown format and for a
    row of another one, naming file, row and field.
    """
    check_template(template)
    if form not in FORMATS:
        raise ValueError(f"sft.sources: unknown format {form!r}; choose from {', '.join(FORMATS)}")
    path = Path(path)
    for n, row in enumerate(_rows(path), 1):
        try:
            messages, answer = FORMATS[form](row, template, style)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: row {n}: no field {error} as the format {form} has it") from None
        if not isinstance(answer, str) or not all(isinstance(m["content"], str) for m in messages):
            raise ValueError(f"{path}: row {n}: its question or answer is no text (format {form})")
        yield messages, answer


def _rows(path: Path) -> Iterator[dict]:
    if path.is_dir():
        yield from read_shards(path)
        return
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
        for n, line in enumerate(file, 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                raise ValueError(f"{path}: row {n}: not JSON") from None
            yield row
