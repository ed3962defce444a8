"""Narrated runs at scale: programs in, shards of narrations that check out, on all cores, resumable.

A shard is an ArrayRecord file, which grain reads at random places; its records are JSON objects with `id`, `source`,
`stdin` or `call`, `output`, `n_events` and `narrations` by style. Beside it lies what was counted and left out.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import hashlib
import itertools
import json
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

from selfexec_jax.problems import Problem
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.problems.mutate import more_inputs
from selfexec_jax.sandbox import Execution, Limits, Run, SandboxPool, TraceBudget
from selfexec_jax.traces.claims import check_claims, parse_claims
from selfexec_jax.traces.narrate import narrate, recorded_for
from selfexec_jax.traces.teacher import Teacher

_OTHER = "this folder holds another data set; name another one or remove it"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is made of programs; any change makes another data set."""

    styles: tuple[str, ...] = ("full",)
    inputs: int = 3  # known inputs of a program that are narrated
    mutated: int = 0  # new inputs of a call-style program, mutated from known ones
    asked: int = 0  # new inputs of a call-style program, from a teacher
    reworded: int = 0  # attempts of a teacher at a narration of style `full`, until one checks; 0 keeps our words
    teacher_model: str = ""  # who the teacher is
    solutions: int = 1  # programs of a problem
    per_shard: int = 500  # runs
    cpu_s: float = 2.0  # of CPU a run
    memory_mb: int = 512  # a run
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Job:
    """One run to narrate."""

    id: str
    source: str
    stdin: str | None
    call: str | None


def jobs_of(path: pathlib.Path, recipe: Recipe, ask: Callable | None = None) -> list[Job]:
    """The runs of a directory of programs (`NAME.py`, stdin in `NAME.in`), of a file of problems, or of a jsonl of
    programs: `source`, and `stdin` or `call`. ask: gives more inputs for (source, function, known ones, how many).
    Raises ValueError for a file that is none of these."""
    if path.is_dir():
        files = sorted(path.rglob("*.py"))
        return [Job(str(file.relative_to(path)), _text(file), _stdin_of(file), None) for file in files]
    row = None
    if path.suffix == ".jsonl":
        with open(path, encoding="utf-8") as file:
            row = _json(file.readline())
    if isinstance(row, dict) and "source" in row and row.keys() <= {"id", "source", "stdin", "call"}:
        return _jobs_of_rows(path)
    return [job for problem in load_problems(path) for job in _jobs_of_problem(problem, recipe, ask)]


def _jobs_of_rows(path: pathlib.Path) -> list[Job]:
    jobs = []
    for n, line in enumerate(_text(path).rstrip("\n").split("\n"), 1):
        row = _json(line)
        given = [row.get(name) for name in ("source", "stdin", "call")] if isinstance(row, dict) else [None]
        if not isinstance(given[0], str) or not all(isinstance(text, (str, type(None))) for text in given[1:]):
            raise ValueError(f"{path}:{n}: not an object with text `source`, and `stdin` or `call`")
        jobs.append(Job(str(row.get("id", n)), *given))
    return jobs


def _text(file: pathlib.Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8: {error}") from None


def _json(line: str):
    try:
        return json.loads(line)
    except ValueError:
        return None


def _stdin_of(program: pathlib.Path) -> str:
    file = program.with_suffix(".in")
    return _text(file) if file.exists() else ""


def _jobs_of_problem(problem: Problem, recipe: Recipe, ask: Callable | None) -> Iterator[Job]:
    known = list(dict.fromkeys(test.input for test in problem.public_tests + problem.private_tests))
    inputs = known[: recipe.inputs]
    if problem.kind == "check":
        return
    if problem.kind == "call":
        inputs = inputs + more_inputs(known, recipe.mutated, f"{recipe.seed}/{problem.id}")
    for n, source in enumerate(problem.solutions[: recipe.solutions]):
        if problem.kind == "call" and ask is not None and recipe.asked:
            inputs = list(dict.fromkeys([*inputs, *ask(source, problem.entry_point, known, recipe.asked)]))
        for i, text in enumerate(inputs):
            name = f"{problem.id}/{n}/{i}"
            if problem.kind == "call":
                yield Job(name, source, None, f"{problem.entry_point}({text})")
            else:
                yield Job(name, source, text, None)


def build(
    jobs: Sequence[Job], recipe: Recipe, out: pathlib.Path, workers: int, min_tier: str,
    tokens: Callable[[str], int] | None = None, teacher: Callable[[pathlib.Path], Teacher] | None = None,
) -> Iterator[tuple[int, int]]:  # fmt: skip
    """Writes the shards that are not there yet; yields (shards done, shards) as they come.

    tokens: counts those of a text; teacher: who words narrations, given a file for the answers so far; both are called
    in other processes, so they must pickle. Raises ValueError when `out` holds another data set, RuntimeError where the
    teacher does not answer. Can be interrupted at any time: a shard appears whole or not at all.
    """
    out.mkdir(parents=True, exist_ok=True)
    parts = _parts(jobs, recipe.per_shard)
    _claim(out, jobs, recipe, len(parts))
    names = [f"shard-{i:05d}-of-{len(parts):05d}" for i in range(len(parts))]
    left = [i for i, name in enumerate(names) if not (out / f"{name}.json").exists()]
    done = len(parts) - len(left)
    yield done, len(parts)
    if not left:
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(min(workers, len(left)), mp_context=context) as processes:
        futures = [
            processes.submit(_write_shard, parts[i], recipe, out / names[i], min_tier, tokens, teacher) for i in left
        ]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
                done += 1
                yield done, len(parts)
        finally:
            processes.shutdown(wait=True, cancel_futures=True)


def _parts(jobs: Sequence[Job], per_shard: int) -> list[list[Job]]:
    """Shards of about so many runs; the runs of a program stay together."""
    parts: list[list[Job]] = []
    for _, group in itertools.groupby(jobs, lambda job: job.source):
        if not parts or len(parts[-1]) >= per_shard:
            parts.append([])
        parts[-1] += group
    return parts


def summary(out: pathlib.Path) -> dict:
    """What the shards in a folder hold and what was left out, by reason."""
    total: dict = {"runs": 0, "rows": 0, "programs": 0, "events": 0}
    counters = {name: collections.Counter() for name in ("statuses", "left_out", "bytes", "tokens")}
    for file in sorted(out.glob("shard-*.json")):
        found = json.loads(file.read_text())
        for name in total:
            total[name] += found[name]
        for name, counter in counters.items():
            counter.update(found[name])
    return total | {name: dict(counter.most_common()) for name, counter in counters.items()}


def check_recipe(recipe: Recipe, out: pathlib.Path) -> None:
    """Raises ValueError where a folder holds what another recipe made."""
    file = out / "recipe.json"
    if file.exists() and json.loads(file.read_text()).get("recipe") != _as_json(recipe):
        raise ValueError(f"{file}: {_OTHER}")


def _as_json(recipe: Recipe) -> dict:
    return dataclasses.asdict(recipe) | {"styles": list(recipe.styles)}


def _claim(out: pathlib.Path, jobs: Sequence[Job], recipe: Recipe, n_shards: int) -> None:
    """Says in the folder what it holds; ValueError if that is something else."""
    digest = hashlib.sha256(json.dumps([dataclasses.astuple(job) for job in jobs]).encode()).hexdigest()
    mine = {"recipe": _as_json(recipe), "jobs": digest, "shards": n_shards}
    file = out / "recipe.json"
    if file.exists():
        if json.loads(file.read_text()) != mine:
            raise ValueError(f"{file}: {_OTHER}")
        return
    _write_whole(file, lambda place: place.write_text(json.dumps(mine, indent=1)))


def _write_whole(file: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    place = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        write(place)
        os.replace(place, file)
    finally:
        place.unlink(missing_ok=True)


def _write_shard(jobs: Sequence[Job], recipe: Recipe, stem: pathlib.Path, min_tier: str, tokens, teacher) -> None:
    kinds = sorted({recorded_for(style) for style in recipe.styles})
    limits = Limits(cpu_s=recipe.cpu_s, wall_s=max(10.0, 5 * recipe.cpu_s), memory_mb=recipe.memory_mb)
    with SandboxPool(workers=1, limits=limits, min_tier=min_tier) as pool:
        futures = [
            {kind: pool.submit(Run(job.source, job.stdin, job.call, TraceBudget(of=kind))) for kind in kinds}
            for job in jobs
        ]
        executions = [{kind: future.result() for kind, future in by_kind.items()} for by_kind in futures]
    results = [_row(job, by_kind, recipe.styles) for job, by_kind in zip(jobs, executions, strict=True)]
    answers = stem.with_suffix(".answers.jsonl")
    if recipe.reworded:
        _reword(results, executions, teacher(answers))
    rows = [row for row, _ in results if row is not None]
    lengths = {"bytes": lambda text: len(text.encode()), **({"tokens": tokens} if tokens else {})}
    counted = {"tokens": {}} | {
        name: {style: sum(length(row["narrations"][style]) for row in rows) for style in recipe.styles}
        for name, length in lengths.items()
    }
    statuses = collections.Counter(reason.partition(":")[0] for _, reason in results)
    left_out = collections.Counter(reason for row, reason in results if row is None)
    report = {
        "runs": len(jobs), "rows": len(rows), "programs": len({row["source"] for row in rows}),
        "events": sum(row["n_events"] for row in rows), "statuses": statuses, "left_out": left_out, **counted,
    }  # fmt: skip
    _write_whole(stem.with_suffix(".array_record"), lambda place: _write_records(place, rows))
    _write_whole(stem.with_suffix(".json"), lambda place: place.write_text(json.dumps(report, indent=1)))
    answers.unlink(missing_ok=True)


def _reword(results: list[tuple[dict | None, str]], executions: Sequence[dict[str, Execution]], teacher) -> None:
    """Puts the teacher's words in the rows, and takes those out whose words do not check."""
    told = [i for i, (row, _) in enumerate(results) if row is not None]
    texts = teacher.rewrite([executions[i][recorded_for("full")].trace for i in told])
    for i, found in zip(told, texts, strict=True):
        if found.text is None:
            results[i] = None, f"ok: the teacher's words do not check ({found.reason})"
        else:
            results[i][0]["narrations"]["full"] = found.text


def _row(job: Job, executions: dict[str, Execution], styles: Sequence[str]) -> tuple[dict | None, str]:
    """One record, or None and why there is none."""
    for execution in executions.values():
        if execution.status != "ok" or execution.trace is None:
            stop = execution.trace.stop if execution.trace is not None else None
            return None, execution.status + (f": {stop}" if stop else "")
    first = next(iter(executions.values()))
    output = first.stdout if job.call is None else first.value
    narrations = {}
    for style in styles:
        execution = executions[recorded_for(style)]
        try:
            told = narrate(execution.trace, style)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:  # it was tampered with
            return None, f"ok: its trace cannot be told ({type(error).__name__})"
        if told.output != output:
            return None, "ok: its output is not all in the trace"
        if style != "direct" and not check_claims(parse_claims(told.text, style), execution.trace, style).ok:
            return None, f"ok: its narration in style {style} does not check"
        narrations[style] = told.text
    return {
        "id": job.id, "source": job.source, "stdin": job.stdin, "call": job.call, "output": output,
        "n_events": len(first.trace.events), "narrations": narrations,
    }, "ok"  # fmt: skip


def _write_records(place: pathlib.Path, rows: list[dict]) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(place), "group_size:1")
    for row in rows:
        writer.write(json.dumps(row).encode())
    writer.close()


def read(out: pathlib.Path) -> Iterator[dict]:
    """The records of all shards in a folder, in order."""
    from array_record.python.array_record_module import ArrayRecordReader

    for file in sorted(out.glob("shard-*.array_record")):
        reader = ArrayRecordReader(str(file))
        for record in reader.read_all():
            yield json.loads(record)
        reader.close()
