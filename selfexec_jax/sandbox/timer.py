"""The timer that ends a run which has used up its CPU time. Standard library only: the jailed child loads this file."""

from __future__ import annotations

import ctypes
import signal

_CLOCK_PROCESS_CPUTIME_ID = 2
_SECOND_NS = 10**9
_create, _settime = ctypes.CDLL(None).timer_create, ctypes.CDLL(None).timer_settime
_create.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_settime.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]


class _Event(ctypes.Structure):
    """`struct sigevent`: a signal to the process."""

    _fields_ = [
        ("value", ctypes.c_void_p), ("signal", ctypes.c_int), ("notify", ctypes.c_int), ("rest", ctypes.c_byte * 48)
    ]  # fmt: skip


_KILL = _Event(None, signal.SIGKILL, 0)
_timer = ctypes.c_void_p()
_times = (ctypes.c_long * 4)()  # interval, then first expiry: seconds and nanoseconds of each


def arm(cpu_s: float) -> None:
    """Kill this process when it has used `cpu_s` seconds of CPU time, never earlier and at most a tick later.

    The clock is the scheduler's own, where ITIMER_PROF counts ticks and is a few percent early or late. Where the
    kernel has no such timer, ITIMER_PROF it is.
    """
    if _create(_CLOCK_PROCESS_CPUTIME_ID, ctypes.addressof(_KILL), ctypes.addressof(_timer)) == 0:
        _times[2], _times[3] = divmod(round(cpu_s * _SECOND_NS), _SECOND_NS)
        if _settime(_timer, 0, ctypes.addressof(_times), None) == 0:
            return
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
