"""The pool: `Run`s in, `Execution`s out; its brokers do the work in processes of their own.

The process that opens the pool is never forked, so it may hold accelerators and threads, and it spends a
few microseconds a run: one message there, one back.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from selfexec_jax.sandbox.tiers import TIERS, demand
from selfexec_jax.sandbox.types import Execution, Limits, Run
from selfexec_jax.sandbox.wire import message, messages

_DEFAULT = Limits()
_MASK_VARIABLE = "SELFEXEC_SANDBOX_MASK"  # tests only: mechanisms to leave out, comma-separated
_WORKERS_PER_BROKER = 8
_RUNS_PER_MESSAGE = 32
_ATTEMPTS = 3
_CLOSE_S = 10.0
_LEAST = {"cpu_s": 0.01, "wall_s": 0.01, "memory_mb": 1, "stdout_bytes": 1}  # what an interpreter needs
_LARGEST = {"cpu_s": 1e6, "wall_s": 1e6, "memory_mb": 1 << 24, "stdout_bytes": 1 << 31}


class SandboxPool:
    """Runs programs in jailed processes, many at a time; a context manager.

    workers: zygotes, by default one a CPU core. limits: seconds, MiB and bytes for one run, unless `submit`
    overrides them. min_tier: rlimits_only < no_landlock < uid_chroot < no_namespaces < full. Raises `SandboxTooWeak`
    when probes find less than that, RuntimeError when no zygote starts.
    """

    def __init__(self, workers: int | None = None, limits: Limits = _DEFAULT, min_tier: str = "uid_chroot"):
        if min_tier not in TIERS:
            raise ValueError(f"min_tier: {min_tier!r} is not one of {', '.join(TIERS)}")
        if sys.platform != "linux":
            raise RuntimeError(f"no sandbox on {sys.platform}: it is built of Linux mechanisms")
        self.n_runs = 0
        self.limits = limits
        self._lock = threading.Lock()
        self._unsent: list[_Request] = []
        self._next = 0
        self._buffer = bytearray(1 << 18)
        self._closing = False
        self._broken = "the pool was closed"
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = os.pipe()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._brokers: list[_Broker] = []
        self._thread = threading.Thread(target=self._listen, name="sandbox-pool", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        try:
            workers = workers or os.cpu_count() or 1
            if workers < 0:
                raise ValueError(f"workers={workers}: at least 1, or 0 for one a core")
            n_brokers = -(-workers // _WORKERS_PER_BROKER)
            for i in range(n_brokers):
                self._brokers.append(_Broker(workers // n_brokers + (i < workers % n_brokers)))
                self._selector.register(self._brokers[-1].socket, selectors.EVENT_READ, self._brokers[-1])
            self._poke()
            found = [broker.hello.result() for broker in self._brokers]
            self._capabilities = min(found, key=lambda each: TIERS.index(each["tier"]))
            demand(self._capabilities, min_tier)
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
        return self.request([run], limits, make=_only)

    def request(
        self,
        runs: Sequence[Run],
        limits: Limits | None = None,
        finding: tuple[str, Any] | None = None,
        make: Callable[[list[Execution], Any], Any] | None = None,
    ) -> concurrent.futures.Future:
        """Queue runs that belong together; a future of `make(executions, found)`, by default of both as a pair.

        finding: "module:function" and an argument, called in the broker as function(argument, executions);
        what it returns is `found`. No program ever sees either. Raises as `submit` does.
        """
        limits = limits or self.limits
        _check_limits(limits)
        for run in runs:
            _check_run(run)
        with self._lock:
            if self._closing:
                raise RuntimeError("the sandbox pool is closed")
            self._next += 1
            self.n_runs += len(runs)
            request = _Request(self._next, runs, limits, finding, make or _both)
            self._unsent.append(request)
            is_first = len(self._unsent) == 1
        if is_first:  # what is asked for before the listening thread wakes goes out with it
            self._poke()
        return request.future

    def map(self, runs: Iterable[Run]) -> list[Execution]:
        """Run all of them and return their executions in the same order."""
        runs = list(runs)
        parts = [runs[i : i + _RUNS_PER_MESSAGE] for i in range(0, len(runs), _RUNS_PER_MESSAGE)]
        futures = [self.request(part, make=_executions) for part in parts]
        return [execution for future in futures for execution in future.result()]

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

    def _poke(self) -> None:
        with contextlib.suppress(OSError):  # a full pipe wakes as well; a closed one has nobody to wake
            os.write(self._woken, b"\0")

    # -- the listening thread

    def _listen(self) -> None:
        try:
            while not self._closing:
                for key, _ in self._selector.select():
                    if key.data is None:
                        os.read(self._wake, 4096)
                    else:
                        self._on_broker(key.data)
                if self._unsent:
                    self._send()
        finally:
            with self._lock:
                self._closing = True
                left = [*self._unsent, *(r for b in self._brokers for r in (*b.lost, *b.requests.values()))]
            for broker in self._brokers:
                broker.hang_up()
            for request in left:
                request.fail(self._broken)
            for broker in self._brokers:
                broker.end()
                if not broker.hello.done():
                    broker.hello.set_exception(RuntimeError(self._broken))
            self._selector.close()
            os.close(self._wake)
            os.close(self._woken)

    def _send(self) -> None:
        """Hand what was asked for to the brokers with the least to do, in one message each."""
        with self._lock:
            unsent, self._unsent = self._unsent, []
        parcels: dict[_Broker, list] = {}
        for request in unsent:
            broker = min(self._brokers, key=lambda each: each.n_runs)
            broker.requests[request.number] = request
            broker.n_runs += len(request.runs)
            parcels.setdefault(broker, []).append((request.number, request.runs, request.limits, request.finding))
        for broker, parcel in parcels.items():
            with contextlib.suppress(OSError):  # it died, which reading from it will tell
                broker.socket.sendall(message(parcel))

    def _on_broker(self, broker: _Broker) -> None:
        try:
            size = broker.socket.recv_into(self._buffer)
        except OSError:
            size = 0
        if not size:
            self._replace(broker)
            return
        broker.inbox += memoryview(self._buffer)[:size]
        for content in messages(broker.inbox):
            if isinstance(content, dict):
                broker.on_hello(content)
                with self._lock:
                    self._unsent += broker.lost
                broker.lost = []
                continue
            for number, executions, found, error in content:
                request = broker.requests.pop(number, None)
                if request is not None:
                    broker.n_runs -= len(request.runs)
                    request.resolve(executions, found, error)

    def _replace(self, broker: _Broker) -> None:
        """A broker is gone: another takes its place and, once it is up, is sent the requests again."""
        self._selector.unregister(broker.socket)
        broker.end()
        if not broker.is_up:
            self._broken = f"a broker ended while it started, with exit code {broker.process.returncode}"
            self._closing = True
            return
        lost = list(broker.requests.values())
        broker.start()
        self._selector.register(broker.socket, selectors.EVENT_READ, broker)
        for request in lost:
            request.attempts += 1
            if request.attempts < _ATTEMPTS:
                broker.lost.append(request)
            else:
                request.fail(f"its broker died ({_ATTEMPTS} attempts)")


def _check_run(run: Run) -> None:
    """Raise TypeError for what cannot be a run."""
    for name in ("source", "stdin", "call"):
        text = getattr(run, name)
        if not (isinstance(text, str) or (text is None and name != "source")):
            raise TypeError(f"Run.{name} must be a string, not {type(text).__name__}")


@functools.lru_cache(maxsize=64)
def _check_limits(limits: Limits) -> None:
    """Raise ValueError for what cannot be a limit."""
    for field in dataclasses.fields(limits):
        value = getattr(limits, field.name)
        least, largest = _LEAST[field.name], _LARGEST[field.name]
        if not least <= value <= largest:
            raise ValueError(f"Limits.{field.name}={value!r} is not between {least:,} and {largest:,.0f}")


def _only(executions: list[Execution], _) -> Execution:
    return executions[0]


def _executions(executions: list[Execution], _) -> list[Execution]:
    return executions


def _both(executions: list[Execution], found: Any) -> tuple:
    return executions, found


class _Request:
    """What was asked and who waits for it."""

    __slots__ = ("_make", "attempts", "finding", "future", "limits", "number", "runs")

    def __init__(self, number: int, runs: Sequence[Run], limits: Limits, finding: tuple | None, make: Callable):
        self.number, self.runs, self.limits, self.finding = number, runs, limits, finding
        self.attempts = 0
        self.future: concurrent.futures.Future = concurrent.futures.Future()
        self._make = make

    def resolve(self, executions: list[Execution], found: Any, error: str | None) -> None:
        try:
            if error is not None:
                self.future.set_exception(RuntimeError(error))
            else:
                self.future.set_result(self._make(executions, found))
        except concurrent.futures.InvalidStateError:  # cancelled while it waited
            pass
        except Exception as problem:  # noqa: BLE001  whoever waits must hear of it
            self.future.set_exception(problem)

    def fail(self, why: str) -> None:
        """Answer for the infrastructure; nothing is found out of runs that did not happen."""
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            lost = [Execution("infra_error", error=why)] * len(self.runs)
            self.future.set_result(self._make(lost, None))


class _Broker:
    """A broker process as the pool sees it."""

    def __init__(self, workers: int):
        self.hello: concurrent.futures.Future[dict] = concurrent.futures.Future()
        self._workers = workers
        self.start()

    def start(self) -> None:
        if not sys.executable:
            raise RuntimeError("sys.executable is empty: no interpreter to run programs with")
        self.is_up = False
        self.n_runs, self.requests, self.inbox = 0, {}, bytearray()  # asked of it and not yet answered
        self.lost: list[_Request] = []  # asked of the one before it
        self.socket, theirs = socket.socketpair()
        # The path, not `-m`: the package may have been found in a place that a new interpreter does not know.
        program = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
        program += "from selfexec_jax.sandbox.broker import main; main(*json.loads(sys.argv[2]))"
        arguments = [theirs.fileno(), self._workers, os.environ.get(_MASK_VARIABLE, "")]
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, json.dumps(sys.path), json.dumps(arguments)],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        finally:
            theirs.close()

    def on_hello(self, content: dict) -> None:
        self.is_up = True
        if self.hello.done():
            return  # one that took another's place
        if "error" in content:
            self.hello.set_exception(RuntimeError(content["error"]))
        else:
            self.hello.set_result(content["capabilities"])

    def hang_up(self) -> None:
        """Let it end by itself, with its zygotes and all that they run."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self.hang_up()
        try:
            self.process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.socket.close()
