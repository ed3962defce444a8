"""Sampling answers from a model, many at a time."""

from selfexec_jax.rollout.engine import Engine
from selfexec_jax.rollout.types import Request, Sample

__all__ = ["Engine", "Request", "Sample"]
