"""Where a run's model comes from: random weights, another run, or a checkpoint of Hugging Face transformers."""

from __future__ import annotations

import dataclasses
import json
import posixpath
from pathlib import Path

import fsspec

from selfexec_jax.stages.workdir import TAKEN_HOME, Workdir
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
        runs.append(Path(folder))
        folder = found.get("init_from") or ""
    return Origin(tuple(runs))


def check_seed(config) -> None:
    """Raises ValueError where a run that this one begins with learned from the problems of another seed: which are held
    out depends on it, so that some of those here were learned from."""
    if config.eval.benchmark:
        return
    origin = origin_of(config)
    known = [(run, _config_in(str(run))) for run in origin.runs]
    if origin.pretrained:
        known.append((origin.pretrained, _config_in(origin.pretrained, TAKEN_HOME)))  # empty where no run was
    for run, found in known:
        seed = found.get("seed", config.seed)
        if seed != config.seed:
            raise ValueError(
                f"init_from={run}: learned from the problems of seed {seed}, of which some are held out with"
                f" seed={config.seed}; set seed={seed}"
            )


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
