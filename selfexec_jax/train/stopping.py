"""A run that is asked to end, by SIGTERM: training saves after its next step and ends there, anything else at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

_asked, _trains = threading.Event(), threading.Event()


class Stopped(Exception):
    """The run was asked to end."""


def listen() -> None:
    """From now on SIGTERM asks; to be called once, from the main thread."""

    def ask(*_) -> None:
        is_first = not _asked.is_set()
        _asked.set()
        if is_first and not _trains.is_set():
            raise Stopped("asked to end")

    signal.signal(signal.SIGTERM, ask)


@contextlib.contextmanager
def between_steps() -> Iterator[Callable[[], bool]]:
    """Around a training loop, which asks after each step whether to save and raise `Stopped`."""
    _trains.set()
    try:
        yield _asked.is_set
    finally:
        _trains.clear()
    if _asked.is_set():  # meanwhile, after the last step
        raise Stopped("training is done and saved")
