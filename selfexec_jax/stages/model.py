"""What the later stages share: the tokenizer, the model, the mesh, trained parameters, the engine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from jax.sharding import Mesh

from selfexec_jax.model.sharding import make_mesh
from selfexec_jax.model.transformer import Transformer
from selfexec_jax.rollout import Engine
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.text import SentencePieceTokenizer
from selfexec_jax.train import sft
from selfexec_jax.train.checkpoint import Checkpoints
from selfexec_jax.train.state import abstract_state, model_config


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model ready to be trained or asked."""

    tokenizer: SentencePieceTokenizer
    model: Transformer
    mesh: Mesh
    workdir: Workdir
    config: object

    def params(self, stage: str) -> dict:
        """The final parameters of a training stage, laid out on the mesh."""
        directory = Path(self.config.init_from or self.workdir.root) / "checkpoints" / stage
        if not directory.is_dir():
            raise ValueError(f"{directory}: no such checkpoint; run the {stage} stage or set config.init_from")
        _, _, target = abstract_state(self.model, sft.make_optimizer(self.config.sft), self.config.seed, self.mesh)
        with Checkpoints(directory) as checkpoints:
            return checkpoints.restore_params(target.params)

    def has(self, stage: str) -> bool:
        return (Path(self.config.init_from or self.workdir.root) / "checkpoints" / stage).is_dir()

    def engine(self) -> Engine:
        return Engine(self.model, self.tokenizer, **self.config.rollout)


def load(config, workdir: Workdir) -> Loaded:
    """The run's own tokenizer, or that of `init_from`, with a model of the config's shape."""
    path = Path(config.init_from) / "data" / "tokenizer.model" if config.init_from else workdir.tokenizer
    tokenizer = SentencePieceTokenizer(path)
    mesh = make_mesh(config.mesh.fsdp, config.mesh.tensor)
    return Loaded(tokenizer, Transformer(model_config(config, tokenizer.vocab_size)), mesh, workdir, config)
