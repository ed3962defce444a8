"""A run told in pieces: each begins with the state that the one before it ended with, so none grows with the run.

Pieces end where a round of a loop of the program's own top level begins. The state is what the rest of the run needs:
the values of the names that it reads, what the loop has still to go through, and what was printed:

    ans=4;x in [3,5]
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from selfexec_jax.problems import syntax
from selfexec_jax.sandbox.types import Trace
from selfexec_jax.traces import numbered, scan
from selfexec_jax.traces.narrate import style_named
from selfexec_jax.traces.steps import Bind, Call, Frame, LoopEnd, Print, Read, Return, Step, steps

_PLAIN = re.compile(r"[-\d'\"]|b['\"]|True$|False$|None$")  # the beginning of a value that nothing can change
_NESTED = re.compile(r".+[\[({]", re.DOTALL)  # of a value that may have others within that can be changed
_OPAQUE = re.compile(r"<\w")  # of one whose words are not all of it
_HARMLESS = frozenset(
    "abs all any bool chr dict divmod enumerate float hash int isinstance len list map max min ord pow print range repr"
    " reversed round set sorted str sum tuple zip".split()
)  # functions that change nothing of what they are given, nor keep it
_CHANGING = frozenset(
    "add append appendleft clear difference_update discard extend extendleft insert intersection_update pop popitem"
    " popleft remove reverse rotate setdefault sort symmetric_difference_update update".split()
)  # methods


@dataclasses.dataclass(frozen=True)
class Chunk:
    """One piece: the state that it begins with ("" at the beginning), its narration, and the state after it ("" at the
    end)."""

    state: str
    text: str
    carried: str


@dataclasses.dataclass(frozen=True)
class _Loop:
    """A loop of the top level, from its first line to its last; `live`: the names that are read before they are given a
    value, in a further round or after the loop; `given`: those that surely have one before it."""

    end: int
    is_for: bool
    live: frozenset[str]
    given: frozenset[str]
    hidden: _Hidden


@dataclasses.dataclass(frozen=True)
class _Hidden:
    """Names that may change without being told to: `untold`, see there; `shared`, whose lists and
    the like are reached otherwise, by another name or from within a function that changes something; `inner`, of which
    that is so for what is within them."""

    untold: set[str] = dataclasses.field(default_factory=set)
    shared: set[str] = dataclasses.field(default_factory=set)
    inner: set[str] = dataclasses.field(default_factory=set)

    def may_change(self, name: str, value: str) -> bool:
        if name in self.untold or (name in self.shared and not _PLAIN.match(value)):
            return True
        return name in self.inner and _NESTED.match(value) is not None


def chunks(trace: Trace, source: str, style: str, least: int) -> list[Chunk]:
    """The pieces of a run, each ending with the first round by which it has at least so many characters.

    A run without such loops is one piece, and so is the part of one that reads further input, leaves a loop by a break,
    stores into what it holds or has what words do not say. Raises ValueError for a style whose parts are not the whole.
    """
    told = style_named(style)
    if told.of == "lines":
        raise ValueError(f"style {style} tells every line with its state as it is; it is not told in pieces")
    if not told.joins:
        raise ValueError(f"style {style} tells rounds by those before them; it is not told in pieces")
    happened = [step for step in steps(trace) if not isinstance(step, Frame)]

    def tell(some: Sequence[Step]) -> str:
        return told.render(told.said(some))

    cuts = list(_cuts(happened, _loops(source), lambda some: len(tell(some)) >= least, told.numbered))
    places, states = [0, *(at for at, _ in cuts), len(happened)], ["", *(state for _, state in cuts), ""]
    return [
        Chunk(states[i], tell(happened[places[i] : places[i + 1]]), states[i + 1]) for i in range(len(states) - 1)
    ]


def _cuts(
    happened: Sequence[Step], loops: dict[int, _Loop], is_long: Callable[[Sequence[Step]], bool], is_numbered: bool
) -> Iterator[tuple[int, str]]:
    """Where pieces begin, and with which state. is_long: whether steps are enough for a piece; more of them are too."""
    last_read = max((i for i, step in enumerate(happened) if isinstance(step, Read)), default=-1)
    values: dict[str, str | None] = {}  # of names; None: known in part
    depth, line, printed = 0, 0, ""  # calls under way, line before
    begin, is_enough, has_called = 0, False, False
    for at, step in enumerate(happened):
        # Of calls just before it is not known whether they are of this round or of the one before.
        loop = loops.get(step.line) if depth == 0 and not has_called else None
        if loop is not None and at > last_read and _begins_round(step, loop, line):
            is_enough = is_enough or is_long(happened[begin:at])
            state = _state(happened[at:], loop, values, printed, is_numbered) if is_enough else None
            if state is not None:
                begin, is_enough = at, False
                yield at, state
        if isinstance(step, Call):
            depth, has_called = depth + 1, True
        elif isinstance(step, Return) and depth:
            depth -= 1
        elif depth == 0:
            line, has_called = step.line, False
            if isinstance(step, Bind) and step.how not in ("comp", "comp+"):  # those are of the comprehension
                name = step.target.partition("[")[0].partition(".")[0]
                values[name] = scan.squeeze(step.value) if name == step.target else None
        if isinstance(step, Print):
            printed += step.text


def _begins_round(step: Step, loop: _Loop, before: int) -> bool:
    if loop.is_for:
        return isinstance(step, Bind) and step.how == "loop"
    return step.line < before <= loop.end


def _state(
    ahead: Sequence[Step], loop: _Loop, values: dict[str, str | None], printed: str, is_numbered: bool
) -> str | None:
    """What the rest of the run needs, None where that is not known."""
    known = {name: value for name, value in values.items() if name in loop.live}
    if not loop.live & loop.given <= known.keys():
        return None
    for name, value in known.items():
        if value is None or _OPAQUE.search(value) or loop.hidden.may_change(name, value):
            return None
    spelled = numbered.listed if is_numbered else str
    items = [f"{name}={spelled(value)}" for name, value in sorted(known.items())]
    if loop.is_for:
        left = _left(ahead, is_numbered)
        if left is None:
            return None
        items.append(left)
    if printed:
        items.append(f"printed {printed!r}")
    return ";".join(items)


def _left(ahead: Sequence[Step], is_numbered: bool) -> str | None:
    """What the for loop that begins a round has still to go through; None where it does not come to its end."""
    line, targets, left, rounds = ahead[0].line, [], [], []
    for step in ahead:
        if step.line != line:
            continue
        if isinstance(step, LoopEnd):
            one = len(left[0]) == 1
            values = [values[0] if one else f"({','.join(values)})" for values in left]
            told = ",".join(map(numbered.in_round, rounds, values) if is_numbered else values)
            return f"{','.join(targets)} in [{told}]"
        if isinstance(step, Bind) and step.how == "loop":
            targets, left, rounds = [step.target], [*left, []], [*rounds, step.round]
        if isinstance(step, Bind) and step.how in ("loop", "loop+"):
            if step.target not in targets:
                targets.append(step.target)
            left[-1].append(scan.squeeze(step.value))
    return None


def _loops(source: str) -> dict[int, _Loop]:
    """The loops of a program's top level by their first line."""
    tree = syntax.parse(source)
    body, hidden = tree.body, _hidden(tree)
    functions = [node for node in body if isinstance(node, ast.FunctionDef)]
    in_functions = {name for f in functions for name in _loaded(f) - _own(f)}
    found = {}
    for i, node in enumerate(body):
        if isinstance(node, (ast.For, ast.While)):
            is_for = isinstance(node, ast.For)
            round_of = (node.body, _names([node.target])) if is_for else ([node.test, *node.body], ())
            live = _read_first(*round_of) | _read_first([*node.orelse, *body[i + 1 :]], ()) | in_functions
            given = _flow(body[:i], frozenset())[1]
            found[node.lineno] = _Loop(node.end_lineno or node.lineno, is_for, frozenset(live), given, hidden)
    return found


def _hidden(tree: ast.Module) -> _Hidden:
    functions = [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef)]
    harmless = _HARMLESS | {f.name for f in functions} - {f.name for f in functions if _changed(f) or _gives_back(f)}
    hidden = _Hidden(
        untold=_untold(tree),
        shared={name for f in functions for name in _changed(f)},
    )
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in harmless):
            hidden.shared.update(_bare(node.args))  # a method, say, may keep what it is given
        elif isinstance(node, ast.Assign):
            names = _bare([node.value])
            if names or len(node.targets) > 1:
                hidden.shared.update(names | _names(node.targets))
            if isinstance(node.value, ast.Subscript):
                hidden.inner.update(_loaded(node.value.value))
        elif isinstance(node, ast.For) and _names([node.target]) & _changed(node):
            hidden.shared.update(_loaded(node.iter))
    return hidden


def _untold(tree: ast.Module) -> set[str]:
    """Names that functions change, and those that also stand for what has no words: functions, classes, modules."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            found.update(node.names)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign) and any(isinstance(n, ast.Lambda) for n in ast.walk(node.value)):
            found |= _names(node.targets)
        elif isinstance(node, ast.With):
            found |= _names([item.optional_vars for item in node.items if item.optional_vars])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
    return found


def _gives_back(function: ast.FunctionDef) -> bool:
    """Whether a function may return what it was given."""
    returned = [n.value for n in ast.walk(function) if isinstance(n, ast.Return) and n.value is not None]
    return bool(_bare(returned) & {n.arg for n in ast.walk(function) if isinstance(n, ast.arg)})


def _changed(within: ast.AST) -> set[str]:
    """Names of which something is changed, not what they name."""
    found = set()
    for node in ast.walk(within):
        if isinstance(node, (ast.Subscript, ast.Attribute)) and not isinstance(node.ctx, ast.Load):
            found |= _loaded(node.value)
        elif isinstance(node, ast.AugAssign):
            found |= _names([node.target])
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in _CHANGING:
            found |= _loaded(node.func)
    return found


def _own(function: ast.FunctionDef) -> set[str]:
    """A function's arguments and other names of its own."""
    args = {n.arg for n in ast.walk(function) if isinstance(n, ast.arg)}
    shared = {n for d in ast.walk(function) if isinstance(d, (ast.Global, ast.Nonlocal)) for n in d.names}
    return args | (_names([function]) - shared)


def _bare(values: Iterable[ast.AST]) -> set[str]:
    """Names that stand for themselves, alone, in a display or as what may be chosen."""
    found = set()
    for value in values:
        if isinstance(value, ast.Name):
            found.add(value.id)
        elif isinstance(value, (ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Starred, ast.BoolOp, ast.NamedExpr)):
            found |= _bare(ast.iter_child_nodes(value))
        elif isinstance(value, ast.IfExp):
            found |= _bare([value.body, value.orelse])
    return found


def _read_first(nodes: Sequence[ast.AST], given: Iterable[str]) -> set[str]:
    """The names that are read before they are surely given a value."""
    return _flow(nodes, frozenset(given))[0]


def _flow(nodes: Sequence[ast.AST], given: frozenset[str]) -> tuple[set[str], frozenset[str]]:
    """The names that are read before, and those that surely have a value after."""
    read: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.If):
            (then, has), (otherwise, has_not) = _flow(node.body, given), _flow(node.orelse, given)
            read |= then | otherwise | (_loaded(node.test) - given)
            given = has & has_not
            continue
        if isinstance(node, (ast.For, ast.While)):
            is_for = isinstance(node, ast.For)
            first, targets = (node.iter, _names([node.target])) if is_for else (node.test, set())
            within, otherwise = _flow(node.body, given | targets)[0], _flow(node.orelse, given)[0]
            read |= (_loaded(first) - given) | within | otherwise
            continue
        loops = [n.target for n in ast.walk(node) if isinstance(n, (ast.For, ast.comprehension))]
        changed = [n.target for n in ast.walk(node) if isinstance(n, ast.AugAssign)]
        read |= (_loaded(node) | _names(changed)) - _names(loops) - given
        if isinstance(node, ast.Assign):
            given |= _names(node.targets)
    return read, given


def _loaded(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _names(targets: Sequence[ast.AST]) -> set[str]:
    """The names that are given a value; not those of which a part is."""
    found = (n for target in targets for n in ast.walk(target))
    return {n.id for n in found if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
