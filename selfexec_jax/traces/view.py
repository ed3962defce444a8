"""Runs to step through in a browser, alone or beside a model's simulation of them; a part of a page, or one of its own.

What programs and models wrote reaches the page as JSON and is shown as text only; the page may load nothing, and runs
no script but this one.
"""

from __future__ import annotations

import base64
import bisect
import hashlib
import itertools
import json
import pathlib
import re
from collections.abc import Sequence

from selfexec_jax.sandbox.lines import SAME
from selfexec_jax.sandbox.types import Execution
from selfexec_jax.traces import compact, full, numbered
from selfexec_jax.traces.claims import align, check_claims, parse_claims
from selfexec_jax.traces.clean import clean
from selfexec_jax.traces.narrate import output, style_named
from selfexec_jax.traces.steps import Call, Frame, Print, Step, source_lines, steps

POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'"  # of a page of no script
STYLES = {"full": full, "compact": compact, "numbered": numbered}  # that tell step by step

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>:root {{ color-scheme: light dark; }} body {{ margin: 0; }} .viewer {{ height: 100vh; outline: 0; }}</style>
</head>
<body>
{viewer}
</body>
</html>
"""


def page(execution: Execution, title: str, simulated: str | None = None, style: str = "full") -> str:
    """The HTML of a run that was traced with `TraceBudget(of="both")`.

    simulated: a model's narration in that style, laid beside what really happened. Raises ValueError for another trace,
    and for a style that does not tell step by step.
    """
    part = viewer([seen(execution, title, simulated, style)]).replace('tabindex="0"', 'tabindex="0" autofocus', 1)
    name = clean(title).replace("&", "&amp;").replace("<", "&lt;")
    return _PAGE.format(title=name, policy=policy_of(part), viewer=part)


def viewer(runs: Sequence[dict]) -> str:
    """A part of a page in which to look at runs (of `seen`), one at a time."""
    template = pathlib.Path(__file__).with_name("viewer.html").read_text(encoding="utf-8")
    return template.replace("RUNS", json.dumps(runs).replace("<", "\\u003c"), 1)


def policy_of(part: str) -> str:
    """A Content-Security-Policy for a page that has `part`: its own script, inline styles, and nothing else."""
    script = re.search(r"<script>(.*?)</script>", part, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"{POLICY}; script-src 'sha256-{digest}'"


def seen(
    execution: Execution, title: str, simulated: str | None = None, style: str = "full",
    notes: Sequence[tuple[str, str]] = (),
) -> dict:  # fmt: skip
    """What a viewer shows of one run. notes: names and texts that stand above it."""
    trace = execution.trace
    if trace is None or trace.of != "both":
        raise ValueError('a view needs a trace of both steps and lines: TraceBudget(of="both")')
    if style not in STYLES:
        raise ValueError(f"a view tells step by step, in one of the styles {', '.join(STYLES)}, not {style!r}")
    happened = steps(trace)
    told, places = _told(happened, style)
    sentences = STYLES[style].sentences(told)
    return {
        "title": clean(title),
        "style": style,
        "notes": [[name, clean(text)] for name, text in notes],
        "source": [clean(line) for line in source_lines(trace.source)],
        "moments": _moments(happened, [(text, places[last]) for text, last in sentences]),
        "stdout": clean(execution.stdout if trace.stop is None else output(trace)),
        "outcome": clean(_outcome(execution)),
        "simulated": None if simulated is None else _beside(simulated, trace, told, sentences, style),
    }


def _told(happened: list[Step], style: str) -> tuple[list[Step], list[int]]:
    """The steps that a style says, in its spelling, and where each is among those that happened."""
    told, places = [], []
    for i, step in enumerate(happened):
        if not isinstance(step, Frame):
            said = STYLES[style].said([step])
            told += said
            places += [i] * len(said)
    return told, places


def _outcome(execution: Execution) -> str:
    cut = f", cut short by the budget of {execution.trace.stop}" if execution.trace.stop else ""
    value = f"returns {execution.value}" if execution.value is not None else ""
    return ": ".join(filter(None, (execution.status, execution.error or value))) + cut


def _moments(happened: list[Step], sentences: list[tuple[str, int]]) -> list[dict]:
    """For each sentence, given with its last step: its line, the call it is in, what changed in the variables, and how
    much is printed."""
    scopes = _scopes(happened)
    moments, shown, printed, done = [], {}, 0, 0
    stack: list[tuple[int, str]] = []
    for text, end in sentences:
        for step in happened[done : end + 1]:
            if isinstance(step, Frame):
                stack = _entered(stack, step)
            elif isinstance(step, Call) and stack:
                stack[-1] = (stack[-1][0], step.name)
            elif isinstance(step, Print):
                printed += len(clean(step.text))
        done = end + 1
        scope = stack[-1][0] if stack else 0
        known, before = scopes.get(scope, ([], [])), shown.get(scope, {})
        found = bisect.bisect(known[0], end)  # a frame tells the variables before its line, so the next one after
        now = known[1][min(found, len(known[1]) - 1)] if known[1] else {}
        shown[scope] = now
        moments.append({
            "line": happened[end].line, "text": clean(text), "scope": scope, "out": printed,
            "stack": [clean(name) for _, name in stack[1:]],
            "set": {name: value for name, value in now.items() if before.get(name) != value},
            "gone": [name for name in before if name not in now],
        })  # fmt: skip
    return moments


def _entered(stack: list, frame: Frame) -> list:
    numbers = [number for number, _ in stack]
    if frame.scope in numbers:
        return stack[: numbers.index(frame.scope) + 1]
    return [*stack, (frame.scope, "…")]


def _scopes(happened: list[Step]) -> dict[int, tuple[list[int], list[dict]]]:
    """By scope: where its frames are, and the variables in each."""
    scopes: dict[int, tuple[list[int], list[dict]]] = {}
    for i, step in enumerate(happened):
        if isinstance(step, Frame) and step.how in ("call", "line"):
            places, states = scopes.setdefault(step.scope, ([], []))
            before = states[-1] if states else {}
            places.append(i)
            now = ((clean(name), value) for name, value in step.locals)
            states.append({name: before.get(name, "?") if value == SAME else clean(value) for name, value in now})
    return scopes


def _beside(simulated: str, trace, told: list[Step], sentences: list[tuple[str, int]], style: str) -> dict:
    """The sentences of a simulation in rows with those of the run, and where they first part."""
    says = style_named(style)
    said, claims, ends = [], [], []
    for sentence in filter(str.strip, simulated.split("\n")):
        claims += parse_claims(sentence, style)
        said.append(clean(sentence))
        ends.append(len(claims))

    def keys(known: list[Step]) -> list[tuple]:
        return [(step.line if says.lines else 0, says.key(step)) for step in known]

    real = _chunks(keys(told), [last + 1 for _, last in sentences])
    has = _chunks(keys(claims), ends)
    pairs, _ = align(has, real)
    rows, i, j = [], 0, 0
    for a, b in [*pairs, (len(has), len(real))]:
        while i < a or j < b:  # what has no partner: side by side, as a wrong claim stands for the right one
            rows.append([said[i] if i < a else None, j if j < b else None, False])
            i, j = i + (i < a), j + (j < b)
        if a < len(has) and b < len(real):
            rows.append([said[a], b, True])
            i, j = a + 1, b + 1
    error = check_claims(claims, trace, style).first_error
    first = next((n for n, row in enumerate(rows) if not row[2]), None)
    divergence = f"{error.reason} at line {error.line}" if error and first is not None else ""
    return {"rows": rows, "first": first, "divergence": divergence or "no divergence"}


def _chunks(keys: list, ends: list[int]) -> list[tuple]:
    return [tuple(keys[start:end]) for start, end in itertools.pairwise([0, *ends])]
