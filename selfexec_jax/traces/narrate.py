"""Steps in words: `narrate` and the table of styles."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from selfexec_jax.sandbox.types import Trace
from selfexec_jax.traces import brief, changes, compact, cwm, full, numbered
from selfexec_jax.traces.steps import Frame, Print, Step, steps


@dataclasses.dataclass(frozen=True)
class Narration:
    """What a run did, in words, and what it gave: its stdout, or the literal that a call returned."""

    text: str
    output: str


@dataclasses.dataclass(frozen=True)
class Style:
    """One way of telling steps.

    `said` picks and spells the steps that the style tells, `render` writes those, `parse` reads a text
    back into them; `key` is what equal steps share besides their line, and `lines` says whether the text
    names lines. parse(render(said(s))) has the keys of said(s).
    """

    said: Callable[[list[Step]], list[Step]]
    render: Callable[[list[Step]], str]
    parse: Callable[[str], list[Step]]
    key: Callable[[Step], tuple]
    lines: bool
    of: str = "steps"  # what traces it tells, see `TraceBudget`
    numbered: bool = False  # whether items of lists and rounds of loops have their numbers
    joins: bool = True  # whether parts of a run, told one by one, together tell the run


STYLES = {
    "full": Style(full.said, full.render, full.parse, full.key, lines=True),
    "brief": Style(brief.said, brief.render, brief.parse, full.key, lines=True, joins=False),
    "numbered": Style(numbered.said, numbered.render, numbered.parse, numbered.key, lines=False, numbered=True),
    "compact": Style(compact.said, compact.render, compact.parse, compact.key, lines=False),
    "changes": Style(changes.said, compact.render, compact.parse, compact.key, lines=False, joins=False),
    "cwm": Style(cwm.said, cwm.render, cwm.parse, cwm.key, lines=False, of="lines"),
}


def style_named(name: str) -> Style:
    """The style of that name; ValueError names the choices."""
    if name not in STYLES:
        raise ValueError(f"unknown narration style {name!r}; choose from {', '.join(STYLES)}, direct")
    return STYLES[name]


def recorded_for(name: str) -> str:
    """What a trace must be of, to be told in a style; see `TraceBudget`."""
    return "steps" if name == "direct" else style_named(name).of


def said(trace: Trace, name: str) -> list[Step]:
    """The steps of a trace that a style says; ValueError for a trace of something else."""
    style = style_named(name)
    if trace.of not in (style.of, "both"):
        raise ValueError(f"style {name} tells traces of {style.of}, this one is of {trace.of} (TraceBudget.of)")
    return style.said([step for step in steps(trace) if isinstance(step, Frame) == (style.of == "lines")])


def narrate(trace: Trace, style: str = "full") -> Narration:
    """The narration of a trace: same trace, same words. Style `direct` has the output and no words."""
    if style == "direct":
        return Narration("", output(trace))
    return Narration(style_named(style).render(said(trace, style)), output(trace))


def output(trace: Trace) -> str:
    """The stdout of a traced script, or the literal of the value that a traced call returned ("" if none)."""
    if any(event.kind == "start" for event in trace.events):
        return next((event.values[0] for event in trace.events if event.kind == "value"), "")
    return "".join(step.text for step in steps(trace) if isinstance(step, Print))
