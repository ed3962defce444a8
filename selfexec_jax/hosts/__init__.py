"""The hosts of one run: who is there, what all of them say, and what becomes of the others when one is gone."""

from selfexec_jax.hosts.hosts import ALONE, EXIT_CODE, Hosts, Lost

__all__ = ["ALONE", "EXIT_CODE", "Hosts", "Lost"]
