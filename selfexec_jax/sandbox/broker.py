"""A broker: the process that drives a few zygotes, so that whoever asks needs not even a moment for it.

Started by the pool with one socket; it ends when that closes. What the pool wants to know of the executions
of a request may be found out here, by a function that it names.
"""

from __future__ import annotations

import functools
import importlib
import math
import os
import selectors
import socket
import time
import traceback
from collections.abc import Callable

from selfexec_jax.sandbox import jail
from selfexec_jax.sandbox.dispatch import Dispatcher
from selfexec_jax.sandbox.tiers import probe
from selfexec_jax.sandbox.types import Execution, Limits, Run
from selfexec_jax.sandbox.wire import message, messages

_ORPHANED_S = 5.0  # how long a broker may outlive whoever started it
_TOGETHER_S = 0.02  # an answer waits so long for others: each message costs the pool's process a wake-up


def main(fd: int, workers: int, masked: str) -> None:
    """Serve the pool at the other end of a socket until it hangs up."""
    jail.hide()  # expected answers may be in here, and in a weak tier a program might look
    client = socket.socket(fileno=fd)
    dispatcher = Dispatcher(workers, masked)
    broker = _Broker(client, dispatcher)
    try:
        capabilities = probe(broker.execute)
        dispatcher.tier = capabilities["tier"]
        broker.say({"capabilities": capabilities})
    except RuntimeError as error:
        broker.say({"error": dispatcher.broken or str(error)})
    try:
        parent = os.getppid()
        while not broker.is_over and os.getppid() == parent:
            broker.turn()
    finally:
        broker.client.close()  # whoever waits learns it now
        dispatcher.close()


class _Broker:
    def __init__(self, client: socket.socket, dispatcher: Dispatcher):
        client.setblocking(False)
        self.client = client
        self.is_over = False
        self._dispatcher = dispatcher
        self._buffer = bytearray(1 << 18)
        self._inbox, self._outbox = bytearray(), bytearray()
        self._answers: list[tuple] = []
        self._answer_by = math.inf
        self._is_full = False  # the pool does not read as fast as we write
        dispatcher.selector.register(client, selectors.EVENT_READ, self._on_client)

    def turn(self) -> None:
        """Serve until something has happened; answers wait a little for others, unless nothing else runs."""
        now = time.monotonic()
        if self._answers and (now >= self._answer_by or not self._dispatcher.is_busy):
            self._outbox += message(self._answers)
            self._answers = []
            self._answer_by = math.inf
        if self._outbox and not self._is_full:
            self._write()
        self._dispatcher.turn(min(_ORPHANED_S, self._answer_by - now))

    def say(self, content: object) -> None:
        self._outbox += message(content)

    def answer(self, *answer) -> None:
        if not self._answers:
            self._answer_by = time.monotonic() + _TOGETHER_S
        self._answers.append(answer)

    def execute(self, run: Run, limits: Limits) -> tuple[Execution, dict[str, bool]]:
        """Run one program and wait for it; also what the zygotes say that they apply."""
        ended: list[Execution] = []
        self._dispatcher.add(run, limits, ended.append)
        while not ended and not self.is_over:
            self.turn()
        execution = ended[0] if ended else Execution("infra_error", error="the pool was closed")
        return execution, self._dispatcher.mechanisms or {}

    def _on_client(self) -> None:
        if self._is_full:
            self._write()
        try:
            size = self.client.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self.is_over = True
            self._dispatcher.selector.unregister(self.client)
            return
        self._inbox += memoryview(self._buffer)[:size]
        for parcel in messages(self._inbox):
            for number, runs, limits, finding in parcel:
                request = _Request(number, len(runs), finding, self.answer)
                for i, run in enumerate(runs):
                    self._dispatcher.add(run, limits, functools.partial(request.on_ended, i))

    def _write(self) -> None:
        try:
            while self._outbox:
                del self._outbox[: self.client.send(self._outbox)]
        except BlockingIOError:
            pass
        except OSError:  # the pool is gone, which reading will tell
            self._outbox.clear()
        if self._is_full != bool(self._outbox) and not self.is_over:
            self._is_full = bool(self._outbox)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._is_full else 0)
            self._dispatcher.selector.modify(self.client, events, self._on_client)


class _Request:
    """Some runs asked for together; answered when the last of them has ended."""

    def __init__(self, number: int, n_runs: int, finding: tuple | None, answer: Callable):
        self._number, self._finding, self._answer = number, finding, answer
        self._executions: list[Execution | None] = [None] * n_runs
        self._missing = n_runs

    def on_ended(self, i: int, execution: Execution) -> None:
        self._executions[i] = execution
        self._missing -= 1
        if self._missing:
            return
        found = error = None
        if self._finding is not None:
            function, argument = self._finding
            try:
                module, _, name = function.partition(":")
                found = getattr(importlib.import_module(module), name)(argument, self._executions)
            except Exception:  # noqa: BLE001  whoever asked must hear of it
                error = traceback.format_exc()
        self._answer(self._number, self._executions, found, error)
