"""The pool: hands runs to zygotes, drains what comes back under caps, kills at deadlines.

One thread owns every descriptor and process. The process that opens the pool is never forked, so it may
hold accelerators and threads. Expected answers are not known here.
"""

from __future__ import annotations

import ast
import atexit
import collections
import concurrent.futures
import contextlib
import json
import os
import selectors
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterable

from selfexec_jax.sandbox import jail
from selfexec_jax.sandbox.ending import End, execution_of
from selfexec_jax.sandbox.flight import Flight, check, file_of
from selfexec_jax.sandbox.keeper import Keeper
from selfexec_jax.sandbox.types import Execution, Limits, Run

_DEFAULT = Limits()
_MASK_VARIABLE = "SELFEXEC_SANDBOX_MASK"  # tests only: mechanisms to leave out, comma-separated
_FLIGHTS_PER_WORKER = 3  # hides the hand-over between runs; CPU time is what a program is judged by
_ATTEMPTS = 3
_FAILED_STARTS = 3
_START_S = 60.0
_KILL_GRACE_S = 10.0


class SandboxTooWeak(RuntimeError):
    """This machine cannot protect itself as much as the caller asked for."""


class SandboxPool:
    """Runs programs in jailed processes, many at a time; a context manager.

    workers: zygotes, by default one a CPU core. limits: seconds, MiB and bytes for one run, unless `submit`
    overrides them. min_tier: rlimits_only < no_landlock < no_namespaces < full. Raises `SandboxTooWeak`
    when probes find less than that, RuntimeError when no zygote starts.
    """

    def __init__(
        self, workers: int | None = None, limits: Limits = _DEFAULT, min_tier: str = "no_namespaces"
    ):
        if min_tier not in jail.TIERS:
            raise ValueError(f"min_tier: {min_tier!r} is not one of {', '.join(jail.TIERS)}")
        self.n_runs = 0
        self.limits = limits
        self._workers = workers or os.cpu_count() or 1
        self._tier = ""
        self._lock = threading.Lock()
        self._waiting: collections.deque[Flight] = collections.deque()
        self._flights: dict[int, Flight] = {}
        self._zygotes: list[Keeper] = []
        self._found: dict | None = None  # what the first zygote could apply; later ones must match
        self._next_id = 0
        self._failed_starts = 0
        self._broken = ""
        self._closing = False
        self._masked = os.environ.get(_MASK_VARIABLE, "")
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = os.pipe()
        for fd in (self._wake, self._woken):
            os.set_blocking(fd, False)
        self._selector.register(self._wake, selectors.EVENT_READ, self._on_wake)
        self._thread = threading.Thread(target=self._loop, name="sandbox-pool", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        try:
            self._capabilities = self._probe()
            self._tier = self._capabilities["tier"]
            if jail.TIERS.index(self._tier) < jail.TIERS.index(min_tier):
                raise SandboxTooWeak(
                    f"the sandbox reaches only tier {self._tier!r}, below {min_tier!r}; a program could: "
                    f"{', '.join(self._capabilities['not_enforced'])}. To run programs anyway, "
                    f'say min_tier="{self._tier}".'
                )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SandboxPool:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def submit(self, run: Run, limits: Limits | None = None) -> concurrent.futures.Future[Execution]:
        """Queue one run; its future never raises for what a program did.

        Raises TypeError or ValueError for what cannot be a run or a limit, RuntimeError once closed.
        """
        limits = limits or self.limits
        check(run, limits)
        future = self._enqueue(run, limits)
        with self._lock:
            self.n_runs += 1
        return future

    def map(self, runs: Iterable[Run]) -> list[Execution]:
        """Run all of them and return their executions in the same order."""
        return [future.result() for future in [self.submit(run) for run in runs]]

    def capabilities(self) -> dict:
        """The tier, what a program was seen to be denied, what it was not, and how each was found."""
        return self._capabilities

    def close(self) -> None:
        """Kill every program and zygote; runs that have not ended become `infra_error`."""
        with self._lock:
            self._closing = True
        self._poke()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        atexit.unregister(self.close)

    # -- any thread

    def _enqueue(self, run: Run, limits: Limits) -> concurrent.futures.Future[Execution]:
        future: concurrent.futures.Future[Execution] = concurrent.futures.Future()
        with self._lock:
            if self._closing:
                raise RuntimeError("the sandbox pool is closed")
            self._next_id += 1
            self._waiting.append(Flight(self._next_id, run, limits, future))
        self._poke()
        return future

    def _poke(self) -> None:
        with contextlib.suppress(OSError):  # a full pipe wakes as well; a closed one has nobody to wake
            os.write(self._woken, b"\0")

    def _probe(self) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            secret = os.path.join(folder, "secret")
            with open(secret, "w") as file:
                file.write("secret")
            limits = Limits(cpu_s=10, wall_s=_START_S, memory_mb=256)
            call = f"probe({secret!r}, {folder!r}, {512 << 20}, {os.getpid()})"
            execution = self._enqueue(Run(jail.PROBE, call=call), limits).result()
        if execution.status != "ok" or not execution.value:
            raise RuntimeError(self._broken or f"the sandbox's probe failed: {execution.error or execution.status}")
        evidence = ast.literal_eval(execution.value)
        tier, stopped, possible = jail.tier_of(evidence, self._found or {})
        seen = {name: refusal or "possible" for name, refusal in evidence.items()}
        return {
            "tier": tier,
            "enforced": stopped,
            "not_enforced": possible,
            "evidence": {**seen, "mechanisms": dict(self._found or {})},
        }

    # -- the pool's own thread

    def _loop(self) -> None:
        try:
            while not self._closing:
                self._dispatch()
                for key, _ in self._selector.select(self._enforce_deadlines()):
                    if key.fileobj in self._selector.get_map():  # an earlier event may have closed it
                        key.data()
        except BaseException as error:
            self._broken = f"the pool failed: {type(error).__name__}: {error}"
            raise
        finally:
            self._closing = True
            for keeper in self._zygotes:
                keeper.hang_up()
            for keeper in self._zygotes:
                keeper.end()
            with self._lock:
                left = [*self._flights.values(), *self._waiting]
                self._waiting.clear()
            for flight in left:
                self._release(flight)
                self._resolve(flight, Execution("infra_error", error=self._broken or "the pool was closed"))
            self._selector.close()
            os.close(self._wake)
            os.close(self._woken)

    def _on_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)

    def _dispatch(self) -> None:
        while not self._broken and len(self._zygotes) < self._workers:
            try:
                keeper = Keeper(self._masked)
            except OSError as error:
                self._failed_start(str(error))
                continue
            self._zygotes.append(keeper)
            self._selector.register(
                keeper.control, selectors.EVENT_READ, lambda k=keeper: self._on_control(k)
            )
        while self._waiting:
            if self._broken:
                self._resolve(self._waiting.popleft(), Execution("infra_error", error=self._broken))
                continue
            ready = [keeper for keeper in self._zygotes if keeper.found is not None]
            keeper = min(ready, key=lambda k: len(k.running), default=None)
            if keeper is None or len(keeper.running) >= _FLIGHTS_PER_WORKER:
                return
            flight = self._waiting.popleft()
            if flight.attempts == 0 and not flight.future.set_running_or_notify_cancel():
                continue
            self._launch(flight, keeper)

    def _launch(self, flight: Flight, keeper: Keeper) -> None:
        flight.begin(keeper)
        theirs: list[int] = []
        try:
            theirs.append(file_of(flight.stdin()))
            flight.stdout_fd, write_end = os.pipe()
            theirs.append(write_end)
            flight.result_fd, write_end = os.pipe()
            theirs.append(write_end)
            theirs.append(file_of(flight.request()))
            for fd, on_data in ((flight.stdout_fd, self._on_stdout), (flight.result_fd, self._on_result)):
                os.set_blocking(fd, False)
                self._selector.register(fd, selectors.EVENT_READ, lambda f=flight, read=on_data: read(f))
            memory = flight.limits.memory_mb << 20
            order = jail.ORDER.pack(jail.RUN, flight.id, flight.limits.cpu_s, memory)
            self._flights[flight.id] = keeper.running[flight.id] = flight
            socket.send_fds(keeper.control, [order], theirs)
        except OSError as error:  # out of descriptors, or the zygote just died
            self._retry(flight, f"could not start: {error}")
        finally:
            for fd in theirs:
                os.close(fd)

    def _on_control(self, keeper: Keeper) -> None:
        try:
            data = keeper.control.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._bury(keeper)
            return
        keeper.inbox += data
        if keeper.found is None and b"\n" in keeper.inbox:
            hello, _, keeper.inbox = keeper.inbox.partition(b"\n")
            keeper.found = json.loads(hello)
            keeper.process.stderr.close()
            if self._found is None:
                self._found = keeper.found
            if keeper.found != self._found:
                self._bury(keeper, "a new zygote is weaker than the first")
                return
            self._failed_starts = 0
        while keeper.found is not None and len(keeper.inbox) >= jail.ENDED.size:
            record, keeper.inbox = keeper.inbox[: jail.ENDED.size], keeper.inbox[jail.ENDED.size :]
            self._on_ended(keeper, End(*jail.ENDED.unpack(record)))

    def _bury(self, keeper: Keeper, why: str = "") -> None:
        """A zygote is gone: its runs go back to the queue, and `_dispatch` starts another."""
        self._selector.unregister(keeper.control)
        self._zygotes.remove(keeper)
        last_words = keeper.end()
        if keeper.found is None or why:
            self._failed_start(why or last_words)
        for flight in list(keeper.running.values()):
            self._retry(flight, "its zygote died")

    def _failed_start(self, why: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _FAILED_STARTS:
            self._broken = (
                f"the sandbox did not start: {_FAILED_STARTS} zygotes in a row failed, "
                f"the last one with: {why or 'no word'}"
            )

    def _on_stdout(self, flight: Flight) -> None:
        if self._read(flight, "stdout_fd", flight.stdout, flight.limits.stdout_bytes) and not flight.killed:
            self._kill(flight, "output_limit")

    def _on_result(self, flight: Flight) -> None:
        if self._read(flight, "result_fd", flight.result, flight.result_cap()) and not flight.killed:
            self._kill(flight, "invalid_result")

    def _read(self, flight: Flight, name: str, into: bytearray, cap: int) -> bool:
        """Read what is there, once; whether that was more than `cap`, which also ends the reading."""
        fd = getattr(flight, name)
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return False
        into += data
        flight.read_bytes += len(data)
        if data and len(into) <= cap:
            return False
        del into[cap:]
        self._selector.unregister(fd)
        os.close(fd)
        setattr(flight, name, None)
        return bool(data)

    def _kill(self, flight: Flight, why: str) -> None:
        flight.killed = why
        flight.deadline = time.monotonic() + _KILL_GRACE_S
        with contextlib.suppress(OSError):
            flight.keeper.control.sendall(jail.ORDER.pack(jail.KILL, flight.id, 0, 0))

    def _enforce_deadlines(self) -> float | None:
        """Kill what is over its wall time; seconds until the next deadline."""
        now = time.monotonic()
        for flight in list(self._flights.values()):
            if flight.deadline <= now:
                if flight.killed:  # asked before: the zygote itself hangs
                    flight.keeper.signal(signal.SIGKILL)
                    flight.deadline = now + _KILL_GRACE_S
                else:
                    self._kill(flight, "timeout")
        for keeper in list(self._zygotes):
            if keeper.found is None and now > keeper.began + _START_S:
                self._bury(keeper, f"no answer in {_START_S:.0f} s")
        if self._waiting and not self._zygotes and not self._broken:
            return 0.0
        deadlines = [flight.deadline for flight in self._flights.values()]
        deadlines += [keeper.began + _START_S for keeper in self._zygotes if keeper.found is None]
        return max(0.0, min(deadlines) - now) + 0.001 if deadlines else None

    def _on_ended(self, keeper: Keeper, end: End) -> None:
        flight = keeper.running.get(end.run)
        if flight is None:
            return
        for name, on_data in (("stdout_fd", self._on_stdout), ("result_fd", self._on_result)):
            before = -1
            while getattr(flight, name) is not None and flight.read_bytes != before:
                before = flight.read_bytes
                on_data(flight)
        execution = execution_of(flight, end, self._tier, bool(self._found and self._found["seccomp"]))
        if execution.status == "infra_error":
            self._retry(flight, execution.error or "")
        else:
            self._release(flight)
            self._resolve(flight, execution)

    def _retry(self, flight: Flight, why: str) -> None:
        self._release(flight)
        if flight.attempts < _ATTEMPTS and not self._closing:
            self._waiting.appendleft(flight)
        else:
            error = f"{why} ({flight.attempts} attempts)"
            self._resolve(flight, Execution("infra_error", error=error, tier=self._tier))

    def _release(self, flight: Flight) -> None:
        self._flights.pop(flight.id, None)
        if flight.keeper is not None:
            flight.keeper.running.pop(flight.id, None)
        for name in ("stdout_fd", "result_fd"):
            fd = getattr(flight, name)
            if fd is not None:
                with contextlib.suppress(KeyError):
                    self._selector.unregister(fd)
                os.close(fd)
                setattr(flight, name, None)

    def _resolve(self, flight: Flight, execution: Execution) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # cancelled while it waited
            flight.future.set_result(execution)
