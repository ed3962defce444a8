"""Running programs nobody trusts: `SandboxPool` takes `Run`s and answers with `Execution`s."""

from selfexec_jax.sandbox.events import Event, Site
from selfexec_jax.sandbox.pool import SandboxPool
from selfexec_jax.sandbox.tiers import SandboxTooWeak
from selfexec_jax.sandbox.types import Execution, Limits, Run, Trace, TraceBudget

__all__ = ["Event", "Execution", "Limits", "Run", "SandboxPool", "SandboxTooWeak", "Site", "Trace", "TraceBudget"]
