"""What a run did, as typed steps: the one vocabulary of narrations, claims, rewards and the viewer.

A step is made of source text in which scalar operands are replaced by their values ("7 % 3"), and of values
as literals ("1"). `line` is the first line of the statement, `stmt` its number in the source; neither `stmt`
nor, where a style does not say lines, `line` takes part when claims are checked.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import re

from selfexec_jax.problems import syntax
from selfexec_jax.sandbox.events import NO_PART, Event, text_of
from selfexec_jax.sandbox.types import Trace

LONGEST_OPERAND = 60  # characters; a longer value is called by its source
LONGEST_RESULT = 120  # characters; a longer result that is bound to nothing is left out


@dataclasses.dataclass(frozen=True)
class Step:
    """Something that happened in the statement that begins on `line`."""

    line: int
    stmt: int = dataclasses.field(default=0, kw_only=True, compare=False)


@dataclasses.dataclass(frozen=True)
class Bind(Step):
    """`target` (a name, item or attribute) has the value `value` from now on; `how` as in the trace.

    `round`: of what begins a round of a for loop, how many rounds were before it.
    """

    target: str
    value: str
    how: str = dataclasses.field(default="assign", kw_only=True, compare=False)
    round: int | None = dataclasses.field(default=None, kw_only=True, compare=False)


@dataclasses.dataclass(frozen=True)
class Op(Step):
    """One operation, its operands substituted, and its value."""

    text: str
    value: str


@dataclasses.dataclass(frozen=True)
class Spell(Step):
    """The items of the sequence `target`, in order: the next step needs a position in it."""

    target: str
    items: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Compare(Step):
    """One comparison or truth test, and whether it holds."""

    text: str
    holds: bool


@dataclasses.dataclass(frozen=True)
class Branch(Step):
    """The outcome of a whole condition; `of` is if, while, ternary, comp or assert.

    `implied`: it repeats the single comparison before it.
    """

    taken: bool
    of: str = dataclasses.field(default="if", kw_only=True, compare=False)
    implied: bool = dataclasses.field(default=False, kw_only=True, compare=False)


@dataclasses.dataclass(frozen=True)
class LoopEnd(Step):
    """The for loop whose variable is `target` has no next value; `over` is the source it looped over."""

    target: str
    over: str = dataclasses.field(default="", kw_only=True, compare=False)


@dataclasses.dataclass(frozen=True)
class Call(Step):
    """A function of the program begins with these arguments, (name, value) pairs."""

    name: str
    args: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Return(Step):
    """The function of the program that began last gives back `value`."""

    value: str


@dataclasses.dataclass(frozen=True)
class Yield(Step):
    """A generator gives `value` to its consumer."""

    value: str


@dataclasses.dataclass(frozen=True)
class Raise(Step):
    """An exception begins its way up."""

    type: str
    message: str


@dataclasses.dataclass(frozen=True)
class Catch(Step):
    """An exception of this type is caught."""

    type: str


@dataclasses.dataclass(frozen=True)
class Jump(Step):
    """`break`, `continue`, or `case PATTERN` for the case that a match chose."""

    word: str


@dataclasses.dataclass(frozen=True)
class Print(Step):
    """`text` goes to stdout: one line with its newline, or part of a line."""

    text: str


@dataclasses.dataclass(frozen=True)
class Read(Step):
    """The program reads `value` (a literal) from stdin."""

    value: str


@dataclasses.dataclass(frozen=True)
class Rounds(Step):
    """`n` rounds of the loop on `line` that are not told one by one.

    values: (name, value) pairs, what they leave. same: (line, holds) pairs, conditions that came out the same in all.
    """

    n: int
    values: tuple[tuple[str, str], ...]
    same: tuple[tuple[int, bool], ...]


@dataclasses.dataclass(frozen=True)
class Limit(Step):
    """The run takes too long: its loops go through more than `n` rounds."""

    n: int


@dataclasses.dataclass(frozen=True)
class Frame(Step):
    """What a trace of lines has: the variables in sight before a line of source, or what it gave back or raised.

    how: call, line, return or exception. locals: (name, value) pairs, ".." for an unchanged value. scope: the
    number of the call under way.
    """

    how: str
    locals: tuple[tuple[str, str], ...]
    source: str
    value: str | None
    scope: int = dataclasses.field(default=0, kw_only=True, compare=False)


@dataclasses.dataclass(frozen=True)
class Unreadable(Step):
    """A piece of a claimed narration that its style cannot read, or reads as `reading` without being sure."""

    text: str
    reading: tuple[Step, ...] = dataclasses.field(default=(), kw_only=True, compare=False)


def steps(trace: Trace) -> list[Step]:
    """The steps of a trace, in order; for a call, those from the call on."""
    events = list(trace.events)
    starts = [i for i, event in enumerate(events) if event.kind == "start"]
    builder = _Builder(trace.source)
    for event in events[starts[0] + 1 :] if starts else events:
        builder.add(event)
    return builder.finished()


class _Builder:
    """Turns events into steps, one at a time."""

    def __init__(self, source: str):
        self.source, self.lines = source, source_lines(source)
        self.out: list[Step] = []
        # One dict for each call under way: source of an item that was read -> its text with values.
        self.calls: list[dict[str, str]] = [{}]
        self.rounds: list[dict[int, int]] = [{}]  # of each call: line of a for loop -> its round, from 0
        self.spelled: dict[str, str] = {}  # source -> display of the text that was spelled last
        self.stmt = 0

    @property
    def paths(self) -> dict[str, str]:
        return self.calls[-1]

    def add(self, event: Event) -> None:
        self.stmt = event.site.stmt
        method = _KINDS.get(event.kind)
        if method is not None:
            method(self, event.site, *event.values)

    def put(self, step: Step) -> None:
        self.out.append(dataclasses.replace(step, stmt=self.stmt))

    def finished(self) -> list[Step]:
        """Leaves out results too long to follow, unless the next step is what they are bound to."""
        out = []
        for i, step in enumerate(self.out):
            if isinstance(step, Op) and len(step.value) > LONGEST_RESULT:
                after = self.out[i + 1] if i + 1 < len(self.out) else None
                if not (isinstance(after, Bind) and after.value == step.value):
                    continue
            out.append(step)
        return out

    # ---- texts ----
    def operand(self, part, value, tight=False) -> str:
        src, text = part[0], text_of(value)
        if text is None:
            return self.paths.get(src, src)
        if src in self.paths and text[:1] in "[{":
            return self.paths[src]
        if src and "(...)" not in src and (len(text) > LONGEST_OPERAND or not _plain(text)):
            return src
        return f"({text})" if tight and text.startswith("-") else text

    def base(self, part, value) -> str:
        """A container that is read, changed or asked: by its name where it has one."""
        src, text = part[0], text_of(value)
        if src in self.paths:
            return self.paths[src]
        if text is not None and self.spelled.get(src) == text:
            return src
        if text is not None and len(text) <= LONGEST_OPERAND and _plain(text):
            return f"({text})" if text.startswith("-") or text.isdigit() else text
        return src

    def arguments(self, site, args, pairs) -> str:
        parts = [*site.args, *[NO_PART] * (len(args) - len(site.args))]
        said = [self.operand(part, value) for part, value in zip(parts, args, strict=True)]
        by_key = dict(site.kw)
        return ", ".join(said + [f"{key}={self.operand(by_key.get(key, NO_PART), value)}" for key, value in pairs])

    # ---- kinds ----
    def binary(self, site, left, right, value):
        left, right = self.operand(site.args[0], left, site.op == "**"), self.operand(site.args[1], right)
        self.operation(site, f"{left} {site.op} {right}", value)

    def unary(self, site, operand, value):
        text = site.op + self.operand(site.args[0], operand, True)
        if text != text_of(value):
            self.operation(site, text, value)

    def item(self, site, base, index, value):
        text = f"{self.base(site.args[0], base)}[{self.operand(site.args[1], index)}]"
        if "(...)" not in site.src:
            self.paths[site.src] = text
        self.operation(site, text, value)

    def spell(self, site, src, items):
        if src and "(...)" not in src:
            self.put(Spell(site.line, self.paths.get(src, src), tuple(items)))
            self.spelled[src] = repr("".join(item[1:-1] for item in items)) if _are_characters(items) else ""

    def builtin(self, site, args, pairs, value):
        self.operation(site, f"{site.names[0]}({self.arguments(site, args, pairs)})", value)

    def method(self, site, name, receiver, args, pairs, value, after):
        text = f"{self.base(site.on, receiver)}.{name}({self.arguments(site, args, pairs)})"
        self.operation(site, text, value)
        if after is not None and len(after) <= LONGEST_RESULT:
            self.put(Bind(site.line, self.base(site.on, receiver), after, how="after"))

    def user(self, site, args, value):
        text = site.src if args is None else f"{site.names[0]}({', '.join(map(text_of, args))})"
        self.operation(site, text, value)

    def operation(self, site, text, value):
        self.put(Op(site.line, text, text_of(value)))
        if site.how:  # the value is bound to a name at once
            self.bind(site, value)

    def compare(self, site, left, right, holds):
        text = f"{self.operand(site.args[0], left)} {site.op} {self.operand(site.args[1], right)}"
        self.compared(site, text, holds)

    def test(self, site, value, holds):
        (src, is_name), said = site.args[0], text_of(value)
        last = self.out[-1] if self.out else None
        whole = isinstance(last, Op) and last.stmt == self.stmt and last.value in ("True", "False")
        if whole and not is_name and said == last.value:
            self.out.pop()
            text = last.text
        else:
            text = src if is_name else self.operand(site.args[0], value)
        self.compared(site, text, holds)

    def compared(self, site, text, holds):
        self.put(Compare(site.line, text, holds))
        if site.branch:
            self.put(Branch(site.line, holds, of=site.branch, implied=True))

    def branch(self, site, holds):
        """A condition of several parts: implied only if its one evaluated part says the same."""
        parts = []
        for step in reversed(self.out):
            if step.stmt != self.stmt or isinstance(step, (Branch, Bind)):
                break
            parts += [step] if isinstance(step, Compare) else []
        implied = len(parts) == 1 and parts[0].holds == holds
        self.put(Branch(site.line, holds, of=site.branch, implied=implied))

    def bind(self, site, *values):
        how, number = site.how, None
        if how == "loop":
            number = self.rounds[-1][site.line] = self.rounds[-1].get(site.line, -1) + 1
            if site.line in _of_generators(self.source):  # several of them may be under way
                number = None
        for name, value in zip(site.names, values, strict=True):
            if value is not None:
                self.bound(Bind(site.line, name, text_of(value), how=how, round=number))
                number = None
                how = f"{site.how}+" if site.how in ("loop", "comp") else site.how

    def bound(self, step):
        """A binding; told before what its operation did to the receiver, next to the operation's value."""
        self.put(step)
        if len(self.out) > 2 and step.how == "assign":
            op, after, new = self.out[-3:]
            changes = isinstance(after, Bind) and after.how == "after" and after.stmt == new.stmt
            if changes and isinstance(op, Op) and op.value == new.value and after.target != new.target:
                self.out[-2:] = [new, after]

    def store(self, site, base, index, value):
        base = self.base(site.args[0], base) if site.args[0][0] else "?"
        tail = f".{site.attr}" if site.attr else f"[{self.operand(site.args[1], index)}]"
        self.bound(Bind(site.line, base + tail, text_of(value)))

    def end(self, site):
        self.rounds[-1].pop(site.line, None)
        self.put(LoopEnd(site.line, site.src, over=site.op))

    def call(self, site, *values):
        self.gen(site, *values)
        self.calls.append({})
        self.rounds.append({})

    def gen(self, site, *values):
        args = [(name, text_of(value)) for name, value in zip(site.names, values, strict=True)]
        if args and args[0][0] in ("self", "cls"):
            args = args[1:]
        self.put(Call(site.line, "lambda" if site.op == "<lambda>" else site.op, tuple(args)))

    def ret(self, site, value):
        self.put(Return(site.line, text_of(value)))
        if len(self.calls) > 1:
            self.calls.pop()
            self.rounds.pop()

    def yielded(self, site, value):
        self.put(Yield(site.line, text_of(value)))

    def raised(self, site, kind, message):
        self.put(Raise(site.line, _one_line(kind), _one_line(message)))

    def caught(self, site, kind, depth):
        self.put(Catch(site.line, _one_line(kind)))
        del self.calls[depth + 1 :]
        del self.rounds[depth + 1 :]
        for loop in [n for n in self.rounds[-1] if not in_loop(self.source, n, site.line)]:
            del self.rounds[-1][loop]  # left by the exception

    def jump(self, site):
        if site.src == "round":  # of `while True`: nobody needs to be told
            return
        if site.src == "break":
            inner = max((n for n in _loop_ends(self.source) if in_loop(self.source, n, site.line)), default=0)
            self.rounds[-1].pop(inner, None)
        self.put(Jump(site.line, _one_line(site.src)))

    def limit(self, site, rounds):
        self.put(Limit(site.line, rounds))

    def print(self, site, text):
        for part in re.findall(r"[^\n]*\n|[^\n]+", text):
            self.put(Print(site.line, part))

    def read(self, site, value):
        self.put(Read(site.line, text_of(value)))

    def frame(self, site, how, scope, variables, value):
        source = self.lines[site.line - 1] if 0 < site.line <= len(self.lines) else ""
        self.put(Frame(site.line, how, tuple(variables.items()), source, value, scope=scope))


def source_lines(source: str) -> list[str]:
    """The lines of a program as Python counts them; a form feed, say, begins no new one."""
    return re.split(r"\r\n|\r|\n", source)


def in_loop(source: str, loop: int, line: int) -> bool:
    """Whether a line lies in the loop that begins at another, or after the target of a `for` that stands below it."""
    return loop <= line <= _loop_ends(source).get(loop, line)


@functools.lru_cache(maxsize=256)
def _loop_ends(source: str) -> dict[int, int]:
    """The first and the last line of every loop."""
    loops = (node for node in ast.walk(syntax.parse(source)) if isinstance(node, (ast.For, ast.While)))
    return {node.lineno: node.end_lineno or node.lineno for node in loops}


@functools.lru_cache(maxsize=256)
def _of_generators(source: str) -> frozenset[int]:
    """The first lines of loops in functions that yield."""
    functions = [node for node in ast.walk(syntax.parse(source)) if isinstance(node, ast.FunctionDef)]
    generators = [f for f in functions if any(isinstance(n, (ast.Yield, ast.YieldFrom)) for n in ast.walk(f))]
    return frozenset(n.lineno for f in generators for n in ast.walk(f) if isinstance(n, (ast.For, ast.While)))


def _plain(value: str) -> bool:
    """Whether a display can stand in an operation: a literal, whole."""
    return not value.startswith("<") and "..." not in value


def _are_characters(items: list[str]) -> bool:
    return all(len(item) == 3 and item[0] == item[2] == "'" for item in items)


def _one_line(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return text.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair is no text


_KINDS = {
    "binary": _Builder.binary,
    "unary": _Builder.unary,
    "item": _Builder.item,
    "spell": _Builder.spell,
    "builtin": _Builder.builtin,
    "method": _Builder.method,
    "user": _Builder.user,
    "compare": _Builder.compare,
    "test": _Builder.test,
    "branch": _Builder.branch,
    "bind": _Builder.bind,
    "store": _Builder.store,
    "end": _Builder.end,
    "call": _Builder.call,
    "gen": _Builder.gen,
    "return": _Builder.ret,
    "yield": _Builder.yielded,
    "raise": _Builder.raised,
    "catch": _Builder.caught,
    "jump": _Builder.jump,
    "limit": _Builder.limit,
    "print": _Builder.print,
    "read": _Builder.read,
    "frame": _Builder.frame,
}
