"""The decoder."""

from selfexec_jax.model.config import ModelConfig
from selfexec_jax.model.transformer import Transformer

__all__ = ["ModelConfig", "Transformer"]
