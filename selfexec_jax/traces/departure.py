"""Where a run leaves what a test wants, by a narration of it: which value, how it came about, and with what."""

from __future__ import annotations

from collections.abc import Sequence

from selfexec_jax.traces.claims import parse_claims
from selfexec_jax.traces.steps import Bind, Call, Op, Print, Step

_MOST = 8  # values of a name that are told
_LONGEST = 40  # characters of a value
_AROUND = 3  # names beside it


def departure(text: str, style: str, wanted: str) -> str:
    """The first thing printed that the test does not want, what its name was given before, and the values beside it.

        ans: None, 0, 2, 3 (x=7, y=3)

    The same words for what really happened and for what a model says of it. "" where what is printed is what is wanted,
    or where the narration does not say where it comes from.
    """
    claims = parse_claims(text, style)
    at = _first_unwanted(claims, wanted.split())
    if at is None:
        return ""
    place, shown = at
    given = [(i, step) for i, step in enumerate(claims[:place]) if isinstance(step, Bind)]
    last = next((i for i, step in reversed(given) if step.value.strip("'\"") == shown), None)
    if last is None:
        made = next((s for s in reversed(claims[:place]) if isinstance(s, Op) and s.value.strip("'\"") == shown), None)
        return f"{made.text} = {made.value}" if made and len(made.text) <= _LONGEST else ""
    name = claims[last].target
    history = [step.value for _, step in given if step.target == name]
    return f"{name}: {_told(history)}{_beside(claims[: last + 1], name)}"


def _first_unwanted(claims: Sequence[Step], wanted: Sequence[str]) -> tuple[int, str] | None:
    """Of the first word that is printed and not wanted, the place and the word; white space does not count."""
    n = 0
    for place, step in enumerate(claims):
        for word in step.text.split() if isinstance(step, Print) else ():
            if n >= len(wanted) or wanted[n] != word:
                return place, word
            n += 1
    return None


def _told(values: Sequence[str]) -> str:
    changes = [value for i, value in enumerate(values) if i == 0 or value != values[i - 1]]
    short = [value if len(value) <= _LONGEST else f"{value[:_LONGEST]}.." for value in changes]
    return ", ".join(short if len(short) <= _MOST else [*short[:2], "..", *short[2 - _MOST :]])


def _beside(claims: Sequence[Step], name: str) -> str:
    """What the names that were given a value last had when the value came about."""
    around: dict[str, str] = {}
    for step in reversed(claims):
        if isinstance(step, Call):
            around |= {n: v for n, v in step.args if n not in around}
            break
        if isinstance(step, Bind) and step.target != name and len(step.value) <= _LONGEST:
            around.setdefault(step.target, step.value)
        if len(around) >= _AROUND:
            break
    told = ", ".join(f"{n}={v}" for n, v in reversed(list(around.items())[:_AROUND]))
    return f" ({told})" if told else ""
