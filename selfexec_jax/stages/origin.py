"""Where a run's model comes from: random weights, another run, or a checkpoint of Hugging Face transformers."""

from __future__ import annotations

import dataclasses
import json
import posixpath
from pathlib import Path

import fsspec

from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.text import SentencePieceTokenizer, Tokenizer, load_tokenizer


@dataclasses.dataclass(frozen=True)
class Origin:
    """run: directory of the run whose checkpoints come first, None for none; pretrained: checkpoint folder or ""."""

    run: Path | None = None
    pretrained: str = ""


def origin_of(config) -> Origin:
    """What `init_from` names. Raises ValueError where it is neither a run nor a checkpoint."""
    if not config.init_from:
        return Origin()
    found = _config_in(config.init_from)
    if "model_type" in found:
        return Origin(pretrained=config.init_from)
    if "stages" not in found:
        raise ValueError(
            f"init_from={config.init_from}: neither a run nor a Hugging Face checkpoint (no config.json of either)"
        )
    before = found.get("init_from") or ""
    is_pretrained = before and "model_type" in _config_in(before)
    return Origin(Path(config.init_from), before if is_pretrained else "")


def tokenizer_of(config, workdir: Workdir) -> Tokenizer:
    """The pretrained model's tokenizer, else that of the run named by `init_from`, else the run's own."""
    origin = origin_of(config)
    if origin.pretrained:
        return load_tokenizer(origin.pretrained)
    return SentencePieceTokenizer(Workdir(origin.run).tokenizer if origin.run else workdir.tokenizer)


def _config_in(folder: str) -> dict:
    fs, path = fsspec.core.url_to_fs(posixpath.join(folder, "config.json"))
    try:
        found = json.loads(fs.cat_file(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
