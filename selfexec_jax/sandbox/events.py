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

_PLAIN = frozenset((str, int, bool, type(None)))
_IS = {  # by letter, what a value of an event is
    "v": lambda value: type(value) in _PLAIN,  # as said above
    "s": lambda value: type(value) is str,
    "b": lambda value: type(value) is bool,
    "n": lambda value: type(value) is int and value >= 0,
    "d": lambda value: value is not None and type(value) in _PLAIN,  # a display that is there
    "o": lambda value: type(value) in (str, type(None)),
    "V": lambda value: type(value) is list and _PLAIN.issuperset(map(type, value)),
    "U": lambda value: value is None or _IS["V"](value),
    "S": lambda value: type(value) is list and {str}.issuperset(map(type, value)),
    "P": lambda value: type(value) is list and all(_is_pair(*pair) for pair in value),
    "M": lambda value: type(value) is dict and {str}.issuperset(map(type, (*value, *value.values()))),
}
_VALUES = {  # a letter a value of an event; None: a "v" for each name
    "binary": "vvd", "unary": "vd", "item": "vvd", "builtin": "VPd", "method": "svVPdo", "user": "Ud",
    "compare": "vvb", "test": "vb", "branch": "b", "bind": None, "store": "vvd", "end": "", "call": None, "gen": None,
    "return": "d", "yield": "d", "raise": "ss", "catch": "sn", "jump": "", "spell": "sS", "print": "s", "read": "d",
    "start": "v", "value": "v", "frame": "snMo",
}  # fmt: skip
_COUNTING = {kind for kind, letters in _VALUES.items() if "n" in (letters or "")}
_PARTS = {"binary": 2, "unary": 1, "item": 2, "compare": 2, "test": 1, "store": 1}  # operands that a site has at least


def text_of(value) -> str | None:
    """The display of a value as an event has it."""
    return value if value is None or type(value) is str else repr(value)


def read_events(part: dict, sites: dict[int, Site]) -> list[Event]:
    """The events of one part of a trace; `sites`, those known so far, gains its own. Raises on any other form."""
    for number, *fields in part["sites"]:
        sites[number] = _site(fields)
    good: set[tuple] = set()
    return [_event(sites, good, *event) for event in part["events"]]


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


def _event(sites: dict[int, Site], good: set[tuple], kind: str, number: int, *values) -> Event:
    """good: what was found to be right already, where types say all that there is to see."""
    form = (kind, number, *map(type, values))
    if form not in good:
        if not _is_event(kind, sites[number], values):
            raise ValueError(f"no event of kind {kind}: {len(values)} values, or some of other types")
        if _PLAIN.issuperset(form[2:]) and kind not in _COUNTING:
            good.add(form)
    return Event(kind, sites[number], values)


def _is_event(kind: str, site: Site, values: tuple) -> bool:
    letters = _VALUES[kind]
    if letters is None:
        return len(values) == len(site.names) and _PLAIN.issuperset(map(type, values))
    if len(values) != len(letters):
        return False
    return all(_IS[letter](one) for letter, one in zip(letters, values, strict=True)) and _fits(kind, site, values)


def _fits(kind: str, site: Site, values: tuple) -> bool:
    """Whether an event's site has what one of its kind is told with."""
    if len(site.args) < _PARTS.get(kind, 0) or (site.how and len(site.names) != 1):
        return False
    if kind == "store":
        return bool(site.attr) or len(site.args) > 1
    if kind in ("builtin", "user") and not site.names:
        return kind == "user" and values[0] is None
    return kind not in ("builtin", "method") or len(values[2 if kind == "method" else 0]) >= len(site.args)


def _is_pair(key, value) -> bool:
    return type(key) is str and type(value) in _PLAIN
