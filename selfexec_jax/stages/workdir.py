"""A run directory: what lies where, what is done, and the metrics of every step."""

from __future__ import annotations

import gzip
import json
import os
import posixpath
from collections.abc import Iterable
from pathlib import Path

import fsspec
from etils import epath
from ml_collections import ConfigDict

from selfexec_jax.configs import base
from selfexec_jax.hosts import ALONE, Hosts

# Fields that a run may be resumed with others of: which stages, and on what machines.
_FREE = ("stages", "wandb", "hosts.", "mesh.", "plan.", "sandbox.workers")


TAKEN_HOME = "run.json"  # the run's config, in a folder of Hugging Face that was made of it


class WorkdirError(ValueError):
    """A run directory that cannot be used; one line with the mend."""


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, f"{error.strerror}; nothing of it was written", str(path)) from None


class Workdir:
    """The paths of a run and small readers and writers for them; of several hosts, the first one writes."""

    def __init__(self, root: str | Path, hosts: Hosts = ALONE):
        self.root, self.hosts = Path(root), hosts
        self.data = self.root / "data"
        self.tokenizer = self.data / "tokenizer.model"

    @property
    def checkpoints(self) -> epath.Path:
        """Where the run's config says, else in its directory."""
        path = self.root / "config.json"
        elsewhere = json.loads(path.read_text()).get("checkpoints") if path.exists() else ""
        return epath.Path(elsewhere or self.root / "checkpoints")

    def has_checkpoints(self, name: str) -> bool:
        """Whether there are any of a training stage."""
        directory = self.checkpoints / name
        return directory.is_dir() and any(directory.iterdir())

    def open(self, config: ConfigDict) -> None:
        """Makes the directory or checks that it belongs to this config (but for fields that are free).

        Raises WorkdirError; also where hosts were given different configs, or do not see the same directory.
        """
        path = self.root / "config.json"
        now = json.loads(config.to_json_best_effort())
        for i, theirs in enumerate(self.hosts.gather("config", now)):
            for key in _differences(theirs, now):
                raise WorkdirError(f"host {i} and host {self.hosts.index} have different {key}; give all the same")
        if self.hosts.is_first:
            self._open(path, now)
        (written, *_) = self.hosts.gather("opened", path.read_text() if self.hosts.is_first else "")
        if not path.exists() or path.read_text() != written:
            raise WorkdirError(
                f"{self.root}: host {self.hosts.index} does not see there what host 0 wrote; give a --workdir that all"
                " hosts share (launch/tpu.sh mounts a bucket)"
            )

    def _open(self, path: Path, now: dict) -> None:
        if path.exists():
            for key in _differences(json.loads(path.read_text()), now):
                if not key.startswith(_FREE):
                    raise WorkdirError(
                        f"{self.root}: holds a run with another {key}; give another --workdir or the same config"
                    )
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(now, indent=1).encode())
        except OSError as error:
            raise WorkdirError(f"{self.root}: cannot be written ({error.strerror}); give another --workdir") from None

    def write_json(self, path: Path, value: dict) -> None:
        if self.hosts.is_first:
            write_whole(path, json.dumps(value, indent=1).encode())

    def is_done(self, stage: str) -> bool:
        return (self.root / "done" / f"{stage}.json").exists()

    def mark_done(self, stage: str, facts: dict) -> None:
        self.write_json(self.root / "done" / f"{stage}.json", facts)

    def unmark(self, stages: Iterable[str]) -> None:
        if self.hosts.is_first:
            for stage in stages:
                (self.root / "done" / f"{stage}.json").unlink(missing_ok=True)

    def facts(self, stage: str) -> dict:
        """What a finished stage wrote down about itself; empty for one that did not run."""
        path = self.root / "done" / f"{stage}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def write_rows(self, path: Path, rows: Iterable[dict]) -> None:
        """Rows as gzipped jsonl, whole or not at all; the same rows give the same bytes."""
        if not self.hosts.is_first:
            return
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_whole(path, gzip.compress(text.encode(), compresslevel=3, mtime=0))

    def values(self) -> dict[str, dict[str, float]]:
        """Every figure of an evaluation by problem (held-out ones and unseen compositions), outputs by case; nothing
        where none was made."""
        found = {}
        for path in (self.data / f"{name}.jsonl.gz" for name in ("values", "case_values")):
            for row in self.read_rows(path) if path.exists() else ():
                pairs = zip(row["ids"], row["values"], strict=True)
                found[row["name"]] = {i: v for i, v in pairs if v is not None}
        return found

    def read_rows(self, path: Path) -> list[dict]:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]


def config_of(folder: str) -> ConfigDict:
    """The config of a run, also of one that was taken home; the base config for a folder that holds none."""
    config = base.get_config()
    for name in ("config.json", TAKEN_HOME):
        fs, path = fsspec.core.url_to_fs(posixpath.join(folder, name))
        found = json.loads(fs.cat_file(path)) if fs.isfile(path) else {}
        if "stages" in found:
            with config.unlocked():
                config.update(found)
            break
    return config


def _differences(a: dict, b: dict, prefix: str = "") -> list[str]:
    found = []
    for key in sorted(set(a) | set(b)):
        if isinstance(a.get(key), dict) and isinstance(b.get(key), dict):
            found += _differences(a[key], b[key], f"{prefix}{key}.")
        elif a.get(key) != b.get(key):
            found.append(f"{prefix}{key}")
    return found
