"""A run as one self-contained HTML page to step through, alone or beside a model's simulation of it.

What programs and models wrote reaches the page as JSON and is shown as text only; the page may load nothing.
"""

from __future__ import annotations

import bisect
import json
import pathlib

from selfexec_jax.sandbox.lines import SAME
from selfexec_jax.sandbox.types import Execution
from selfexec_jax.traces import full
from selfexec_jax.traces.claims import align, check_claims, parse_claims
from selfexec_jax.traces.clean import clean
from selfexec_jax.traces.narrate import output
from selfexec_jax.traces.steps import Call, Frame, Print, Step, steps


def page(execution: Execution, title: str, simulated: str | None = None) -> str:
    """The HTML of a run that was traced with `TraceBudget(of="both")`.

    simulated: a model's narration in style `full`, laid beside what really happened. Raises ValueError for
    another trace.
    """
    trace = execution.trace
    if trace is None or trace.of != "both":
        raise ValueError('a view needs a trace of both steps and lines: TraceBudget(of="both")')
    happened = steps(trace)
    told = full.said([step for step in happened if not isinstance(step, Frame)])
    sentences = full.sentences(told)
    data = {
        "title": clean(title),
        "source": [clean(line) for line in trace.source.splitlines()],
        "moments": _moments(happened, sentences),
        "stdout": clean(execution.stdout if trace.stop is None else output(trace)),
        "outcome": clean(_outcome(execution)),
        "simulated": None if simulated is None else _beside(simulated, trace, told, sentences),
    }
    template = pathlib.Path(__file__).with_name("view.html").read_text(encoding="utf-8")
    return template.replace("DATA", json.dumps(data).replace("<", "\\u003c"), 1)


def _outcome(execution: Execution) -> str:
    cut = f", cut short by the budget of {execution.trace.stop}" if execution.trace.stop else ""
    value = f"returns {execution.value}" if execution.value is not None else ""
    return ": ".join(filter(None, (execution.status, execution.error or value))) + cut


def _moments(happened: list[Step], sentences: list[tuple[str, int]]) -> list[dict]:
    """For each sentence: its line, the call it is in, what changed in the variables, and how much is printed."""
    scopes = _scopes(happened)
    places = [i for i, step in enumerate(happened) if not isinstance(step, Frame)]
    moments, shown, printed, done = [], {}, 0, 0
    stack: list[tuple[int, str]] = []
    for text, last in sentences:
        end = places[last]
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
            states.append({k: before.get(k, "?") if v == SAME else clean(v) for k, v in step.locals})
    return scopes


def _beside(simulated: str, trace, told: list[Step], sentences: list[tuple[str, int]]) -> dict:
    """The sentences of a simulation in rows with those of the run, and where they first part."""
    said, claims, ends = [], [], []
    for sentence in filter(str.strip, simulated.split("\n")):
        claims += parse_claims(sentence, "full")
        said.append(clean(sentence))
        ends.append(len(claims))
    real = _chunks([(step.line, full.key(step)) for step in told], [last + 1 for _, last in sentences])
    has = _chunks([(claim.line, full.key(claim)) for claim in claims], ends)
    pairs, _ = align(has, real)
    rows, i, j = [], 0, 0
    for a, b in [*pairs, (len(has), len(real))]:
        while i < a or j < b:  # what has no partner: side by side, as a wrong claim stands for the right one
            rows.append([said[i] if i < a else None, j if j < b else None, False])
            i, j = i + (i < a), j + (j < b)
        if a < len(has) and b < len(real):
            rows.append([said[a], b, True])
            i, j = a + 1, b + 1
    error = check_claims(claims, trace, "full").first_error
    first = next((n for n, row in enumerate(rows) if not row[2]), None)
    divergence = f"{error.reason} at line {error.line}" if error and first is not None else ""
    return {"rows": rows, "first": first, "divergence": divergence or "no divergence"}


def _chunks(keys: list, ends: list[int]) -> list[tuple]:
    return [tuple(keys[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
