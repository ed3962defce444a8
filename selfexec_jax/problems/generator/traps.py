"""Families with a trap: programs that are right where they end, but crash on some inputs or take too long."""

from __future__ import annotations

import random

from selfexec_jax.problems.generator import parts
from selfexec_jax.problems.generator.draft import Draft, indent, mutator, sentence, spell
from selfexec_jax.problems.generator.lists import read_list, sample_numbers
from selfexec_jax.problems.generator.parts import Choice, Part

_HUGE = (10**9, 10**10 - 1)  # hundreds of millions of rounds: too long in any limit
_EMPTY_SHARE = 0.25  # of the inputs of `edges`: nothing is left of them

_REDUCE = (
    Part("edge", "max", ("Print the largest, or {c} if there is none.",), "max({x})", lambda v, c, d: max(v)),
    Part("edge", "min", ("Print the smallest, or {c} if there is none.",), "min({x})", lambda v, c, d: min(v)),
    Part("edge", "first", ("Print the first, or {c} if there is none.",), "{x}[0]", lambda v, c, d: v[0]),
    Part("edge", "last", ("Print the last, or {c} if there is none.",), "{x}[-1]", lambda v, c, d: v[len(v) - 1]),
    Part("edge", "mean", ("Print their average, rounded down, or {c} if there are none.",), "sum({x}) // len({x})",
         lambda v, c, d: (sum(v) - sum(v) % len(v)) // len(v)),
)  # fmt: skip
_REDUCE = tuple(Part(p.slot, p.kind, p.phrases, p.code, p.meaning, ((-1, None), (0, None))) for p in _REDUCE)
_KEPT = tuple(p for p in parts.SELECT if p.kind != "all")

_BEFORE = (
    Part("before", "same", ("",), "", lambda x, c, d: x),
    Part("before", "plus", ("Add {c} to it.",), "{x} += {c}", lambda x, c, d: x + c, parts.numbers(*range(1, 10))),
)
# What is asked of n, and a loop that finds it in steps: `{n}` the number, `{r}` the result.
_ASK = (
    Part("ask", "remainder", ("Print its remainder modulo {c}.",), "{n} % {c}",
         lambda n, c, d: n - c * (n // c), parts.numbers(2, 5)),
    Part("ask", "multiple", ("Print the largest multiple of {c} that is not above it.",), "{n} - {n} % {c}",
         lambda n, c, d: c * (n // c), parts.numbers(2, 5)),
    Part("ask", "digit", ("Print its last digit.",), "{n} % 10", lambda n, c, d: int(str(n)[-1])),
    Part("ask", "tens", ("Print how often 10 can be taken from it.",), "{n} // 10",
         lambda n, c, d: int(str(n)[:-1] or "0")),
)
_SLOWLY = {
    "remainder": (("while {n} >= {c}:", "    {n} -= {c}"), "{n}"),
    "multiple": (("{r} = 0", "while {r} + {c} <= {n}:", "    {r} += {c}"), "{r}"),
    "digit": (("while {n} >= 10:", "    {n} -= 10"), "{n}"),
    "tens": (("{r} = 0", "while {n} >= 10:", "    {n} -= 10", "    {r} += 1"), "{r}"),
}
_AFTER = (
    Part("after", "same", ("",), "{x}", lambda x, c, d: x),
    Part("after", "plus", ("Add {c} before printing.",), "{x} + {c}", lambda x, c, d: x + c,
         parts.numbers(*range(1, 6))),
)


def edges(rng: random.Random, knobs) -> Draft:
    """What is kept of a list may be nothing; a program that does not ask crashes then."""
    slots = (_KEPT, _REDUCE)
    choices = tuple(parts.choose(rng, slot) for slot in slots)

    def write(choices: tuple[Choice, ...], rng: random.Random, is_careful: bool) -> str:
        select, reduce = choices
        values, x, kept = spell(rng, knobs.names, ("nums", "a", "xs"), ("x", "k", "v"), ("left", "b", "ys"))
        lines = [read_list(rng, values), f"{kept} = [{x} for {x} in {values} if {select.code(x)}]"]
        last = f"print({reduce.code(kept)})"
        if is_careful:
            lines += [f"if {kept}:", *indent([last]), "else:", *indent([f"print({reduce.c})"])]
        else:
            lines.append(last)
        return "\n".join(lines) + "\n"

    def is_trapped(choices: tuple[Choice, ...], stdin: str) -> bool:
        return not any(choices[0].apply(x) for x in map(int, stdin.split()))

    def evaluate(choices: tuple[Choice, ...], stdin: str) -> str:
        kept = [x for x in map(int, stdin.split()) if choices[0].apply(x)]
        return f"{choices[1].apply(kept) if kept else choices[1].c}\n"

    def sample(rng: random.Random, size: int, largest: int) -> str:
        wants_empty = rng.random() < _EMPTY_SHARE
        for _ in range(20):
            text = sample_numbers(rng, size, largest)
            if not wants_empty or is_trapped(choices, text):
                break
        return text

    statement = sentence("Given a list of integers.", f"Take the {choices[0].phrase(rng)}.", choices[1].phrase(rng))
    return Draft(
        "edges", choices, statement, lambda choices, rng: write(choices, rng, True), evaluate, sample, mutator(slots),
        trap=lambda choices, rng: write(choices, rng, False), is_trapped=is_trapped,
    )  # fmt: skip


def limits(rng: random.Random, knobs) -> Draft:
    """A loop does for small numbers what takes an operation for all."""
    slots = (_BEFORE, _ASK, _AFTER)
    choices = tuple(parts.choose(rng, slot) for slot in slots)

    def write(choices: tuple[Choice, ...], rng: random.Random, is_fast: bool) -> str:
        before, ask, after = choices
        n, r = spell(rng, knobs.names, ("n", "m", "x"), ("ans", "t", "s"))
        lines, found = (("{r} = " + ask.part.code,), "{r}") if is_fast else _SLOWLY[ask.part.kind]
        lines = [line.format(n=n, r=r, c=ask.c) for line in lines]
        head = [f"{n} = int(input())", *([before.code(n)] if before.part.code else [])]
        return "\n".join([*head, *lines, f"print({after.code(found.format(n=n, r=r))})"]) + "\n"

    def evaluate(choices: tuple[Choice, ...], stdin: str) -> str:
        value = int(stdin)
        for choice in choices:
            value = choice.apply(value)
        return f"{value}\n"

    def sample(rng: random.Random, size: int, largest: int) -> str:
        return str(rng.randint(*_HUGE) if rng.random() < 0.5 else rng.randint(1, 8 * size))

    statement = sentence("Given a positive integer.", *(choice.phrase(rng) for choice in choices))
    return Draft(
        "limits", choices, statement, lambda choices, rng: write(choices, rng, True), evaluate, sample, mutator(slots),
        trap=lambda choices, rng: write(choices, rng, False), is_trapped=lambda choices, stdin: int(stdin) >= _HUGE[0],
    )  # fmt: skip
