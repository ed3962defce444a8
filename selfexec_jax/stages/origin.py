"""Where a run's model comes from: random weights, another run, or a checkpoint of Hugging Face transformers."""

from __future__ import annotations

import dataclasses
import json
import posixpath
from pathlib import Path

import fsspec
from ml_collections import ConfigDict

from selfexec_jax.stages.workdir import TAKEN_HOME, Workdir, config_of
from selfexec_jax.text import SentencePieceTokenizer, Tokenizer, load_tokenizer


@dataclasses.dataclass(frozen=True)
class Origin:
    """runs: whose checkpoints come first, newest first; pretrained: the checkpoint folder they began with, or ""."""

    runs: tuple[Path, ...] = ()
    pretrained: str = ""


def origin_of(config) -> Origin:
    """What `init_from` names, and what that began with. Raises ValueError for neither a run nor a checkpoint."""
    runs: list[Path] = []
    folder = config.init_from
    while folder:
        found = _config_in(folder)
        if "model_type" in found:
            return Origin(tuple(runs), folder)
        if "stages" not in found:
            raise ValueError(
                f"init_from={folder}: neither a run nor a Hugging Face checkpoint (no config.json of either)"
            )
        if "://" in folder:
            raise ValueError(f"init_from={folder}: runs are read from disks; name the folder where that is mounted")
        runs.append(Path(folder))
        folder = found.get("init_from") or ""
    return Origin(tuple(runs))


def check_seed(config) -> None:
    """Raises ValueError where a run that this one begins with learned from the problems of another seed: which are held
    out depends on it, so that some of those here were learned from."""
    if config.eval.benchmark:
        return
    for run, found in runs_before(config).items():
        if found.seed != config.seed:
            raise ValueError(
                f"init_from={run}: learned from the problems of seed {found.seed}, of which some are held out with"
                f" seed={config.seed}; set seed={found.seed}"
            )


def runs_before(config) -> dict[str, ConfigDict]:
    """The configs of the runs that this one begins with, by their folders, the one that was taken home among them."""
    origin = origin_of(config)
    folders = [*map(str, origin.runs)]
    if origin.pretrained and _config_in(origin.pretrained, TAKEN_HOME):
        folders.append(origin.pretrained)
    return {folder: config_of(folder) for folder in folders}


def tokenizer_of(config, workdir: Workdir) -> Tokenizer:
    """The pretrained model's tokenizer, else that of the run that all began with, the run itself perhaps."""
    origin = origin_of(config)
    if origin.pretrained:
        return load_tokenizer(origin.pretrained)
    return SentencePieceTokenizer(Workdir(origin.runs[-1]).tokenizer if origin.runs else workdir.tokenizer)


def _config_in(folder: str, name: str = "config.json") -> dict:
    fs, path = fsspec.core.url_to_fs(posixpath.join(folder, name))
    try:
        found = json.loads(fs.cat_file(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
