"""Using the skill at inference: simulate, verify (best@k) and fix (Self-RLEF). Nothing here can execute."""

from selfexec_jax.self_execution.fix import Episode, Turn, fix
from selfexec_jax.self_execution.simulate import Asking, Invocation, Prediction, simulate
from selfexec_jax.self_execution.verify import Ranking, verify

__all__ = ["Asking", "Episode", "Invocation", "Prediction", "Ranking", "Turn", "fix", "simulate", "verify"]
