"""The parts that generated problems are composed of: a phrase, its code, and its meaning.

The code and the meaning are written independently, so that running a program in the sandbox and
computing the expected answer here check each other.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Part:
    """One choice for one slot. `{x}` in `code` is the element, `{c}` (and `{d}`) the constants."""

    slot: str
    kind: str
    phrases: tuple[str, ...]
    code: str
    meaning: Callable
    constants: tuple = ((None, None),)  # the (c, d) pairs to choose from
    inverse: str = ""  # the negated condition, for programs that `continue`


@dataclasses.dataclass(frozen=True)
class Choice:
    """A part with its constants chosen."""

    part: Part
    c: int | str | None = None
    d: int | str | None = None

    @property
    def key(self) -> tuple:
        return (self.part.slot, self.part.kind, self.c, self.d)

    def code(self, x: str = "x") -> str:
        return self.part.code.format(x=x, c=self.c, d=self.d)

    def inverse(self, x: str = "x") -> str:
        return self.part.inverse.format(x=x, c=self.c, d=self.d)

    def phrase(self, rng: random.Random) -> str:
        return rng.choice(self.part.phrases).format(c=self.c, d=self.d)

    def apply(self, x):
        return self.part.meaning(x, self.c, self.d)


def choose(rng: random.Random, parts: tuple[Part, ...]) -> Choice:
    part = rng.choice(parts)
    return Choice(part, *rng.choice(part.constants))


def neighbour(rng: random.Random, choice: Choice, parts: tuple[Part, ...]) -> Choice:
    """A near miss of `choice`: another constant half of the time, else another kind."""
    siblings = [Choice(choice.part, *pair) for pair in choice.part.constants if pair != (choice.c, choice.d)]
    if siblings and rng.random() < 0.5:
        return rng.choice(siblings)
    return choose(rng, tuple(p for p in parts if p.kind != choice.part.kind))


def largest_constant(choices: tuple[Choice, ...]) -> int:
    """The largest absolute value among the numbers of some parts."""
    return max((abs(v) for choice in choices for v in (choice.c, choice.d) if isinstance(v, int)), default=0)


def numbers(*values) -> tuple:
    return tuple((v, None) for v in values)


# ---- which numbers count -------------------------------------------------------------------------
SELECT = (
    Part("select", "above", ("numbers greater than {c}", "numbers above {c}"), "{x} > {c}",
         lambda x, c, d: x > c, numbers(-3, 0, 2, 4, 5, 8, 10, 12, 15), "{x} <= {c}"),
    Part("select", "below", ("numbers less than {c}", "numbers below {c}"), "{x} < {c}",
         lambda x, c, d: x < c, numbers(-2, 0, 3, 5, 7, 9, 10, 14), "{x} >= {c}"),
    Part("select", "at_least", ("numbers of at least {c}",), "{x} >= {c}",
         lambda x, c, d: not x < c, numbers(-4, 1, 3, 6, 7, 11, 13), "{x} < {c}"),
    Part("select", "even", ("even numbers",), "{x} % 2 == 0", lambda x, c, d: not x & 1,
         inverse="{x} % 2 != 0"),
    Part("select", "odd", ("odd numbers",), "{x} % 2 == 1", lambda x, c, d: bool(x & 1),
         inverse="{x} % 2 == 0"),
    Part("select", "multiple", ("multiples of {c}", "numbers divisible by {c}"), "{x} % {c} == 0",
         lambda x, c, d: x == c * (x // c), numbers(3, 4, 5), "{x} % {c} != 0"),
    Part("select", "not_multiple", ("numbers not divisible by {c}",), "{x} % {c} != 0",
         lambda x, c, d: x != c * (x // c), numbers(3, 4, 5), "{x} % {c} == 0"),
    Part("select", "remainder", ("numbers with remainder {d} modulo {c}",), "{x} % {c} == {d}",
         lambda x, c, d: x - c * (x // c) == d, ((3, 1), (3, 2), (4, 1), (4, 3), (5, 2), (5, 4)),
         "{x} % {c} != {d}"),
    Part("select", "between", ("numbers from {c} to {d}",), "{c} <= {x} <= {d}",
         lambda x, c, d: x in range(c, d + 1), ((-5, 5), (0, 9), (2, 12), (3, 8), (5, 15), (10, 19)),
         "{x} < {c} or {x} > {d}"),
    Part("select", "outside", ("numbers below {c} or above {d}",), "{x} < {c} or {x} > {d}",
         lambda x, c, d: x not in range(c, d + 1), ((-2, 6), (0, 10), (2, 8), (4, 9), (5, 14)),
         "{c} <= {x} <= {d}"),
    Part("select", "all", ("numbers",), "", lambda x, c, d: True),
)

# ---- what is done to each ---------------------------------------------------------------------------
TRANSFORM = (
    Part("transform", "same", ("",), "{x}", lambda x, c, d: x),
    Part("transform", "plus", ("add {c} to each", "increase each by {c}"), "{x} + {c}",
         lambda x, c, d: x + c, numbers(1, 2, 3, 4, 5)),
    Part("transform", "minus", ("subtract {c} from each", "decrease each by {c}"), "{x} - {c}",
         lambda x, c, d: x - c, numbers(1, 2, 3, 4, 5)),
    Part("transform", "times", ("multiply each by {c}",), "{x} * {c}", lambda x, c, d: sum([x] * c),
         numbers(2, 3)),
    Part("transform", "from", ("subtract each from {c}",), "{c} - {x}", lambda x, c, d: -(x - c),
         numbers(0, 5, 10, 20)),
    Part("transform", "modulo", ("take each modulo {c}",), "{x} % {c}", lambda x, c, d: x - c * (x // c),
         numbers(3, 4, 5)),
    Part("transform", "half", ("divide each by {c}, rounding down",), "{x} // {c}",
         lambda x, c, d: (x - x % c) // c, numbers(2, 3, 5)),
    Part("transform", "linear", ("multiply each by {c} and add {d}",), "{x} * {c} + {d}",
         lambda x, c, d: sum([x] * c) + d, ((2, 1), (2, 3), (3, 1))),
    Part("transform", "absolute", ("take the absolute value of each",), "abs({x})",
         lambda x, c, d: x if x > 0 else -x),
)

# ---- how they become one number -----------------------------------------------------------------------
# `meaning` of these takes the list of transformed numbers; `code` is unused, families write the loop.
ACCUMULATE = (
    Part("reduce", "sum", ("Print their sum.", "Print the total."), "", lambda v, c, d: sum(v)),
    Part("reduce", "count", ("Print how many there are.", "Print their count."), "",
         lambda v, c, d: len(v)),
    Part("reduce", "drain", ("Start from {c}, subtract each, print what is left.",), "",
         lambda v, c, d: c - sum(v), numbers(10, 20, 30)),
    Part("reduce", "offset", ("Start from {c}, add each, print the result.",), "",
         lambda v, c, d: c + sum(v), numbers(5, 10, 20)),
)
EXTREMUM = (
    Part("reduce", "max", ("Print the largest, or {c} if there is none.",), "",
         lambda v, c, d: max(v, default=c), numbers(-1, 0)),
    Part("reduce", "min", ("Print the smallest, or {c} if there is none.",), "",
         lambda v, c, d: min(v, default=c), numbers(-1, 0)),
    Part("reduce", "first", ("Print the first, or {c} if there is none.",), "",
         lambda v, c, d: v[0] if v else c, numbers(-1, 0)),
    Part("reduce", "last", ("Print the last, or {c} if there is none.",), "",
         lambda v, c, d: v[-1] if v else c, numbers(-1, 0)),
)

# ---- what is printed in the end -----------------------------------------------------------------------
FINAL = (
    Part("final", "none", ("",), "{x}", lambda x, c, d: x),
    Part("final", "plus", ("Add {c} before printing.",), "{x} + {c}", lambda x, c, d: x + c,
         numbers(1, 2, 5)),
    Part("final", "modulo", ("Print it modulo {c}.",), "{x} % {c}", lambda x, c, d: x - c * (x // c),
         numbers(7, 10)),
    Part("final", "twice", ("Print it doubled.",), "{x} * 2", lambda x, c, d: x + x),
)

# The parts that an open statement may leave out: few and free of constants, so that three examples
# can settle them and a search over candidates has a chance.
OPEN_SELECT = tuple(
    Choice(p, c, d)
    for p in SELECT
    for c, d in p.constants
    if (p.kind, c) in {("even", None), ("odd", None), ("above", 0), ("below", 0), ("above", 10),
                       ("below", 10)}
)
OPEN_TRANSFORM = tuple(
    Choice(p, c, d)
    for p in TRANSFORM
    for c, d in p.constants
    if (p.kind, c) in {("plus", 1), ("minus", 1), ("times", 2), ("times", 3), ("from", 0), ("half", 2)}
)
