"""What the later stages share: the tokenizer, the model, the mesh, trained parameters, the engine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from jax.sharding import Mesh

from selfexec_jax.model import hf
from selfexec_jax.model.sharding import make_mesh
from selfexec_jax.model.transformer import Transformer
from selfexec_jax.rollout import Engine
from selfexec_jax.stages.origin import Origin, origin_of, tokenizer_of
from selfexec_jax.stages.workdir import Workdir, config_of
from selfexec_jax.text import Tokenizer
from selfexec_jax.train.checkpoint import Checkpoints
from selfexec_jax.train.state import model_config, runtime_fields, with_longer_rope


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model ready to be trained or asked."""

    tokenizer: Tokenizer
    model: Transformer
    mesh: Mesh
    origin: Origin
    workdir: Workdir
    config: object

    def params(self, stage: str) -> dict:
        """The parameters that a training stage ended with, on the mesh (with `rl.keep` best: the best ones); without
        any, those that training began with."""
        directory = self._directory(stage)
        if directory is None:
            begins_there = not self.origin.runs or self.has("rl")  # also a run that did RL alone
            if self.origin.pretrained and stage == "sft" and begins_there:
                return self.pretrained()
            place = self.workdir.checkpoints / stage
            raise ValueError(f"{place}: no such checkpoint; run the {stage} stage or set config.init_from")
        with Checkpoints(directory, hosts=self.workdir.hosts) as checkpoints:
            return checkpoints.restore_params(hf.target_of(self.model, "float32", self.mesh))

    def has(self, stage: str) -> bool:
        return self._directory(stage) is not None

    def last(self) -> str:
        """The training stage whose parameters are the newest; "sft" also stands for those that training began with."""
        return "rl" if self.has("rl") else "sft"

    def pretrained(self) -> dict | None:
        """The parameters of the checkpoint that training starts from; None: random ones."""
        if not self.origin.pretrained:
            return None
        return hf.load_params(self.origin.pretrained, self.model, "float32", self.mesh, seed=self.config.seed)

    def engine(self) -> Engine:
        return Engine(self.model, self.tokenizer, **self.config.rollout)

    def _directory(self, stage: str) -> Path | None:
        names = ["rl_best", "rl"] if stage == "rl" and self.config.rl.keep == "best" else [stage]
        roots = [self.workdir, *map(Workdir, self.origin.runs)]
        found = (root.checkpoints / name for root in roots for name in names if root.has_checkpoints(name))
        return next(found, None)


def trained(folder: str) -> Loaded:
    """The model of a run, or of a checkpoint folder, on whatever devices there are.

    Raises ValueError for neither.
    """
    config = config_of(folder)
    with config.unlocked():
        config.init_from = folder
        # not those of the machine that trained
        config.mesh.fsdp = config.mesh.tensor = config.mesh.context = config.rollout.tensor = 1
    return load(config, Workdir(folder))


def load(config, workdir: Workdir) -> Loaded:
    """The run's model: of the config's shape, or of the checkpoint's that `init_from` names."""
    origin, tokenizer = origin_of(config), tokenizer_of(config, workdir)
    if origin.pretrained:
        shape = hf.load_config(origin.pretrained, **runtime_fields(config))
        shape = with_longer_rope(shape, config.model.rope_scale)
    else:
        shape = model_config(config, tokenizer.vocab_size)
    mesh = make_mesh(config.mesh.fsdp, config.mesh.tensor, config.mesh.context)
    return Loaded(tokenizer, Transformer(shape, mesh), mesh, origin, workdir, config)
