"""Whether words about a run are right: claims read from a narration, compared with what happened."""

from __future__ import annotations

import dataclasses

from selfexec_jax.sandbox.types import Trace
from selfexec_jax.traces.narrate import STYLES, Style, said, style_named
from selfexec_jax.traces.steps import (
    Bind,
    Branch,
    Compare,
    Op,
    Print,
    Raise,
    Return,
    Step,
    Unreadable,
    Yield,
)
from selfexec_jax.traces.witness import told_by

_TOGETHER = 8  # sentences that may share in telling one step
_WINDOW = 8  # steps looked ahead for where claims and run agree again


@dataclasses.dataclass(frozen=True)
class FirstError:
    """Where a narration first goes wrong: the index of the claim, the program's line, and why.

    `reason`: wrong value, wrong branch, wrong output, wrong line, skipped, invented or unreadable.
    """

    step: int
    line: int
    reason: str


@dataclasses.dataclass(frozen=True)
class Check:
    """How claims compare with a run; `ok` only if every required step is claimed, right and in order.

    first_false: the first claim of something that did not happen; to leave steps out is none. n_held: claims before it
    that are right.
    """

    ok: bool
    n_claims: int
    n_right: int
    n_required: int
    first_error: FirstError | None
    first_false: int | None
    n_held: int


def parse_claims(text: str, style: str | None = None) -> list[Step]:
    """The claims in a narration; without a style, the first that can read the most of it.

    Never raises on what a model wrote: what cannot be read becomes an `Unreadable` claim.
    """
    if style is not None:
        return style_named(style).parse(text)
    readings = [told.parse(text) for told in STYLES.values()]
    return min(readings, key=lambda claims: sum(isinstance(claim, Unreadable) for claim in claims))


def check_claims(claims: list[Step], trace: Trace, style: str = "full") -> Check:
    """Compares claims with the steps of a trace that the style requires, one by one and in order.

    `n_right` counts the claims that match a step, found again after a slip within a few steps.
    """
    told = style_named(style)
    required = said(trace, style)
    claims = _reread(told, claims, required)
    wants = [_key(told, step) for step in required]
    has = [_key(told, claim) for claim in claims]
    pairs, breaks = align(has, wants)
    errors = []
    for i, j in breaks:
        line = required[j].line if j < len(required) else (required[-1].line if required else 0)
        errors.append(FirstError(i, line, _reason(claims, required, has, wants, i, j)))
    false = next((error.step for error in errors if error.reason != "skipped"), None)
    n_held = sum(false is None or i < false for i, _ in pairs)
    ok = not errors and len(claims) == len(required) and bool(required)
    return Check(ok, len(claims), len(pairs), len(required), errors[0] if errors else None, false, n_held)


def claims_held(text: str, trace: Trace, style: str = "full") -> float:
    """The share of a run's steps that a narration tells right before it says something that did not happen.

    Neither saying more nor saying less makes it larger: what follows such a mistake does not count, what is left out is
    missing, and what is told beyond the run is shared by. But leaving out steps, as who never saw such a program told
    does, ends nothing. 1.0 for a narration that is right from end to end alone.
    """
    check = check_claims(parse_claims(text, style), trace, style)
    return check.n_held / max(check.n_claims, check.n_required, 1)


def right_lines(text: str, trace: Trace, style: str = "full") -> int:
    """How many lines of a narration hold, from the first on, before something that did not happen is said."""
    lines = text.split("\n")

    def hold(n: int) -> bool:
        return check_claims(parse_claims("\n".join(lines[:n]), style), trace, style).first_false is None

    low, high = 0, len(lines)  # the first `low` lines hold
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if hold(middle) else (low, middle - 1)
    return low


def _reread(told: Style, claims: list[Step], required: list[Step]) -> list[Step]:
    """Claims in which sentences in other words are replaced by the steps that they tell, up to the first mistake."""
    if not any(isinstance(claim, Unreadable) for claim in claims):
        return claims  # most are such, and comparing them twice would double the work
    out: list[Step] = []
    at = 0  # the step that should be told next
    after = 0
    for i, claim in enumerate(claims):
        if i < after:
            continue
        n, after = _told(told, claims, i, required, at)
        if n is not None:
            out += required[at : at + n]
            at += n
            continue
        read = getattr(claim, "reading", ()) or (claim,)
        out += read
        if [_key(told, one) for one in read] != [_key(told, step) for step in required[at : at + len(read)]]:
            return out + claims[i + 1 :]
        at += len(read)
    return out


def _told(told: Style, claims: list[Step], i: int, required: list[Step], at: int) -> tuple[int | None, int]:
    """How many steps the sentence in other words at `i` tells, alone or with some after it, and which claim is next."""
    texts: list[str] = []
    for j, claim in enumerate(claims[i : i + _TOGETHER] if told.lines else (), i + 1):
        if not isinstance(claim, Unreadable):
            break
        texts.append(claim.text)
        n = told_by("\n".join(texts), required, at)
        if n is not None:
            return n, j
    return None, i + 1


def _key(told: Style, step: Step) -> tuple:
    return (step.line if told.lines else 0, told.key(step))


def align(has: list, wants: list) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Which of what is claimed matches which of what is wanted, in order, and the places where they part."""
    i = j = 0
    pairs: list[tuple[int, int]] = []
    breaks: list[tuple[int, int]] = []
    while i < len(has) and j < len(wants):
        if has[i] == wants[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
            continue
        breaks.append((i, j))
        i, j = _resume(has, wants, i, j)
    if i < len(has) or j < len(wants):
        breaks.append((i, j))
    return pairs, breaks


def _resume(has: list, wants: list, i: int, j: int) -> tuple[int, int]:
    """The nearest later place where claims and steps agree; one further on each side if none is near."""
    for far in range(1, 2 * _WINDOW):
        # A step replaced by a wrong one comes before one left out or put in.
        for di in sorted(range(far + 1), key=lambda d: abs(2 * d - far)):
            dj = far - di
            inside = max(di, dj) <= _WINDOW and i + di < len(has) and j + dj < len(wants)
            if inside and has[i + di] == wants[j + dj]:
                return i + di, j + dj
    return i + 1, j + 1


def _reason(claims, required, has, wants, i, j) -> str:
    if i >= len(claims):
        return "skipped"
    if isinstance(claims[i], Unreadable):
        return "unreadable"
    if j >= len(required):
        return "invented"
    claim, step = claims[i], required[j]
    if has[i][1] == wants[j][1]:
        return "wrong line"
    is_twin = _same_subject(claim, step) and has[i + 1 : i + 2] == wants[j + 1 : j + 2]  # of the step that comes next
    if i + 1 < len(has) and has[i + 1] == wants[j] and not is_twin:
        return "invented"
    if has[i] in wants[j + 1 : j + 1 + _WINDOW] and not _same_subject(claim, step):
        return "skipped"
    if isinstance(claim, Print) and isinstance(step, Print):
        return "wrong output"
    if isinstance(claim, (Branch, Compare)) and type(claim) is type(step):
        return "wrong branch" if _same_subject(claim, step) else "wrong value"
    if _same_subject(claim, step) or type(claim) is type(step):
        return "wrong value"
    return "skipped" if has[i] in wants[j + 1 :] else "invented"


def _same_subject(claim: Step, step: Step) -> bool:
    """Whether two steps speak of the same thing, whatever they say of it."""
    if isinstance(claim, (Bind, Op)) and isinstance(step, (Bind, Op)):
        names = [one.target if isinstance(one, Bind) else one.text for one in (claim, step)]
        return names[0].replace(" ", "") == names[1].replace(" ", "")
    if type(claim) is not type(step):
        return False
    if isinstance(claim, Compare):
        return claim.text.replace(" ", "") == step.text.replace(" ", "")
    return isinstance(claim, (Branch, Return, Yield, Raise, Print))
