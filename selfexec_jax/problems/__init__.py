"""What is to be solved, and whether it was."""

from selfexec_jax.problems.types import Problem, Test, Verdict

__all__ = ["Problem", "Test", "Verdict"]
