"""How an output that a test does not want came about, by a narration of the run: what the printed names became."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from selfexec_jax.problems import syntax
from selfexec_jax.problems.compare import answers_match
from selfexec_jax.traces.claims import parse_claims
from selfexec_jax.traces.steps import Bind, Op, Print, Return, Rounds, Step

_MOST = 8  # values that are told
_LONGEST = 40  # characters of a value
STYLES = ("full", "brief", "compact", "changes", "numbered")  # whose narrations say how values come about


def departure(text: str, style: str, wanted: str, source: str) -> str:
    """What the names became that the first thing in which a run is not wanted is made of, and the operations on them.

        ans=0; x=7: ans=8; x=2: ans=10; 10+5=15

    `x=7` is the item of the loop in whose round it was; rounds that changed nothing are not told. The same words for
    what really happened and for what a model says of it. wanted: an output, or the value of a call. "" where nothing
    is printed that is not wanted, or where the narration does not say where it comes from.
    """
    claims = parse_claims(text, style)
    end = _unwanted(claims, wanted)
    if end is None:
        return ""
    try:
        tree = syntax.parse(source)
    except syntax.UNREADABLE:
        return ""
    loops = {name for loop in ast.walk(tree) if isinstance(loop, ast.For) for name in _names(loop.target)}
    told = list(_changes(claims[:end], _sources(tree, claims[end]), loops))
    if len(told) > _MOST:
        told = [*told[:2], "..", *told[3 - _MOST :]]
    return "; ".join([*told, *_operations(claims[:end])])


def _unwanted(claims: Sequence[Step], wanted: str) -> int | None:
    """The step that prints the first word that is not wanted; of what prints nothing, the value that it ends in
    giving back."""
    words, n = wanted.split(), 0
    for place, step in enumerate(claims):
        for word in step.text.split() if isinstance(step, Print) else ():
            if n >= len(words) or not answers_match("stdio", words[n], word):
                return place
            n += 1
    last = claims[-1] if claims else None
    if n or not isinstance(last, Return) or answers_match("call", wanted, last.value):
        return None
    return len(claims) - 1


def _sources(tree: ast.AST, step: Step) -> set[str]:
    """Names in what a step prints or gives back; in the program's own functions, those that they give back."""
    returns = {f.name: [r.value for r in ast.walk(f) if isinstance(r, ast.Return) and r.value] for f in ast.walk(tree)
               if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))}  # fmt: skip
    if isinstance(step, Return):
        open_ = [value for values in returns.values() for value in values]
    else:
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _prints(node.func)]
        here = [call for call in calls if call.lineno <= step.line <= (call.end_lineno or 0)]  # where lines are told
        open_ = [arg for call in here or calls for arg in call.args]
    found: set[str] = set()
    while open_:
        names = _names(open_.pop()) - found
        found |= names
        open_ += [value for name in names for value in returns.get(name, ())]
    return found


def _prints(func: ast.expr) -> bool:
    return getattr(func, "id", "") == "print" or getattr(func, "attr", "") == "write"


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _changes(claims: Iterable[Step], names: set[str], loops: set[str]) -> Iterator[str]:
    """Every value that a name is given, after the loops' items of its round."""
    items: dict[str, str] = {}
    for step in claims:
        for name, value in _given(step):
            if name in names:
                yield "".join([*(f"{n}={_short(v)}: " for n, v in items.items()), f"{name}={_short(value)}"])
                items = {}
            elif name in loops:
                items[name] = value


def _given(step: Step) -> Sequence[tuple[str, str]]:
    if isinstance(step, Rounds):
        return step.values
    return ((step.target, step.value),) if isinstance(step, Bind) else ()


def _operations(claims: Sequence[Step]) -> list[str]:
    """What was worked out last, in the statement itself."""
    found: list[str] = []
    for step in reversed(claims):
        if not isinstance(step, Op) or step.value == "None":
            break
        found.append(f"{_short(step.text)}={_short(step.value)}")
    return found[:2][::-1]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}.."
