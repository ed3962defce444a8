"""A parent for the process of one host of several.

JAX ends a process at once, without a word of ours, when the one with its coordinator is gone. The parent starts no JAX:
it says what happened and gives the exit code of a run that goes on when it is started again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

from selfexec_jax.hosts.hosts import EXIT_CODE

_MARK = "SELFEXEC_SUPERVISED"
_PR_SET_PDEATHSIG = 1


def is_supervised() -> bool:
    return _MARK in os.environ


@contextlib.contextmanager
def handing_on(child: subprocess.Popen) -> Iterator[None]:
    """While in it, who asks this process to end, by SIGTERM, asks the child."""
    before = signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def supervise(command: list[str], index: int) -> int:
    """Runs a command, that of host `index`, as a child that does not outlive this process; returns its exit code."""
    libc = ctypes.CDLL(None)
    child = subprocess.Popen(
        command, env=os.environ | {_MARK: "1"}, preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the child as well
    with handing_on(child):
        code = child.wait()
    if code == -signal.SIGABRT and index:
        sys.stderr.write("host 0 is gone, and with it JAX's coordinator; the same command on all hosts goes on\n")
        return EXIT_CODE
    if code == -signal.SIGTERM:  # before it listened
        return EXIT_CODE
    if code < 0:
        sys.stderr.write(f"this host's process was ended by {signal.Signals(-code).name}\n")
        return 128 - code
    return code
