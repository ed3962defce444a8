"""What a run did, as typed steps: the one vocabulary of narrations, claims, rewards and the viewer.

A step is made of source text in which scalar operands are replaced by their values ("7 % 3"), and of values
as literals ("1"). `line` is the first line of the statement, `stmt` its number in the source; neither `stmt`
nor, where a style does not say lines, `line` takes part when claims are checked.
"""

from __future__ import annotations

import dataclasses
import re

from selfexec_jax.sandbox.types import Event, Trace

LONGEST_OPERAND = 60  # characters; a longer value is called by its source
LONGEST_RESULT = 120  # characters; a longer result that is bound to nothing is left out


@dataclasses.dataclass(frozen=True)
class Step:
    """Something that happened in the statement that begins on `line`."""

    line: int
    stmt: int = dataclasses.field(default=0, kw_only=True, compare=False)


@dataclasses.dataclass(frozen=True)
class Bind(Step):
    """`target` (a name, item or attribute) has the value `value` from now on; `how` as in the trace."""

    target: str
    value: str
    how: str = dataclasses.field(default="assign", kw_only=True, compare=False)


@dataclasses.dataclass(frozen=True)
class Op(Step):
    """One operation, its operands substituted, and its value."""

    text: str
    value: str


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
        self.lines = source.splitlines()
        self.out: list[Step] = []
        # One dict for each call under way: source of an item that was read -> its text with values.
        self.calls: list[dict[str, str]] = [{}]
        self.stmt = 0

    @property
    def paths(self) -> dict[str, str]:
        return self.calls[-1]

    def add(self, event: Event) -> None:
        self.stmt = event.data.get("s", 0)
        method = _KINDS.get(event.kind)
        if method is not None:
            method(self, event.line, event.data)

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
    def operand(self, arg, tight=False) -> str:
        src, value = arg
        if value is None:
            return self.paths.get(src, src)
        if src in self.paths and value[:1] in "[{":
            return self.paths[src]
        if src and "(...)" not in src and (len(value) > LONGEST_OPERAND or not _plain(value)):
            return src
        return f"({value})" if tight and value.startswith("-") else value

    def base(self, arg) -> str:
        """A container that is read, changed or asked: by its name where it has one."""
        src, value = arg
        if src in self.paths:
            return self.paths[src]
        if value is not None and len(value) <= LONGEST_OPERAND and _plain(value):
            return f"({value})" if value.startswith("-") or value.isdigit() else value
        return src

    # ---- kinds ----
    def op(self, line, data):
        how, value = data["how"], data["value"]
        if how == "binary":
            left, right = data["args"]
            text = f"{self.operand(left, data['op'] == '**')} {data['op']} {self.operand(right)}"
        elif how == "unary":
            text = data["op"] + self.operand(data["args"][0], True)
            if text == value:
                return
        elif how == "item":
            text = f"{self.base(data['args'][0])}[{self.operand(data['args'][1])}]"
            if "(...)" not in data["src"]:
                self.paths[data["src"]] = text
        elif how == "method":
            text = f"{self.base(data['on'])}.{data['op']}({self.arguments(data)})"
        elif data["args"] is None:
            text = data["src"]
        elif how == "user":
            text = f"{data['op']}({', '.join(value for _, value in data['args'])})"
        else:
            text = f"{data['op']}({self.arguments(data)})"
        self.put(Op(line, text, value))
        if "after" in data and len(data["after"]) <= LONGEST_RESULT:
            self.put(Bind(line, self.base(data["on"]), data["after"], how="after"))

    def arguments(self, data) -> str:
        return ", ".join(self.operand(arg) for arg in data["args"])

    def compare(self, line, data):
        left, right = data["args"]
        self.put(Compare(line, f"{self.operand(left)} {data['op']} {self.operand(right)}", data["holds"]))
        if data["branch"]:
            self.put(Branch(line, data["holds"], of=data["branch"], implied=True))

    def test(self, line, data):
        src = data["arg"][0]
        last = self.out[-1] if self.out else None
        whole = isinstance(last, Op) and last.stmt == self.stmt and last.value in ("True", "False")
        if whole and not data["named"] and data["arg"][1] == last.value:
            self.out.pop()
            text = last.text
        else:
            text = src if data["named"] else self.operand(data["arg"])
        self.put(Compare(line, text, data["holds"]))
        if data["branch"]:
            self.put(Branch(line, data["holds"], of=data["branch"], implied=True))

    def branch(self, line, data):
        """A condition of several parts: implied only if its one evaluated part says the same."""
        parts = []
        for step in reversed(self.out):
            if step.stmt != self.stmt or isinstance(step, (Branch, Bind)):
                break
            parts += [step] if isinstance(step, Compare) else []
        implied = len(parts) == 1 and parts[0].holds == data["holds"]
        self.put(Branch(line, data["holds"], of=data["of"], implied=implied))

    def bind(self, line, data):
        self.bound(Bind(line, data["target"], data["value"], how=data["how"]))

    def bound(self, step):
        """A binding; told before what its operation did to the receiver, next to the operation's value."""
        self.put(step)
        if len(self.out) > 2 and step.how == "assign":
            op, after, new = self.out[-3:]
            changes = isinstance(after, Bind) and after.how == "after" and after.stmt == new.stmt
            if changes and isinstance(op, Op) and op.value == new.value and after.target != new.target:
                self.out[-2:] = [new, after]

    def store(self, line, data):
        base = self.base(data["base"]) if data["base"][0] else "?"
        tail = f".{data['attr']}" if "attr" in data else f"[{self.operand(data['index'])}]"
        self.bound(Bind(line, base + tail, data["value"]))

    def end(self, line, data):
        self.put(LoopEnd(line, data["target"], over=data["over"]))

    def call(self, line, data):
        args = [tuple(arg) for arg in data["args"]]
        if args and args[0][0] in ("self", "cls"):
            args = args[1:]
        name = "lambda" if data["name"] == "<lambda>" else data["name"]
        self.put(Call(line, name, tuple(args)))
        if not data.get("gen"):
            self.calls.append({})

    def ret(self, line, data):
        self.put(Return(line, data["value"]))
        if len(self.calls) > 1:
            self.calls.pop()

    def yielded(self, line, data):
        self.put(Yield(line, data["value"]))

    def raised(self, line, data):
        self.put(Raise(line, data["type"], _one_line(data["message"])))

    def caught(self, line, data):
        self.put(Catch(line, data["type"]))
        del self.calls[data["depth"] + 1 :]

    def jump(self, line, data):
        self.put(Jump(line, _one_line(data["word"])))

    def print(self, line, data):
        for text in re.findall(r"[^\n]*\n|[^\n]+", data["text"]):
            self.put(Print(line, text))

    def read(self, line, data):
        self.put(Read(line, data["value"]))

    def frame(self, line, data):
        source = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        variables = tuple(data["locals"].items())
        self.put(Frame(line, data["how"], variables, source, data["value"], scope=data["scope"]))


def _plain(value: str) -> bool:
    """Whether a display can stand in an operation: a literal, whole."""
    return not value.startswith("<") and "..." not in value


def _one_line(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


_KINDS = {
    "op": _Builder.op,
    "compare": _Builder.compare,
    "test": _Builder.test,
    "branch": _Builder.branch,
    "bind": _Builder.bind,
    "store": _Builder.store,
    "end": _Builder.end,
    "call": _Builder.call,
    "return": _Builder.ret,
    "yield": _Builder.yielded,
    "raise": _Builder.raised,
    "catch": _Builder.caught,
    "jump": _Builder.jump,
    "print": _Builder.print,
    "read": _Builder.read,
    "frame": _Builder.frame,
}
