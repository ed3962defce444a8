"""The events of one traced run, under their budgets, sent on as they come.

Standard library only; runs inside the jailed child.
"""

from __future__ import annotations

import contextlib
import json

from selfexec_jax.sandbox import encode

# An encoder that the program has no name for.
_encode = json.encoder.c_make_encoder(
    None, repr, json.encoder.encode_basestring_ascii, None, ": ", ", ", False, False, True
)
_PART = 256  # events that are sent together


def _as_json(value) -> str:
    return "".join(_encode(value, 0))


class Log:
    """Events as `[kind, line, data]`; once a budget is spent `stop` names it and nothing more is recorded.

    sink: called with JSON of events and what ended them as they come, so that a killed run leaves its beginning.
    """

    def __init__(self, budget: dict, sink=None):
        self.events: list[list] = []
        self.stop: str | None = None
        self.depth, self.value_chars = budget["depth"], budget["value_chars"]
        self.max_events, self.max_bytes = budget["events"], budget["bytes"]
        self._sink, self._sent, self._bytes = sink, 0, 0
        self._recorded = 0  # a second count, to be compared with the events

    @property
    def is_whole(self) -> bool:
        """Whether nobody else was at the events."""
        return len(self.events) == self._recorded

    def add(self, kind, line, data):
        """Appends one event unless a budget is spent."""
        if self.stop:
            return
        if len(self.events) >= self.max_events:
            self.halt("events")
            return
        self._recorded += 1
        self.events.append([kind, line, data])
        if len(self.events) - self._sent > _PART:
            self._send(len(self.events) - 1)  # more may be written to the last one

    def wrote(self, text, line, stmt):
        """Records text written to stdout, joined to the write before it of the same statement."""
        last = self.events[-1] if self.events else None
        if last and last[0] == "print" and last[2]["s"] == stmt and not last[2]["text"].endswith("\n"):
            last[2]["text"] += text
        else:
            self.add("print", line, {"s": stmt, "text": text})

    def asks(self, call):
        """Records that a call expression is about to be evaluated in the program's namespace."""
        self.add("start", 0, {"s": 0, "call": call})

    def answers(self, value):
        """Records what that call returned."""
        with contextlib.suppress(ValueError):  # who asked for it names what is wrong with the value
            self.add("value", 0, {"s": 0, "value": encode.literal(value, self.max_bytes)})

    def halt(self, why):
        """Records nothing more: a budget is spent."""
        self.stop = why
        self._send(len(self.events))

    def result(self, tampered: bool) -> dict:
        """The events if no sink has them, which budget ended them, and whether somebody interfered."""
        tampered = tampered or not self.is_whole
        if self._sent < len(self.events):
            self._send(len(self.events))
        events = self.events if self._sink is None else []
        return {"events": events, "stop": self.stop, "tampered": tampered, "n_events": len(self.events)}

    def _send(self, end):
        """Sends events on, after counting their bytes: what is over the budget is forgotten."""
        if not self.is_whole:
            return
        part = self.events[self._sent : end]
        text = _as_json(part)
        if self._bytes + len(text) > self.max_bytes:
            self.stop, left = "bytes", self.max_bytes - self._bytes
            while part and len(text) > left:
                part = part[: min(len(part) - 1, len(part) * left // len(text))]
                text = _as_json(part)
            end = self._sent + len(part)
            del self.events[end:]
            self._recorded = end
        self._bytes += len(text)
        self._sent = end
        if self._sink is not None:
            self._sink(f'{{"events": {text}, "stop": {_as_json(self.stop)}}}')
