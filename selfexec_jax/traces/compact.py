"""The style `compact`: one line a statement, made for small models that read digit by digit.

    x=7;7%3=1;1==1 yes
    7*2=14;t=0+14=14

Items are joined by ";". An item is `op=value`, `target=value`, `target=op=value`, `comparison yes|no`,
`yes|no` (a condition of several parts), `TARGET end`, `f(x=3):`, `lambda(x=3)`, `return V`, `yield V`,
`catch T`, `break`, `continue`, `over N rounds`; `print TEXT`, `write LITERAL`, `raise T: MESSAGE` and
`case PATTERN` take the rest of their line. Reads are not said: what they are bound to is.
"""

from __future__ import annotations

import dataclasses
import re

from selfexec_jax.problems.compare import read_literal
from selfexec_jax.traces import scan
from selfexec_jax.traces.steps import (
    Bind,
    Branch,
    Call,
    Catch,
    Compare,
    Jump,
    Limit,
    LoopEnd,
    Op,
    Print,
    Raise,
    Read,
    Return,
    Spell,
    Step,
    Unreadable,
    Yield,
)

_TARGET = re.compile(r"[A-Za-z_][\w.]*$")
_CALL = re.compile(r"([A-Za-z_]\w*)\((.*)\)(:?)$", re.DOTALL)
_OVER = re.compile(r"over (\d{1,9}) rounds$")
_TIGHT = ("text", "value", "target")
_SAID = {
    Bind: ("target", "value"),
    Op: ("text", "value"),
    Compare: ("text", "holds"),
    Branch: ("taken",),
    LoopEnd: ("target",),
    Call: ("name", "args"),
    Return: ("value",),
    Yield: ("value",),
    Raise: ("type", "message"),
    Catch: ("type",),
    Jump: ("word",),
    Limit: ("n",),
    Print: ("text",),
    Unreadable: ("text",),
}
_ALONE = (Call, Return, Yield, Raise, Jump, Limit)


def said(steps: list[Step]) -> list[Step]:
    """The steps that this style says, in its own spelling."""
    out = []
    for step in steps:
        if isinstance(step, (Read, Spell)) or (isinstance(step, Branch) and step.implied):
            continue
        out.append(_spelled(step))
    return out


def key(step: Step) -> tuple:
    """What two equal claims share: `a[1]=7` reads the same whether the item is read or stored."""
    if isinstance(step, Bind):
        return ("Op", step.target, step.value)
    return (type(step).__name__, *(getattr(step, name) for name in _SAID[type(step)]))


def _spelled(step: Step) -> Step:
    if isinstance(step, Print):
        return step
    if isinstance(step, Call):
        return dataclasses.replace(step, args=tuple((name, scan.squeeze(value)) for name, value in step.args))
    tight = {name: scan.squeeze(getattr(step, name)) for name in _SAID[type(step)] if name in _TIGHT}
    return dataclasses.replace(step, **tight)


def render(steps: list[Step]) -> str:
    """The narration of steps that went through `said`."""
    return "\n".join(line for line, _ in sentences(steps))


def sentences(steps: list[Step]) -> list[tuple[str, int]]:
    """The lines of a narration, each with the number of its last step."""
    lines: list[tuple[str, int]] = []
    last, in_lambda = None, None
    for i, step in enumerate(steps):
        line = lines[-1][0] if lines else ""
        if _merged(last, step):
            head = line[: -len(f"{last.text}={last.value}")]
            lines[-1] = (f"{head}{step.target}={last.text}={last.value}", i)
        elif last is not None and _same_line(last, step, in_lambda):
            lines[-1] = (line + ";" + _ITEMS[type(step)](step), i)
        else:
            lines.append((_ITEMS[type(step)](step), i))
        if isinstance(step, Call) and step.name == "lambda":
            in_lambda = step.stmt
        last = step
    return lines


def _merged(last: Step | None, step: Step) -> bool:
    """Whether the step binds just what the operation before it gave."""
    return (
        isinstance(step, Bind)
        and step.how == "assign"
        and isinstance(last, Op)
        and last.stmt == step.stmt
        and last.value == step.value
        and not _bare(last)
    )


def _bare(step: Op) -> bool:
    """Whether an operation is said without its value: a method that only changes its receiver."""
    return step.value == "None" and step.text.endswith(")")


def _same_line(last: Step, step: Step, in_lambda: int | None) -> bool:
    """Whether a step goes on in the line of the one before it."""
    within = step.stmt == in_lambda == last.stmt
    if (
        isinstance(last, Print)
        or isinstance(step, LoopEnd)
        or (isinstance(last, _ALONE) and not (within and isinstance(last, Call)))
    ):
        return False
    if isinstance(step, _ALONE):
        return within and isinstance(step, Return)
    if isinstance(step, Bind) and step.how in ("loop", "comp"):
        return step.how == "loop" and _heads(last) and last.stmt != step.stmt
    return last.stmt == step.stmt or _heads(last)


def _heads(step: Step) -> bool:
    """Whether a step opens an iteration, whose first statement then goes on in its line."""
    return isinstance(step, Bind) and step.how in ("loop", "loop+")


def _bind(step):
    return f"{step.target}={step.value}"


def _op(step):
    return step.text if _bare(step) else f"{step.text}={step.value}"


def _compare(step):
    return f"{step.text} {'yes' if step.holds else 'no'}"


def _branch(step):
    return "yes" if step.taken else "no"


def _call(step):
    args = ",".join(f"{name}={value}" for name, value in step.args)
    return f"lambda({args})" if step.name == "lambda" else f"{step.name}({args}):"


def _print(step):
    text = step.text[:-1]
    if step.text.endswith("\n") and text.isprintable() and text == text.strip():
        return f"print {text}" if text else "print"
    return f"write {step.text!r}"


def _raise(step):
    return f"raise {step.type}: {step.message}" if step.message else f"raise {step.type}"


_ITEMS = {
    Bind: _bind,
    Op: _op,
    Compare: _compare,
    Branch: _branch,
    Call: _call,
    Print: _print,
    Raise: _raise,
    LoopEnd: lambda step: f"{step.target} end",
    Return: lambda step: f"return {step.value}",
    Yield: lambda step: f"yield {step.value}",
    Catch: lambda step: f"catch {step.type}",
    Jump: lambda step: step.word,
    Limit: lambda step: f"over {step.n} rounds",
    Unreadable: lambda step: step.text,
}


def parse(text: str) -> list[Step]:
    """The claims of a narration, one after the other; what cannot be read becomes `Unreadable`."""
    claims: list[Step] = []
    for line in text.split("\n"):
        rest = line.strip("\r")
        if rest.strip():
            claims += _parse_line(rest)
    return claims


def _parse_line(line: str) -> list[Step]:
    claims: list[Step] = []
    while line:
        tail = _rest_of_line(line)
        if tail is not None:
            return [*claims, tail]
        try:
            item, _, rest = scan.cut(line, (";",))
            claims += _parse_item(item.strip())
        except ValueError:
            return [*claims, Unreadable(0, line)]
        line = rest
    return claims


def _rest_of_line(line: str) -> Step | None:
    word, _, rest = line.partition(" ")
    if word == "print":
        return Print(0, rest + "\n")
    if word == "write":
        try:
            text = read_literal(rest)
        except ValueError:
            return Unreadable(0, line)
        return Print(0, text) if type(text) is str else Unreadable(0, line)
    if word == "raise" and rest:
        kind, _, message = rest.partition(": ")
        return Raise(0, kind, message)
    if word == "case" and rest:
        return Jump(0, line)
    return None


def _parse_item(item: str) -> list[Step]:
    if item in ("yes", "no"):
        return [Branch(0, item == "yes")]
    if item in ("break", "continue"):
        return [Jump(0, item)]
    if over := _OVER.match(item):
        return [Limit(0, int(over.group(1)))]
    word, _, rest = item.partition(" ")
    if word == "return" and rest:
        return [Return(0, scan.squeeze(rest))]
    if word == "yield" and rest:
        return [Yield(0, scan.squeeze(rest))]
    if word == "catch" and rest:
        return [Catch(0, rest)]
    for ending in (" yes", " no"):
        if item.endswith(ending):
            return [Compare(0, scan.squeeze(item[: -len(ending)]), ending == " yes")]
    if item.endswith(" end"):
        return [LoopEnd(0, scan.squeeze(item[:-4]))]
    if item.endswith(":") or item.startswith("lambda("):
        return [_parse_call(item)]
    return _parse_equation(item)


def _parse_call(item: str) -> Step:
    match = _CALL.match(item)
    if match is None:
        return Unreadable(0, item)
    args = []
    for part in scan.split(match.group(2), ",") if match.group(2) else []:
        name, equals, value = part.partition("=")
        if not equals:
            return Unreadable(0, item)
        args.append((name.strip(), scan.squeeze(value.strip())))
    return Call(0, match.group(1), tuple(args))


def _parse_equation(item: str) -> list[Step]:
    """`op=value`, `target=value` or `target=op=value`."""
    parts = _equals(scan.squeeze(item))
    if not all(parts):
        return [Unreadable(0, item)]
    if len(parts) == 1:
        return [Op(0, parts[0], "None") if parts[0].endswith(")") else Unreadable(0, item)]
    if len(parts) > 3:
        return [Unreadable(0, item)]
    left, value = parts[0], parts[-1]
    bound = Bind(0, left, value) if _TARGET.match(left) else Op(0, left, value)
    return [bound] if len(parts) == 2 else [Op(0, parts[1], value), bound]


def _equals(item: str) -> list[str]:
    """The item cut at each top-level "=" that is not part of a comparison."""
    parts, start = [], 0
    for at, _ in scan.places(item, ("=",)):
        if at < start:
            continue
        if item[at + 1 : at + 2] == "=" or item[at - 1 : at] in ("=", "!", "<", ">"):
            continue
        parts.append(item[start:at])
        start = at + 1
        if re.match(r"<[A-Za-z_]", item[start:]):
            break  # the display of an object runs to the end: it holds "=" of its own
    return [*parts, item[start:]]
