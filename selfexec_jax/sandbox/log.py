"""The events of one traced run, under their budgets, sent on as they come.

Standard library only; runs inside the jailed child.
"""

from __future__ import annotations

import contextlib
import json

from selfexec_jax.sandbox import encode
from selfexec_jax.sandbox.events import Site

# An encoder that the program has no name for.
_encode = json.encoder.c_make_encoder(
    None, repr, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, True
)
_PART = 256  # events that are sent together


def _as_json(value) -> str:
    return "".join(_encode(value, 0))


class Log:
    """Events as `(kind, number of the site, values...)`; a spent budget is named by `stop` and ends the recording.

    sites: by number, whoever adds one appends it; number 0 is the run as a whole.
    sink: called with JSON of events and what ended them as they come, so that a killed run leaves its beginning.
    """

    def __init__(self, budget: dict, sink=None):
        self.sites = [Site(0, 0)]
        self.events: list[tuple] = []
        self.stop: str | None = None
        self.depth, self.value_chars = budget["depth"], budget["value_chars"]
        self.max_events, self.max_bytes = budget["events"], budget["bytes"]
        self._sink, self._sent, self._bytes = sink, 0, 0
        self._told: set[int] = set()  # sites that were sent
        self._recorded = 0  # a second count, to be compared with the events
        self._next = min(self.max_events, _PART)  # when to look what is to be done

    @property
    def is_whole(self) -> bool:
        """Whether nobody else was at the events."""
        return len(self.events) == self._recorded

    def add(self, event):
        """Appends one event unless a budget is spent."""
        if self._recorded >= self._next and not self._turn():
            return
        self._recorded += 1
        self.events.append(event)

    def _turn(self) -> bool:
        """Sends what has come together, and says whether there is room for more."""
        if self.stop is not None:
            return False
        if self._recorded >= self.max_events:
            self.halt("events")
            return False
        self._send(len(self.events) - 1)  # more may be written to the last one
        if self.stop is None:
            self._next = min(self._recorded + _PART, self.max_events)
        return self.stop is None

    def wrote(self, text, number):
        """Records text written to stdout, joined to the write before it of the same statement."""
        last = self.events[-1] if self.events and self.stop is None else None
        same = last and last[0] == "print" and self.sites[last[1]].stmt == self.sites[number].stmt
        if same and not last[2].endswith("\n"):
            self.events[-1] = ("print", last[1], last[2] + text)
        else:
            self.add(("print", number, text))

    def asks(self, call):
        """Records that a call expression is about to be evaluated in the program's namespace."""
        self.add(("start", 0, call))

    def answers(self, value):
        """Records what that call returned."""
        with contextlib.suppress(ValueError):  # who asked for it names what is wrong with the value
            self.add(("value", 0, encode.literal(value, self.max_bytes)))

    def halt(self, why):
        """Records nothing more: a budget is spent."""
        self.stop, self._next = why, 0
        self._send(len(self.events))

    def result(self, tampered: bool) -> dict:
        """Which budget ended the events, whether somebody interfered; and sites and events if no sink has them."""
        tampered = tampered or not self.is_whole
        if self._sent < len(self.events):
            self._send(len(self.events))
        found = {"stop": self.stop, "tampered": tampered, "n_events": len(self.events)}
        if self._sink is None:
            sites = [[number, *self.sites[number]] for number in sorted(self._told)]
            found |= {"sites": sites, "events": self.events}
        return found

    def _send(self, end):
        """Sends events on, after counting their bytes: what is over the budget is forgotten."""
        if not self.is_whole:
            return
        part = self.events[self._sent : end]
        text, told = self._text(part)
        if self._bytes + len(text) > self.max_bytes:
            self.stop, self._next, left = "bytes", 0, self.max_bytes - self._bytes
            while part and len(text) > left:
                part = part[: min(len(part) - 1, len(part) * left // len(text))]
                text, told = self._text(part)
            end = self._sent + len(part)
            del self.events[end:]
            self._recorded = end
        self._bytes += len(text)
        self._sent = end
        self._told |= told
        if self._sink is not None:
            self._sink(f'{{{text},"stop":{_as_json(self.stop)}}}')

    def _text(self, part) -> tuple[str, set[int]]:
        """JSON of some events and of the sites that were not sent before, and the numbers of these."""
        fresh = {event[1] for event in part} - self._told
        sites = [[number, *self.sites[number]] for number in sorted(fresh)]
        return f'"sites":{_as_json(sites)},"events":{_as_json(part)}', fresh
