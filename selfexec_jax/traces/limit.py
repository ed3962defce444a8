"""Runs that take too long, told in short: the first rounds of the loop that does not end, and that there are too many.

    1000000007>=5 yes;n=1000000007-5=1000000002
    1000000002>=5 yes
    over 100 rounds
"""

from __future__ import annotations

import dataclasses

from selfexec_jax.sandbox.events import Event
from selfexec_jax.sandbox.types import Trace
from selfexec_jax.traces.steps import in_loop

TOO_LONG = "rounds"  # what such a trace was stopped by


@dataclasses.dataclass
class _Loop:
    """A loop under way: its statement, the calls around it, its line, and where its rounds begin among the events."""

    stmt: int
    depth: int
    line: int
    begins: list[int] = dataclasses.field(default_factory=list)


def limited(trace: Trace, rounds: int, told: int) -> Trace | None:
    """A trace that was cut off, with the outermost loop of at least `told` rounds that was under way told up to where
    the round after those begins; whole traces are left as they are.

    None for a trace that was cut off before its loops went through more than `rounds` rounds.
    """
    if trace.stop is None:
        return trace
    under_way: list[_Loop] = []
    n = depth = 0
    for at, event in enumerate(trace.events):
        stmt = event.site.stmt
        if event.kind in ("call", "gen"):
            depth += 1
        elif event.kind == "return":
            while under_way and under_way[-1].depth >= depth > 0:
                under_way.pop()
            depth = max(depth - 1, 0)
        elif event.kind == "catch":  # where calls ended that returned nothing
            depth = event.values[1]
            while under_way and (under_way[-1].depth > depth or not _holds(trace.source, under_way[-1], event)):
                under_way.pop()
        elif _begins_round(event):
            n += 1
            if any((loop.stmt, loop.depth) == (stmt, depth) for loop in under_way):
                while (under_way[-1].stmt, under_way[-1].depth) != (stmt, depth):
                    under_way.pop()
            else:
                under_way.append(_Loop(stmt, depth, event.site.line))
            under_way[-1].begins.append(at)
        elif event.kind == "jump" and event.site.src == "break" and under_way:
            under_way.pop()
        elif _ends_loop(event):
            while any((loop.stmt, loop.depth) == (stmt, depth) for loop in under_way):
                under_way.pop()
    ends = next((loop.begins[told] for loop in under_way if len(loop.begins) > told), None)
    if n <= rounds or ends is None:
        return None
    last = trace.events[ends]
    events = (*trace.events[: ends + 1], Event("limit", last.site, (rounds,)))
    return dataclasses.replace(trace, events=events, stop=TOO_LONG)


def _holds(source: str, loop: _Loop, handler: Event) -> bool:
    """Whether a loop goes on where an exception is caught: in a call around it, or in itself."""
    return loop.depth < handler.values[1] or in_loop(source, loop.line, handler.site.line)


def _begins_round(event: Event) -> bool:
    if event.kind == "bind":
        return event.site.how == "loop"
    if event.kind == "jump":
        return event.site.src == "round"
    return _decides_loop(event) and event.values[-1] is True


def _ends_loop(event: Event) -> bool:
    return event.kind == "end" or (_decides_loop(event) and event.values[-1] is False)


def _decides_loop(event: Event) -> bool:
    return event.kind in ("compare", "test", "branch") and event.site.branch == "while"
