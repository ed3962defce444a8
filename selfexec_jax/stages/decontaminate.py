"""Part of stage 1: which rows of further training data must not be trained on, since they hold evaluation problems."""

from __future__ import annotations

import collections
import dataclasses
import logging
from pathlib import Path

from selfexec_jax.problems import Problem
from selfexec_jax.problems.benchmarks import BENCHMARKS
from selfexec_jax.problems.datasets import data_dir, load_problems
from selfexec_jax.problems.decontaminate import Gate
from selfexec_jax.stages.progress import progress
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tasks import mixture

log = logging.getLogger(__name__)
FILE = "removed.jsonl.gz"


def decontaminate(config, workdir: Workdir) -> dict:
    """Writes data/removed.jsonl.gz: source, row, how it matches which problem of which set; returns the counts.

    Raises ValueError for a source that is an evaluation set, by its file or by half of its rows.
    """
    if not config.sft.sources:
        return {}
    sets = evaluation_sets(config)
    for path, _, _ in config.sft.sources:
        same = [name for name in sets if (_folder(config) / name).resolve() == Path(path).resolve()]
        if same or path in BENCHMARKS:
            raise ValueError(f"sft.sources: {path} is an evaluation set; take it out")
    if not sets:
        log.warning("no evaluation set at %s: nothing can be kept out of sft.sources", _folder(config))
    gate = Gate(sets, near=config.problems.near_duplicate)
    removed, counts = [], {}
    for path, _, form in config.sft.sources:
        pairs = list(mixture.read(path, form, config.tasks.template, config.tasks.style))
        found = []
        for row, (messages, answer) in enumerate(progress(pairs, f"comparing {path}"), 1):
            match = gate.match([*(message["content"] for message in messages), answer])
            if match is not None:
                found.append({"source": path, "row": row, **dataclasses.asdict(match)})
        if 2 * len(found) > len(pairs):
            name, n = collections.Counter(row["set"] for row in found).most_common(1)[0]
            raise ValueError(f"sft.sources: {path} is made of evaluation problems ({n} of {len(pairs)} rows: {name})")
        hows = collections.Counter(row["how"] for row in found)
        counts[path] = {"rows": len(pairs), "removed": len(found), **hows}
        removed += found
    workdir.write_rows(workdir.data / FILE, removed)
    return counts


def removed_rows(workdir: Workdir) -> set[tuple[str, int]]:
    """(source, row) of what must not be trained on."""
    file = workdir.data / FILE
    return {(row["source"], row["row"]) for row in workdir.read_rows(file)} if file.exists() else set()


def evaluation_sets(config) -> dict[str, list[Problem]]:
    """The evaluation problems that are at hand, by the name of their file or folder."""
    return {name: load_problems(_folder(config) / name) for name in at_hand(config)}


def at_hand(config) -> list[str]:
    """Which of the files and folders of evaluation problems there are."""
    return [name for name in names_kept_out(config) if (_folder(config) / name).exists()]


def names_kept_out(config) -> list[str]:
    """Files and folders of evaluation problems, in the folder of real data."""
    return list(dict.fromkeys([*(benchmark.file for benchmark in BENCHMARKS.values()), *config.problems.keep_out]))


def _folder(config) -> Path:
    return data_dir(config.problems.real_data)
