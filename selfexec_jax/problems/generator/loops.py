"""Families of `while` and nested loops: digits of a number, a state that runs, pairs of a list."""

from __future__ import annotations

import random
from itertools import combinations

from selfexec_jax.problems.generator import parts
from selfexec_jax.problems.generator.draft import Draft, indent, mutator, sentence, spell
from selfexec_jax.problems.generator.lists import read_list, sample_numbers
from selfexec_jax.problems.generator.parts import Choice, Part

_DIGIT_SELECT = tuple(p for p in parts.SELECT if p.kind in ("even", "odd", "multiple", "remainder", "all")) + (
    Part("select", "above", ("numbers greater than {c}",), "{x} > {c}", lambda x, c, d: x > c,
         tuple((c, None) for c in (2, 4, 6)), "{x} <= {c}"),
)
_DIGIT_TRANSFORM = tuple(p for p in parts.TRANSFORM if p.kind in ("same", "plus", "times"))

_UPDATE = (
    Part("update", "grow", ("multiply it by {c} and add {d}",), "{x} * {c} + {d}",
         lambda x, c, d: sum([x] * c) + d, ((2, 1), (2, 3), (3, 1), (3, 2))),
    Part("update", "add", ("add {c} to it",), "{x} + {c}", lambda x, c, d: x + c,
         tuple((c, None) for c in (7, 9, 11, 13))),
    Part("update", "double", ("double it and subtract {c}",), "{x} * 2 - {c}", lambda x, c, d: x + x - c,
         tuple((c, None) for c in (0, 1))),
)
_BOUND = (
    Part("bound", "below", ("While it is below {c},",), "{x} < {c}", lambda x, c, d: x < c,
         tuple((c, None) for c in (30, 50, 80, 100))),
    Part("bound", "at_most", ("While it is at most {c},",), "{x} <= {c}", lambda x, c, d: not x > c,
         tuple((c, None) for c in (29, 49, 79, 99))),
)
_SHOW = (
    Part("show", "final", ("Print the final value.",), "", None),
    Part("show", "steps", ("Print the number of rounds.",), "", None),
    Part("show", "both", ("Print the number of rounds and the final value.",), "", None),
)
_PAIR = (
    Part("pair", "sum_above", ("sum is above {c}",), "{x} + {y} > {c}", lambda p, c, d: sum(p) > c,
         tuple((c, None) for c in (10, 15, 20))),
    Part("pair", "sum_even", ("sum is even",), "({x} + {y}) % 2 == 0", lambda p, c, d: not sum(p) & 1),
    Part("pair", "rising", ("second is larger than the first",), "{x} < {y}", lambda p, c, d: p[1] > p[0]),
    Part("pair", "close", ("distance is at most {c}",), "abs({x} - {y}) <= {c}",
         lambda p, c, d: max(p) - min(p) <= c, tuple((c, None) for c in (3, 5, 8))),
)
_COUNT = (Part("reduce", "count", ("Print the number of such pairs.",), "", lambda v, c, d: len(v)),
          Part("reduce", "sum", ("Print the sum over them of both numbers.",), "",
               lambda v, c, d: sum(map(sum, v))))


def digits(rng: random.Random, knobs) -> Draft:
    slots = (_DIGIT_SELECT, _DIGIT_TRANSFORM, parts.ACCUMULATE)
    choices = [parts.choose(rng, slot) for slot in slots]
    hidden = rng.random() < knobs.open_share
    if hidden:
        choices[0] = Choice(rng.choice([p for p in _DIGIT_SELECT if p.kind in ("even", "odd")]))

    def render(choices, rng):
        select, transform, reduce = choices
        n, total = spell(rng, knobs.names, ("n", "m", "x"), ("s", "t", "ans"))
        kind = reduce.part.kind
        value = "1" if kind == "count" else transform.code("d")
        sign = "-" if kind == "drain" else "+"
        update = f"{total} {sign}= {value}"
        inner = [update] if select.part.kind == "all" else [f"if {select.code('d')}:", *indent([update])]
        loop = [f"while {n} > 0:", *indent([f"d = {n} % 10", *inner, f"{n} //= 10"])]
        lines = [f"{n} = int(input())", f"{total} = {reduce.c or 0}", *loop, f"print({total})"]
        return "\n".join(lines) + "\n"

    def evaluate(choices, stdin):
        select, transform, reduce = choices
        kept = [transform.apply(int(ch)) for ch in stdin.strip() if select.apply(int(ch))]
        return f"{reduce.apply(kept)}\n"

    which = "some of its digits, the examples show which" if hidden else choices[0].phrase(rng)
    which = which.replace("numbers", "digits")
    change = choices[1].phrase(rng)
    change = change[:1].upper() + change[1:] + "." if change else ""
    statement = sentence("Given a positive integer.", f"Take {which}.", change, choices[2].phrase(rng))
    return Draft("digits", tuple(choices), statement, render, evaluate,
                 lambda rng, size, largest: str(rng.randint(10 ** (size - 1), 10**size - 1)), mutator(slots), hidden)


def running(rng: random.Random, knobs) -> Draft:
    slots = (_BOUND, _UPDATE, _SHOW)
    choices = tuple(parts.choose(rng, slot) for slot in slots)
    hidden = rng.random() < knobs.open_share

    def render(choices, rng):
        bound, update, show = choices
        (x,) = spell(rng, knobs.names, ("x", "n", "m"))
        counts = show.part.kind != "final"
        body = indent([f"{x} = {update.code(x)}"] + (["k += 1"] if counts else []))
        shown = {"final": x, "steps": "k", "both": f"k, {x}"}[show.part.kind]
        head = [f"{x} = int(input())"] + (["k = 0"] if counts else [])
        return "\n".join([*head, f"while {bound.code(x)}:", *body, f"print({shown})"]) + "\n"

    def evaluate(choices, stdin):
        bound, update, show = choices
        x, rounds = int(stdin), 0
        while bound.apply(x):
            x, rounds = update.apply(x), rounds + 1
        return {"final": f"{x}\n", "steps": f"{rounds}\n", "both": f"{rounds} {x}\n"}[show.part.kind]

    phrase = "change it as the examples show" if hidden else choices[1].phrase(rng)
    statement = sentence("Given an integer.", choices[0].phrase(rng), f"{phrase}.", choices[2].phrase(rng))
    return Draft("running", choices, statement, render, evaluate,
                 lambda rng, size, largest: str(rng.randint(2, 6 * size)), mutator(slots), hidden)


def pairs(rng: random.Random, knobs) -> Draft:
    slots = (_PAIR, _COUNT)
    choices = tuple(parts.choose(rng, slot) for slot in slots)
    hidden = rng.random() < knobs.open_share

    def render(choices, rng):
        pair, reduce = choices
        a, total = spell(rng, knobs.names, ("a", "nums", "v"), ("t", "s", "c"))
        condition = pair.part.code.format(x=f"{a}[i]", y=f"{a}[j]", c=pair.c)
        value = "1" if reduce.part.kind == "count" else f"{a}[i] + {a}[j]"
        inner = [f"if {condition}:", *indent([f"{total} += {value}"])]
        loops = [f"for i in range(len({a})):", *indent([f"for j in range(i + 1, len({a})):", *indent(inner)])]
        return "\n".join([read_list(rng, a), f"{total} = 0", *loops, f"print({total})"]) + "\n"

    def evaluate(choices, stdin):
        pair, reduce = choices
        return f"{reduce.apply([p for p in combinations(map(int, stdin.split()), 2) if pair.apply(p)])}\n"

    which = "as the examples show" if hidden else f"whose {choices[0].phrase(rng)}"
    statement = sentence("Given a list of integers.", f"Take all pairs {which}.", choices[1].phrase(rng))
    return Draft("pairs", choices, statement, render, evaluate, sample_numbers, mutator(slots), hidden)
