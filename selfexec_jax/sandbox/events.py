"""What a trace is made of: events, and the sites of the program where they happened.

A site says once what is known before the program runs; an event brings what was computed there. Both sides know this
file: the recorder sends `[kind, number of the site, values...]`, and a site once, before its first event.

A value is its display (see encode.py), or an int or a bool that is short enough to stand for itself; as an operand,
None says that its source tells more. Kinds of events, the site's fields that they use, and their values:

  binary   op, args, src   left, right, value
  unary    op, args, src   operand, value
  item     args, src       base, index, value
  builtin  names, args, kw operands, pairs of keyword and operand, value     a call of a builtin function
  method   on, args, kw    name, receiver, operands, pairs, value, the receiver afterwards (None if it did not change)
  user     names, src      operands (None: say the source), value            a call of anything else
  compare  op, args, branch   left, right, whether it holds
  test     args, branch    operand, whether it is true
  branch   branch          outcome of a condition made of several
  spell    src of the sequence, its items: a position in it matters next
  bind     names, how      a value for each name, None for one that would say nothing; `how` is assign, loop, comp,
                           with, case, walrus or after
  store    args, attr      base, index (None for an attribute), value
  end      src, op         a for loop over `op` ran out of values for `src`
  call     op, names       an argument for each name: a function of the program begins; gen: a generator's does
  return, yield            value
  raise    type, message;  catch: type, depth of calls;  jump (src): none, of break, continue, case
                           PATTERN, and a round of a loop whose condition is a constant
  print    text written to stdout;  read: what a call of input() or a reader gave
  start    source of the call, value: the literal it returned (call style)
  frame    how, number of the call under way, variables, value      (see lines.py)

The value of a binary operation and of an item may be bound at once: then `names` and `how` are those of a bind.
`branch` is what a condition decides (if, while, ternary, comp, assert), "" where it is part of a larger one.

Standard library only; this file is also loaded by path inside the jailed child.
"""

from __future__ import annotations

import collections

# (source, whether it is a name or attribute) of an operand that has none
NO_PART = ("", False)

# line, stmt: first line of the statement, and its number. src: source of the whole. op: operator or function. args, on,
# kw: `(source, whether a name)` of operands, of a receiver, and by keyword. attr: the attribute that is stored.
Site = collections.namedtuple(
    "Site", "line stmt src op args names how branch attr on kw", defaults=("", "", (), (), "", None, "", NO_PART, ())
)

Event = collections.namedtuple("Event", "kind site values")
Event.__doc__ = "One thing that happened: its kind, its `Site`, and what was computed there."

_VALUES = {  # how many values an event has
    "binary": 3, "unary": 2, "item": 3, "builtin": 3, "method": 6, "user": 2, "compare": 3, "test": 2, "branch": 1,
    "bind": None, "store": 3, "end": 0, "call": None, "gen": None, "return": 1, "yield": 1, "raise": 2, "catch": 2,
    "jump": 0, "spell": 2, "print": 1, "read": 1, "start": 1, "value": 1, "frame": 4,
}  # fmt: skip
_PLAIN = {str, int, bool, type(None)}


def text_of(value) -> str | None:
    """The display of a value as an event has it."""
    return value if value is None or type(value) is str else repr(value)


def read_events(part: dict, sites: dict[int, Site]) -> list[Event]:
    """The events of one part of a trace; `sites`, those known so far, gains its own. Raises on any other form."""
    for number, *fields in part["sites"]:
        sites[number] = _site(fields)
    return [_event(sites, *event) for event in part["events"]]


def _site(fields: list) -> Site:
    line, stmt, src, op, args, names, how, branch, attr, on, kw = fields
    whole = type(line) is int and type(stmt) is int and {type(one) for one in (src, op, how, attr, *names)} == {str}
    if not whole or type(branch) not in (str, type(None)):
        raise ValueError("not a site")
    pairs = tuple((key, _part(part)) for key, part in kw)
    return Site(line, stmt, src, op, tuple(map(_part, args)), tuple(names), how, branch, attr, _part(on), pairs)


def _part(fields: list) -> tuple[str, bool]:
    src, is_name = fields
    if type(src) is not str:
        raise ValueError("not an operand")
    return src, is_name


def _event(sites, kind, number, *values) -> Event:
    count = _VALUES[kind]
    if count is not None and len(values) != count:
        raise ValueError(f"an event of kind {kind} with {len(values)} values")
    if not _PLAIN.issuperset(map(type, values)) and kind not in _NESTED:
        raise ValueError(f"an event of kind {kind} with values of other types")
    return Event(kind, sites[number], values)


_NESTED = {"builtin", "method", "user", "frame", "spell"}
