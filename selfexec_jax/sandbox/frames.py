"""Reading what a child wrote of itself: a hostile program may have written it, so anything odd counts as nothing."""

from __future__ import annotations

import dataclasses
import json

from selfexec_jax.sandbox import jail
from selfexec_jax.sandbox.events import Event, read_events

_ERROR_CHARS = 500
_STATUSES = {"ok", "runtime_error", "syntax_error", "memory_limit", "invalid_result"}  # what a child may claim
_STOPS = (None, "events", "bytes", "depth")


@dataclasses.dataclass
class Said:
    """The events that came before the last frame, what ended them, and the last frame if it came.

    last: (status, value, error, denied, how the trace ended or None). is_forged: a frame lacked its seal.
    """

    events: list[Event] = dataclasses.field(default_factory=list)
    stop: str | None = None
    last: tuple | None = None
    is_forged: bool = False


def read(data: bytearray, seal: bytes) -> Said:
    """What a child's bytes say; nothing may follow the last frame, and each begins with the seal."""
    said, sites, at = Said(), {}, 0
    while len(data) >= at + jail.FRAME.size:
        start = at + jail.FRAME.size
        at = start + jail.FRAME.unpack_from(data, at)[0]
        if len(data) < at:
            break
        if not data.startswith(seal, start):
            return Said(is_forged=True)
        start += len(seal)
        try:
            if data.startswith(jail.PART, start):
                part = json.loads(data[start + 1 : at])
                if said.stop or part["stop"] not in _STOPS:
                    return Said()
                said.events += read_events(part, sites)
                said.stop = part["stop"]
            elif at == len(data):
                said.last = _result(data[start:])
            else:
                return Said()
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return Said()
    return said


def _result(data: bytearray) -> tuple | None:
    if data.startswith(jail.USUAL):
        return "ok", data[1:].decode() or None, None, False, None
    said = json.loads(data)
    status, trace = said["status"], said.get("trace")
    value, error, denied = said.get("value"), said.get("error"), said.get("denied", False)
    good = status in _STATUSES and type(value) in (str, type(None)) and type(error) in (str, type(None))
    if trace is not None:
        good = good and type(trace["tampered"]) is bool and type(trace["n_events"]) is int and trace["stop"] in _STOPS
    return (status, value, error and error[:_ERROR_CHARS], denied is True, trace) if good else None
