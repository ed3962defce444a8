"""Runs that share the stages which their configs have in common.

A stage's folder is named after all that it depends on, so two runs that agree up to SFT, say, have one SFT folder, and
a folder that is finished is never made again. Each holds the whole run up to its stage.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from selfexec_jax.stages.workdir import Workdir

# What each stage reads of a config beside what the stages before it read.
READS = {
    "problems": ("seed", "init_from", "problems", "sandbox", "tasks", "text", "sft.narrated_tests",
                 "sft.narrated_size", "sft.left_to_rl", "sft.mix.propose", "sft.sources"),
    "sft": ("model", "mesh", "sft"),
    "rl": ("rl", "rollout"),
    "eval": ("belief", "eval"),
}  # fmt: skip


def folder_of(root: Path, config: ConfigDict, stage: str) -> Path:
    """Where the run of a config up to a stage lies."""
    read = []
    for name, fields in READS.items():
        read += [f"{field}={_field(config, field)}" for field in fields]
        if name == stage:
            break
    return root / "stages" / f"{stage}-{hashlib.blake2b(' '.join(read).encode(), digest_size=6).hexdigest()}"


def prepare(root: Path, config: ConfigDict, stage: str) -> Path:
    """The folder of a stage, with the stages before it in it; those must be done. Whole or not at all."""
    folder = folder_of(root, config, stage)
    names = list(READS)
    before = folder_of(root, config, names[names.index(stage) - 1]) if stage != names[0] else None
    if folder.exists():
        if not Workdir(folder).is_done(stage):  # another row may have begun it, whose later fields differ
            (folder / "config.json").unlink(missing_ok=True)
        return folder
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    if before is None:
        partial.mkdir(parents=True)
    else:
        # Checkpoints are written once, so they are linked; other files grow.
        left = shutil.ignore_patterns("config.json", "*.log", "checkpoints")
        shutil.copytree(before, partial, ignore=left)
        if (before / "checkpoints").is_dir():
            shutil.copytree(before / "checkpoints", partial / "checkpoints", copy_function=os.link)
    partial.rename(folder)
    return folder


@contextlib.contextmanager
def alone(root: Path, config: ConfigDict, stage: str) -> Iterator[None]:
    """Hold a stage while it is made: another process that wants the same one waits, and finds it done."""
    path = root / "locks" / folder_of(root, config, stage).name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_done(root: Path, config: ConfigDict, stage: str) -> bool:
    return Workdir(folder_of(root, config, stage)).is_done(stage)


def _field(config: ConfigDict, field: str) -> str:
    value = config
    for part in field.split("."):
        value = value[part]
    return json.dumps(value.to_dict(), sort_keys=True) if isinstance(value, ConfigDict) else json.dumps(value)
