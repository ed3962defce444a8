"""A trained model, ready to be asked, for tools that show people what it says."""

from __future__ import annotations

import dataclasses
import logging

import jax

from selfexec_jax.rollout import Engine
from selfexec_jax.self_execution import Asking
from selfexec_jax.stages import model as models
from selfexec_jax.stages.asking import asks_of
from selfexec_jax.stages.workdir import config_of
from selfexec_jax.text import Tokenizer


@dataclasses.dataclass(frozen=True)
class Asked:
    """A model of a run, or of a checkpoint folder, with the words and the style that it was trained on."""

    config: object
    engine: Engine
    tokenizer: Tokenizer

    def writing(self) -> Asking:
        """How it is asked for programs."""
        return asks_of(self.config)["solve"]

    def simulating(self) -> Asking:
        """How it is asked what a program does: for what it holds likeliest."""
        return dataclasses.replace(asks_of(self.config)["simulate"], temperature=0.0)


def opened(folder: str) -> Asked:
    """Loads the newest parameters of a run, or those of a checkpoint folder. Raises ValueError for neither."""
    for name in ("absl", "jax", "orbax"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if n := config_of(folder).mesh.cpu_devices:
        jax.config.update("jax_num_cpu_devices", n)
    loaded = models.trained(folder)
    with loaded.config.unlocked():  # little is asked, so compiling for many lengths would take most of the time
        engine = loaded.config.rollout
        engine.prompt_buckets = (engine.cache_length - loaded.config.eval.max_new_tokens,)
    return Asked(loaded.config, loaded.engine().load(loaded.params(loaded.last()), 0), loaded.tokenizer)
