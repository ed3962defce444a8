"""Answers to benchmark questions in files: our jsonl, EvalPlus's and LiveCodeBench's custom output, read and written.

| format | a row |
|---|---|
| own (jsonl) | `problem`, `text`, optional `model`, `n_tokens` and `finish_reason` |
| evalplus (jsonl) | `task_id`, and `solution` or `completion` (what follows the code of the prompt, if it has some) |
| livecodebench (JSON) | `question_id` or `id`, and `code_list` or `pred_list`; `test_id` where there are several |
| cruxeval (JSON) | an object: `sample_I` -> a list of answers |
"""

from __future__ import annotations

import collections
import dataclasses
import gzip
import json
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from selfexec_jax.problems import syntax
from selfexec_jax.problems.datasets import ProblemFileError
from selfexec_jax.problems.files import write_whole
from selfexec_jax.problems.types import Problem


@dataclasses.dataclass(frozen=True)
class Sample:
    """One answer to a problem: a program, or the source of an output or an input.

    n_tokens: what it cost, if known. finish_reason: "stop", or "length" where a limit of tokens cut it off.
    """

    problem: str
    text: str
    model: str = ""
    n_tokens: int | None = None
    finish_reason: str = "stop"


def read_samples(path: str | Path, problems: Sequence[Problem]) -> list[Sample]:
    """The samples of a file in any of the formats; ProblemFileError names the row and the field that is bad."""
    path = Path(path)
    prompts = {problem.id: "" if problem.kind == "stdio" else problem.statement for problem in problems}
    samples = []
    for number, row in _rows(path):
        try:
            samples += _samples(row, prompts)
        except (KeyError, TypeError, AttributeError) as error:
            raise ProblemFileError(f"{path}: row {number}: {error.args[0]}; see problems/samples.py") from None
    unknown = next((sample.problem for sample in samples if sample.problem not in prompts), None)
    if unknown is not None:
        raise ProblemFileError(f"{path}: a sample of {unknown!r}, which is no problem of this benchmark")
    if not samples:
        raise ProblemFileError(f"{path}: no samples")
    return samples


def _rows(path: Path) -> Iterator[tuple[int, object]]:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode("utf-8")
        if path.name.removesuffix(".gz").endswith(".jsonl"):
            for number, line in enumerate(text.split("\n"), 1):
                if line.strip():
                    yield number, _json(path, number, line)
            return
    except (OSError, UnicodeDecodeError, zlib.error, EOFError) as error:
        raise ProblemFileError(f"{path}: cannot be read: {error}") from None
    whole = _json(path, 1, text)
    if isinstance(whole, dict) and not whole.keys() & {"task_id", "question_id", "problem"}:
        yield from enumerate(({"problem": name, "texts": texts} for name, texts in whole.items()), 1)
    else:
        yield from enumerate(whole if isinstance(whole, list) else [whole], 1)


def _json(path: Path, number: int, text: str):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProblemFileError(f"{path}: row {number}: not JSON ({error})") from None


def _samples(row: object, prompts: dict[str, str]) -> list[Sample]:
    if not isinstance(row, dict):
        raise KeyError("not a JSON object")
    if "task_id" in row:
        name = _text(row, "task_id")
        text = row["solution"] if "solution" in row else _completed(prompts.get(name, ""), _text(row, "completion"))
        return [Sample(name, _checked(text, "solution"))]
    if "code_list" in row or "pred_list" in row:
        name = row["question_id"] if "question_id" in row else row["id"]
        name = f"{name}-{row['test_id']}" if "test_id" in row else str(name)
        return [Sample(name, _checked(text, "code_list")) for text in row.get("code_list", row.get("pred_list"))]
    if "texts" in row:
        return [Sample(row["problem"], _checked(text, row["problem"])) for text in row["texts"]]
    reason = _checked(row.get("finish_reason") or "stop", "finish_reason")
    model, n_tokens = _checked(row.get("model") or "", "model"), row.get("n_tokens")
    if n_tokens is not None and type(n_tokens) is not int:
        raise KeyError("n_tokens (a whole number)")
    return [Sample(_text(row, "problem"), _text(row, "text"), model, n_tokens, reason)]


def _completed(prompt: str, completion: str) -> str:
    """A program that goes on with its prompt, where that is code and no prose."""
    try:
        with warnings.catch_warnings(action="ignore"):
            syntax.parse(prompt + completion)
    except syntax.UNREADABLE:
        return completion
    return prompt + completion


def _text(row: dict, field: str) -> str:
    return _checked(row.get(field), field)


def _checked(text: object, field: str) -> str:
    if not isinstance(text, str):
        raise KeyError(f"{field} (text)")
    return text


def write_samples(path: str | Path, samples: Iterable[Sample], form: str = "own") -> None:
    """Writes samples in a format: own, evalplus or livecodebench; whole or not at all. ValueError for another."""
    if form == "own":
        text = "".join(json.dumps(dataclasses.asdict(sample)) + "\n" for sample in samples)
    elif form == "evalplus":
        rows = ({"task_id": sample.problem, "solution": sample.text} for sample in samples)
        text = "".join(json.dumps(row) + "\n" for row in rows)
    elif form == "livecodebench":
        by_problem: dict[str, list[str]] = collections.defaultdict(list)
        for sample in samples:
            by_problem[sample.problem].append(sample.text)
        text = json.dumps([{"question_id": name, "code_list": texts} for name, texts in sorted(by_problem.items())])
    else:
        raise ValueError(f"format {form!r}; choose from own, evalplus, livecodebench")
    write_whole(path, text)
