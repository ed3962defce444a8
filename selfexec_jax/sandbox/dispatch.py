"""Dispatch: hands runs to zygotes, drains what comes back under caps, kills at deadlines.

A broker's single thread drives it by `turn`. Expected answers are not known here.
"""

from __future__ import annotations

import collections
import contextlib
import json
import math
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable

from selfexec_jax.sandbox import jail
from selfexec_jax.sandbox.ending import End, execution_of
from selfexec_jax.sandbox.flight import Flight, file_of
from selfexec_jax.sandbox.keeper import Keeper
from selfexec_jax.sandbox.types import Execution, Limits, Run

_FLIGHTS_PER_WORKER = 2  # hides the hand-over between runs; CPU time is what a program is judged by
_ATTEMPTS = 4
_FAILED_STARTS = 3
_START_S = 60.0
_KILL_GRACE_S = 10.0
_CHUNK = 1 << 16  # what a pipe holds
_UNWATCHED_S = 0.01  # most runs end sooner, and are read once when they have


class Dispatcher:
    """The zygotes of one broker and the runs on their way through them.

    masked: mechanisms to leave out, comma-separated, for tests. `selector` is shared with its owner: what
    is registered there carries a function to call.
    """

    def __init__(self, workers: int, masked: str = ""):
        self.tier = ""
        self.broken = ""  # why no zygote starts
        self.mechanisms: dict | None = None  # what the first zygote could apply; later ones must match
        self.selector = selectors.DefaultSelector()
        self._workers = workers
        self._masked = masked
        self._waiting: collections.deque[Flight] = collections.deque()
        self._to_repeat: collections.deque[Flight] = collections.deque()  # each of them alone
        self._is_repeating = False
        self._flights: dict[int, Flight] = {}
        self._unwatched: collections.deque[Flight] = collections.deque()
        self._zygotes: list[Keeper] = []
        self._next_id = 0
        self._failed_starts = 0

    def add(self, run: Run, limits: Limits, done: Callable[[Execution], None]) -> None:
        """Queue one run; `done` is called within some later `turn`."""
        self._next_id += 1
        self._waiting.append(Flight(self._next_id, run, limits, done))

    @property
    def is_busy(self) -> bool:
        """Whether any run is on its way or waits."""
        return bool(self._flights or self._waiting or self._to_repeat)

    def turn(self, longest_s: float) -> None:
        """Start what can start, wait for something to happen, deal with it."""
        self._dispatch()
        for key, _ in self.selector.select(min(longest_s, self._next_deadline())):
            if key.fileobj in self.selector.get_map():  # an earlier event may have closed it
                key.data()
        self._watch()
        self._enforce_deadlines()

    def close(self) -> None:
        """Kill every program and zygote; runs that have not ended become `infra_error`."""
        self.broken = self.broken or "the pool was closed"
        for keeper in self._zygotes:
            keeper.hang_up()
        for keeper in self._zygotes:
            keeper.end()
        for flight in [*self._flights.values(), *self._to_repeat, *self._waiting]:
            self._release(flight)
            flight.done(Execution("infra_error", error=self.broken, tier=self.tier))
        self.selector.close()

    def _dispatch(self) -> None:
        while not self.broken and len(self._zygotes) < self._workers:
            try:
                keeper = Keeper(self._masked)
            except OSError as error:
                self._failed_start(str(error))
                continue
            self._zygotes.append(keeper)
            self.selector.register(keeper.control, selectors.EVENT_READ, lambda k=keeper: self._on_control(k))
        while self.broken and (self._waiting or self._to_repeat):
            flight = (self._waiting or self._to_repeat).popleft()
            flight.done(Execution("infra_error", error=self.broken, tier=self.tier))
        if self._to_repeat:
            keeper = self._idlest()
            if keeper is not None and not self._flights:
                self._is_repeating = True
                self._launch(self._to_repeat.popleft(), keeper)
            return
        if self._is_repeating and self._flights:
            return
        self._is_repeating = False
        while self._waiting and len(self._flights) < _FLIGHTS_PER_WORKER * len(self._zygotes):
            keeper = self._idlest()
            if keeper is None or len(keeper.running) >= _FLIGHTS_PER_WORKER:
                return
            self._launch(self._waiting.popleft(), keeper)

    def _idlest(self) -> Keeper | None:
        ready = [keeper for keeper in self._zygotes if keeper.found is not None]
        return min(ready, key=lambda keeper: len(keeper.running), default=None)

    def _launch(self, flight: Flight, keeper: Keeper) -> None:
        flight.begin(keeper)
        theirs: list[int] = []
        try:
            theirs.append(file_of(flight.stdin()))
            flight.stdout_fd, write_end = os.pipe()
            theirs.append(write_end)
            flight.result_fd, write_end = _channel()
            theirs.append(write_end)
            theirs.append(file_of(flight.request()))
            os.set_blocking(flight.stdout_fd, False)
            os.set_blocking(flight.result_fd, False)
            order = jail.ORDER.pack(jail.RUN, flight.id, flight.cpu_s, flight.limits.memory_mb << 20)
            self._flights[flight.id] = keeper.running[flight.id] = flight
            self._unwatched.append(flight)
            try:
                socket.send_fds(keeper.control, [order], theirs)
            except OSError:  # it just died: nothing more may be sent there
                self._bury(keeper)
        except OSError as error:  # out of descriptors
            self._retry(flight, f"could not start: {error}")
        finally:
            for fd in theirs:
                os.close(fd)

    def _watch(self) -> None:
        """Begin to drain what has been running for a while: a full pipe would hold it up."""
        before = time.monotonic() - _UNWATCHED_S
        while self._unwatched and self._unwatched[0].began <= before:
            flight = self._unwatched.popleft()
            if self._flights.get(flight.id) is not flight or flight.is_watched:
                continue
            flight.is_watched = True
            for fd, on_data in ((flight.stdout_fd, self._on_stdout), (flight.result_fd, self._on_result)):
                self.selector.register(fd, selectors.EVENT_READ, lambda f=flight, read=on_data: read(f))

    def _on_control(self, keeper: Keeper) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(keeper.control, 1 << 16, 1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._bury(keeper)
            return
        keeper.inbox += data
        if keeper.found is None and b"\n" in keeper.inbox:
            hello, _, keeper.inbox = keeper.inbox.partition(b"\n")
            keeper.found = json.loads(hello)
            keeper.process.stderr.close()
            if self.mechanisms is None:
                self.mechanisms = keeper.found
            if keeper.found != self.mechanisms:
                self._bury(keeper, "a new zygote is weaker than the first")
                return
            self._failed_starts = 0
        while keeper.found is not None and len(keeper.inbox) >= jail.REPORT.size:
            record, keeper.inbox = keeper.inbox[: jail.REPORT.size], keeper.inbox[jail.REPORT.size :]
            kind, *fields = jail.REPORT.unpack(record)
            end = End(*fields)
            flight = keeper.running.get(end.run)
            if kind == jail.ENDED and flight is not None:
                self._on_ended(flight, end)
            elif kind == jail.STILL_RUNS and flight is not None:
                self._on_still_running(flight, end, fds)
        for fd in fds:
            os.close(fd)

    def _bury(self, keeper: Keeper, why: str = "") -> None:
        """A zygote is gone: its runs go back to the queue, and `_dispatch` starts another."""
        self.selector.unregister(keeper.control)
        self._zygotes.remove(keeper)
        last_words = keeper.end()
        if keeper.found is None or why:
            self._failed_start(why or last_words)
        for flight in list(keeper.running.values()):
            self._retry(flight, "its zygote died")

    def _failed_start(self, why: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _FAILED_STARTS:
            self.broken = (
                f"the sandbox did not start: {_FAILED_STARTS} zygotes in a row failed, "
                f"the last one with: {why or 'no word'}"
            )

    def _on_stdout(self, flight: Flight) -> bool:
        return self._read(flight, "stdout_fd", flight.stdout, flight.limits.stdout_bytes, "output_limit")

    def _on_result(self, flight: Flight) -> bool:
        return self._read(flight, "result_fd", flight.result, flight.result_cap(), "invalid_result")

    def _read(self, flight: Flight, name: str, into: bytearray, cap: int, excess: str) -> bool:
        """Read what is there, once; whether there may be more. Beyond `cap` reading ends, and so does the run."""
        try:
            data = os.read(getattr(flight, name), _CHUNK)
        except BlockingIOError:
            return False
        into += data
        if data and len(into) <= cap:
            return len(data) == _CHUNK
        if data:
            del into[cap:]
            if not flight.killed:
                self._kill(flight, excess)
        self._close(flight, name)
        return False

    def _close(self, flight: Flight, name: str) -> None:
        fd = getattr(flight, name)
        if fd is not None:
            if flight.is_watched:
                self.selector.unregister(fd)
            os.close(fd)
            setattr(flight, name, None)

    def _kill(self, flight: Flight, why: str) -> None:
        """Ask the zygote for a hold on the process: only its parent can tell that the pid is still its own."""
        flight.killed = why
        flight.deadline = time.monotonic() + _KILL_GRACE_S
        with contextlib.suppress(OSError):
            flight.keeper.control.sendall(jail.ORDER.pack(jail.HOLD, flight.id, 0, 0))

    def _on_still_running(self, flight: Flight, so_far: End, fds: list[int]) -> None:
        """Kill it, unless it is its wall time that is over and it spent that waiting for a core."""
        if flight.killed == "timeout":
            left = flight.limits.wall_s - (so_far.wall_s - (_waited_s(fds[0]) if fds else 0.0))
            if left > 0:
                flight.killed, flight.deadline = "", time.monotonic() + left
                return
        with contextlib.suppress(OSError):
            if fds:
                signal.pidfd_send_signal(fds[0], signal.SIGKILL)
            else:
                flight.keeper.control.sendall(jail.ORDER.pack(jail.KILL, flight.id, 0, 0))

    def _next_deadline(self) -> float:
        """Seconds until something has to be done unasked."""
        if (self._waiting and not self._zygotes) or (self._to_repeat and not self._flights):
            return 0.0
        deadlines = [flight.deadline for flight in self._flights.values()]
        deadlines += [keeper.began + _START_S for keeper in self._zygotes if keeper.found is None]
        if self._unwatched:
            deadlines.append(self._unwatched[0].began + _UNWATCHED_S)
        return max(0.0, min(deadlines) - time.monotonic()) + 0.001 if deadlines else math.inf

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        for flight in [flight for flight in self._flights.values() if flight.deadline <= now]:
            if flight.killed:  # asked before: the zygote itself hangs
                flight.keeper.signal(signal.SIGKILL)
                flight.deadline = now + _KILL_GRACE_S
            else:
                self._kill(flight, "timeout")
        for keeper in list(self._zygotes):
            if keeper.found is None and now > keeper.began + _START_S:
                self._bury(keeper, f"no answer in {_START_S:.0f} s")

    def _on_ended(self, flight: Flight, end: End) -> None:
        while flight.stdout_fd is not None and self._on_stdout(flight):
            pass
        while flight.result_fd is not None and self._on_result(flight):
            pass
        is_crowded = not flight.is_alone and flight.limits.cpu_s < end.cpu_s <= flight.cpu_s
        try:
            execution = execution_of(flight, end, self.tier, bool(self.mechanisms and self.mechanisms["seccomp"]))
        except Exception as error:  # noqa: BLE001  one run's bytes must not end all the others
            why = f"its result cannot be read: {type(error).__name__}"
            execution = Execution("runtime_error", error=why, tier=self.tier)
        if execution.status == "infra_error":
            self._retry(flight, execution.error or "")
            return
        self._release(flight)
        if is_crowded:
            flight.is_alone, flight.attempts = True, 0
            self._to_repeat.append(flight)
        else:
            flight.done(execution)

    def _retry(self, flight: Flight, why: str) -> None:
        self._release(flight)
        if flight.attempts < _ATTEMPTS:
            (self._to_repeat if flight.is_alone else self._waiting).appendleft(flight)
        else:
            error = f"{why} ({flight.attempts} attempts)"
            flight.done(Execution("infra_error", error=error, tier=self.tier))

    def _release(self, flight: Flight) -> None:
        self._flights.pop(flight.id, None)
        if flight.keeper is not None:
            flight.keeper.running.pop(flight.id, None)
        for name in ("stdout_fd", "result_fd"):
            self._close(flight, name)


def _channel() -> tuple[int, int]:
    """Both ends of what a result comes through. By /proc a pipe could be opened again, and what is in it taken back."""
    ours, theirs = socket.socketpair()
    ours.shutdown(socket.SHUT_WR)
    return ours.detach(), theirs.detach()


def _waited_s(pidfd: int) -> float:
    """Seconds that a process was ready to run and had no core, 0 where the kernel does not say."""
    try:
        with open(f"/proc/self/fdinfo/{pidfd}") as file:
            pid = next(line.split()[1] for line in file if line.startswith("Pid:"))
        with open(f"/proc/{pid}/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, StopIteration, IndexError, ValueError):
        return 0.0
