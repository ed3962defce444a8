"""A run that is asked to end, by SIGTERM: training saves after its next step and ends there, anything else at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

_AGAIN_S = 0.1
_asked, _trains = threading.Event(), threading.Event()


class Stopped(BaseException):
    """The run was asked to end: nothing that looks after failures may take it for one."""


def listen() -> None:
    """From now on SIGTERM asks; to be called once, from the main thread."""
    usual = sys.unraisablehook

    def ask(*_) -> None:
        is_first = not _asked.is_set()
        _asked.set()
        if is_first and not _trains.is_set():
            raise Stopped("asked to end")

    def again(lost) -> None:
        """What is raised in a finalizer, or while garbage is collected, ends nothing."""
        if not isinstance(lost.exc_value, Stopped):
            usual(lost)
            return
        _asked.clear()
        threading.Timer(_AGAIN_S, os.kill, (os.getpid(), signal.SIGTERM)).start()

    signal.signal(signal.SIGTERM, ask)
    sys.unraisablehook = again


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
