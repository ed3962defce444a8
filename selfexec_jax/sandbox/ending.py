"""How a run ended: its status from what the kernel and the pool saw, its value and trace from its own bytes."""

from __future__ import annotations

import dataclasses
import os
import signal

from selfexec_jax.sandbox import jail
from selfexec_jax.sandbox.flight import Flight
from selfexec_jax.sandbox.frames import read
from selfexec_jax.sandbox.types import Execution, Trace

_LOST_TO_SIGNALS = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS}
_CUT_SHORT = {"timeout", "memory_limit", "output_limit", "runtime_error"}  # a trace keeps its beginning


@dataclasses.dataclass
class End:
    """What a zygote reports of a child that ended: its wait status, seconds and peak KiB."""

    run: int
    wait_status: int
    cpu_s: float
    wall_s: float
    peak_kib: int


def execution_of(flight: Flight, end: End, tier: str, no_suicide: bool) -> Execution:
    """How a run ended, from its wait status, its usage and its bytes; `infra_error` asks for another try.

    no_suicide: programs cannot send themselves SIGKILL, so an unexplained one came from outside.
    """
    limits, call = flight.limits, flight.run.call is not None
    peak_mb = end.peak_kib / 1024
    code = os.waitstatus_to_exitcode(end.wait_status)
    said = read(flight.result[1:], flight.seal)
    frame = said.last
    value = error = trace = None
    denied = False
    if flight.killed == "output_limit":
        status, error = "output_limit", f"more than {limits.stdout_bytes} bytes on stdout"
    elif end.cpu_s > limits.cpu_s or (
        -code in (signal.SIGPROF, signal.SIGXCPU) and end.cpu_s > limits.cpu_s / 2
    ):
        status, error = "timeout", f"more than {limits.cpu_s:g} s of CPU time"
    elif flight.killed == "timeout":
        if end.wall_s < limits.wall_s / 2:
            status, error = "infra_error", "this machine was too busy to start the program"
        else:
            status, error = "timeout", f"more than {limits.wall_s:g} s of wall time"
    elif flight.killed == "invalid_result":
        status, error = "invalid_result", "the result is too long"
    elif not flight.result.startswith(jail.ARMED):
        status, error = "infra_error", "the program's process could not be locked up"
    elif code < 0:
        status, error = "runtime_error", f"killed by {_name_of(-code)}"
        denied = -code == signal.SIGSYS
        if -code == signal.SIGKILL and no_suicide:
            status = "memory_limit" if peak_mb > limits.memory_mb / 2 else "infra_error"
        elif -code in _LOST_TO_SIGNALS and peak_mb > 0.8 * limits.memory_mb:
            status = "memory_limit"
    elif frame is not None:
        status, value, error, denied, trace = frame
        if status == "ok" and call and value is None:
            status = "invalid_result"
    elif code == 0 and not call:
        status = "ok"  # a script may leave by os._exit; what it printed is what counts
    else:
        status, error = "runtime_error", f"ended with exit code {code} and no result"
    if flight.run.trace is None:
        trace = None
    elif said.is_forged or _is_tampered(len(said.events), trace, flight.run.trace.events):
        status, value, trace = "trace_tampered", None, None
    elif trace is not None or (said.events and status in _CUT_SHORT):
        stop = said.stop or (trace["stop"] if trace else status)
        trace = Trace(flight.run.source.removeprefix("\ufeff"), tuple(said.events), stop, flight.run.trace.of)
        if stop and status == "ok":
            status = "trace_budget"
    return Execution(
        status=status, stdout=flight.stdout.decode("utf-8", "replace"), value=value, error=error,
        cpu_s=end.cpu_s, wall_s=end.wall_s, peak_mb=peak_mb, tier=tier, denied=denied, trace=trace,
    )  # fmt: skip


def _is_tampered(n_events: int, end: dict | None, budget: int) -> bool:
    """Whether a trace, by its parts and what its last frame says, cannot be the recorder's."""
    return n_events > budget or (end is not None and (end["tampered"] or end["n_events"] != n_events))


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"
