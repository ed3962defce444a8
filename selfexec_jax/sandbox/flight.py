"""One run on its way: what the pool was asked, what it sends to the child, what has come back so far."""

from __future__ import annotations

import dataclasses
import fcntl
import marshal
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from selfexec_jax.sandbox.types import Execution, Limits, Run

if TYPE_CHECKING:
    from selfexec_jax.sandbox.keeper import Keeper

CROWDED = 2.0  # how much CPU time the same work may take while other programs share the caches and cores
_RESULT_SLACK_BYTES = 1 << 16


@dataclasses.dataclass(eq=False)
class Flight:
    """One run on its way, and what it has said so far; `done` is told how it ended."""

    id: int
    run: Run
    limits: Limits
    done: Callable[[Execution], None]
    attempts: int = 0  # how often it was lost to the infrastructure, and once more
    is_alone: bool = False  # no other run beside it: its CPU time is its own
    keeper: Keeper | None = None
    stdout_fd: int | None = None
    result_fd: int | None = None

    def begin(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.attempts += 1
        self.stdout, self.result = bytearray(), bytearray()
        self.seal = b"" if self.run.trace is None else os.urandom(16)  # a trace is the recorder's own
        self.killed = ""
        self.is_watched = False
        self.began = time.monotonic()
        self.deadline = self.began + self.limits.wall_s

    @property
    def cpu_s(self) -> float:
        """When to stop it; beside others CPU time counts for up to twice as much, so it gets that much."""
        return self.limits.cpu_s * (1 if self.is_alone else CROWDED)

    def stdin(self) -> bytes:
        return (self.run.stdin or "").encode("utf-8", "surrogatepass")

    def request(self) -> bytes:
        trace = None if self.run.trace is None else dataclasses.asdict(self.run.trace)
        fields = {"source": self.run.source, "call": self.run.call, "trace": trace, "seal": self.seal}
        if self.run.call is not None:
            fields["more_calls"] = self.run.more_calls
            fields["value_chars"] = self.limits.stdout_bytes
        return marshal.dumps(fields)

    def result_cap(self) -> int:
        """JSON escapes take up to six bytes for a byte of text."""
        text = self.limits.stdout_bytes + (2 * self.run.trace.bytes if self.run.trace else 0)
        return _RESULT_SLACK_BYTES + 6 * text


def file_of(content: bytes) -> int:
    """A descriptor that reads `content` and cannot be written."""
    if not content:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    data = memoryview(content)
    fd = os.memfd_create("input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return fd
