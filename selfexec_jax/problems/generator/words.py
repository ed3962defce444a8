"""Families over text: characters of a word, and tables that count or add up by key."""

from __future__ import annotations

import random

from selfexec_jax.problems.generator import parts
from selfexec_jax.problems.generator.draft import Draft, indent, mutator, sentence, spell
from selfexec_jax.problems.generator.parts import Part

_KEEP = (
    Part("keep", "vowels", ("the vowels",), "{x} in 'aeiou'", lambda x, c, d: x in set("aeiou")),
    Part("keep", "consonants", ("the letters that are not vowels",), "{x} not in 'aeiou'",
         lambda x, c, d: x not in set("aeiou")),
    Part("keep", "before", ("the letters before {c} in the alphabet",), "{x} < '{c}'",
         lambda x, c, d: ord(x) < ord(c), tuple((c, None) for c in "dhm")),
    Part("keep", "not", ("the letters other than {c}",), "{x} != '{c}'", lambda x, c, d: x != c,
         tuple((c, None) for c in "aes")),
    Part("keep", "all", ("all letters",), "", lambda x, c, d: True),
)
_CHANGE = (
    Part("change", "same", ("",), "{x}", lambda x, c, d: x),
    Part("change", "upper", ("Make each upper case.",), "{x}.upper()", lambda x, c, d: chr(ord(x) - 32)),
    Part("change", "double", ("Write each twice.",), "{x} * 2", lambda x, c, d: x + x),
)
_JOIN = (
    Part("join", "forward", ("Print them in order.",), "{s} + {x}", lambda v, c, d: "".join(v)),
    Part("join", "backward", ("Print them in reverse order.",), "{x} + {s}",
         lambda v, c, d: "".join(reversed(v))),
    Part("join", "count", ("Print how many there are.",), "", lambda v, c, d: str(len(v))),
)
_WEIGHT = (
    Part("weight", "one", ("how often it occurs",), "1", lambda w, c, d: 1),
    Part("weight", "length", ("the total of its length over its occurrences",), "len(w)",
         lambda w, c, d: len(w)),
)
_ASK = (
    Part("ask", "largest", ("Print the largest of these numbers.",), "max({t}.values())",
         lambda t, c, d: max(t.values())),
    Part("ask", "distinct", ("Print how many of these numbers are above {c}.",), "",
         lambda t, c, d: sum(v > c for v in t.values()), ((1, None), (2, None))),
    Part("ask", "of", ("Print that of the word {c}, or 0.",), "{t}.get('{c}', 0)",
         lambda t, c, d: t.get(c, 0), tuple((c, None) for c in ("ab", "no", "sea"))),
)
_WORDS = ("ab", "no", "sea", "tree", "is", "bob")


def letters(rng: random.Random, knobs) -> Draft:
    slots = (_KEEP, _CHANGE, _JOIN)
    choices = tuple(parts.choose(rng, slot) for slot in slots)
    hidden = rng.random() < knobs.open_share

    def render(choices, rng):
        keep, change, join = choices
        word, out, ch = spell(rng, knobs.names, ("s", "w", "word"), ("r", "out", "t"), ("c", "ch", "x"))
        counts = join.part.kind == "count"
        if counts:
            update = f"{out} += 1"
        elif join.part.kind == "forward":
            update = f"{out} += {change.code(ch)}"
        else:
            update = f"{out} = {change.code(ch)} + {out}"
        inner = [update] if keep.part.kind == "all" else [f"if {keep.code(ch)}:", *indent([update])]
        start = f"{out} = {'0' if counts else repr('')}"
        loop = [f"for {ch} in {word}:", *indent(inner)]
        return "\n".join([f"{word} = input()", start, *loop, f"print({out})"]) + "\n"

    def evaluate(choices, stdin):
        keep, change, join = choices
        return join.apply([change.apply(ch) for ch in stdin.strip() if keep.apply(ch)]) + "\n"

    which = "some letters, the examples show which" if hidden else choices[0].phrase(rng)
    statement = sentence("Given a word.", f"Take {which}.", choices[1].phrase(rng), choices[2].phrase(rng))
    return Draft("letters", choices, statement, render, evaluate,
                 lambda rng, size, _: "".join(rng.choice("aeiobdhmst") for _ in range(size)), mutator(slots), hidden)


def tables(rng: random.Random, knobs) -> Draft:
    slots = (_WEIGHT, _ASK)
    choices = tuple(parts.choose(rng, slot) for slot in slots)
    hidden = rng.random() < knobs.open_share

    def render(choices, rng):
        weight, ask = choices
        (table,) = spell(rng, knobs.names, ("d", "seen", "count"))
        update = (
            [f"{table}[w] = {table}.get(w, 0) + {weight.code('w')}"]
            if rng.random() < 0.5
            else [f"if w not in {table}:", *indent([f"{table}[w] = 0"]), f"{table}[w] += {weight.code('w')}"]
        )
        lines = ["words = input().split()", f"{table} = {{}}", "for w in words:", *indent(update)]
        if ask.part.kind == "distinct":
            lines += ["k = 0", f"for w in {table}:", *indent([f"if {table}[w] > {ask.c}:", *indent(["k += 1"])])]
            return "\n".join([*lines, "print(k)"]) + "\n"
        return "\n".join([*lines, f"print({ask.part.code.format(t=table, c=ask.c)})"]) + "\n"

    def evaluate(choices, stdin):
        weight, ask = choices
        words = stdin.split()
        return f"{ask.apply({w: sum(weight.apply(v) for v in words if v == w) for w in words})}\n"

    which = "a number that the examples show" if hidden else choices[0].phrase(rng)
    statement = sentence("Given some words.", f"Find for each different word {which}.", choices[1].phrase(rng))
    return Draft("tables", choices, statement, render, evaluate,
                 lambda rng, size, _: " ".join(rng.choice(_WORDS) for _ in range(size + 1)), mutator(slots), hidden)
