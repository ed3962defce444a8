"""What the sandbox is asked to run and what it answers: plain frozen data, no behaviour."""

from __future__ import annotations

import dataclasses

from selfexec_jax.sandbox.events import Event


@dataclasses.dataclass(frozen=True)
class TraceBudget:
    """Hard bounds on one trace; the defaults are the paper's (section 3.1: 10,000 events, 1 MB)."""

    events: int = 10_000
    bytes: int = 1_000_000
    depth: int = 64  # call depth beyond which frames are no longer traced
    value_chars: int = 400  # longest literal that one value may take
    of: str = "steps"  # what is recorded: every operation ("steps"), the variables at every line ("lines"), or "both"

    def __post_init__(self):
        if self.of not in ("steps", "lines", "both"):
            raise ValueError(f"TraceBudget.of: {self.of!r} is not one of steps, lines, both")


@dataclasses.dataclass(frozen=True)
class Run:
    """One program to run: with `stdin` as a script, or with `call`, the source of one call expression.

    more_calls: further calls in the same process, one after the other until one does not return; the execution's
    `value` then has a line for each that did.
    """

    source: str
    stdin: str | None = None
    call: str | None = None
    trace: TraceBudget | None = None
    more_calls: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds on one run: seconds of CPU and wall time, MiB of memory, bytes of stdout."""

    cpu_s: float = 2.0
    wall_s: float = 10.0
    memory_mb: int = 512
    stdout_bytes: int = 1 << 20

    def __post_init__(self):
        for name in ("memory_mb", "stdout_bytes"):
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"Limits.{name}={getattr(self, name)!r} is no whole number")


@dataclasses.dataclass(frozen=True)
class Trace:
    """What happened, in order; `stop` names the budget that ended it early, or is None; `of` as in the budget."""

    source: str
    events: tuple[Event, ...]
    stop: str | None = None
    of: str = "steps"


@dataclasses.dataclass(frozen=True)
class Execution:
    """How one run ended.

    `status`: ok runtime_error syntax_error timeout memory_limit output_limit invalid_result
    trace_budget trace_tampered infra_error. `value` is the source of the literal that the call
    returned (call style). `error` is "Type: message" for an exception.
    """

    status: str
    stdout: str = ""
    value: str | None = None
    error: str | None = None
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_mb: float = 0.0
    tier: str = ""
    denied: bool = False
    trace: Trace | None = None
