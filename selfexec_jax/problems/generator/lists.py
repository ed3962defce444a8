"""Families over a list of integers: accumulate (sum, count) and extremum (largest, first and the like)."""

from __future__ import annotations

import functools
import random

from selfexec_jax.problems.generator import parts
from selfexec_jax.problems.generator.draft import Draft, indent, sentence, spell
from selfexec_jax.problems.generator.parts import Choice

_LISTS = ("nums", "a", "xs")
_ITEMS = ("x", "k", "v")
_TOTALS = ("ans", "t", "s")


def read_list(rng: random.Random, name: str) -> str:
    return rng.choice(
        (f"{name} = list(map(int, input().split()))", f"{name} = [int(w) for w in input().split()]")
    )


def sample_numbers(rng: random.Random, size: int, largest: int) -> str:
    """`size` integers up to `largest`: half of them digits, a fifth negative."""

    def number() -> int:
        kind = rng.random()
        if kind < 0.5:
            return rng.randint(0, min(9, largest))
        return rng.randint(0, largest) if kind < 0.8 else -rng.randint(1, max(largest // 3, 1))

    return " ".join(str(number()) for _ in range(size))


def evaluate(choices: tuple[Choice, ...], stdin: str) -> str:
    select, transform, reduce, final = choices
    values = [transform.apply(x) for x in map(int, stdin.split()) if select.apply(x)]
    return f"{final.apply(reduce.apply(values))}\n"


def _update(reduce: Choice, total: str, value: str, rng: random.Random) -> list[str]:
    """The lines that fold `value` into `total`."""
    kind = reduce.part.kind
    if kind in ("sum", "offset", "count", "drain"):
        sign = "-" if kind == "drain" else "+"
        value = "1" if kind == "count" else value
        if " " in value or rng.random() < 0.6:
            return [f"{total} {sign}= {value}"]
        return [f"{total} = {total} {sign} {value}"]
    if kind in ("max", "min"):
        sign = ">" if kind == "max" else "<"
        return [f"if {total} is None or {value} {sign} {total}:", *indent([f"{total} = {value}"])]
    if kind == "first":
        return [f"if {total} is None:", *indent([f"{total} = {value}"])]
    return [f"{total} = {value}"]


def write_loop(
    choices: tuple[Choice, ...], rng: random.Random, n_names: int, value_of: str | None = None
) -> tuple[str, list[str], str]:
    """The loop over the list: (name of the list, lines, name of the result). `value_of` names a helper."""
    select, transform, reduce, _ = choices
    values, x, total = spell(rng, n_names, _LISTS, _ITEMS, _TOTALS)
    kind = reduce.part.kind
    is_searching = kind in ("max", "min", "first")
    start = {"drain": reduce.c, "offset": reduce.c, "last": reduce.c, "sum": 0, "count": 0}.get(kind)
    value = f"{value_of}({x})" if value_of else transform.code(x)
    body: list[str] = []
    # A value used twice (compared, then kept) gets a name, as people write it.
    if kind != "count" and value != x and (kind in ("max", "min") or rng.random() < 0.3):
        body, value = [f"y = {value}"], "y"
    body += _update(reduce, total, value, rng)
    if select.part.kind != "all":
        if rng.random() < 0.75:
            body = [f"if {select.code(x)}:", *indent(body)]
        else:
            body = [f"if {select.inverse(x)}:", *indent(["continue"]), *body]
    if rng.random() < 0.88:
        loop = [f"for {x} in {values}:", *indent(body)]
    else:
        loop = [f"for i in range(len({values})):", *indent([f"{x} = {values}[i]", *body])]
    lines = [f"{total} = {start}", *loop]
    if is_searching:
        lines += [f"if {total} is None:", *indent([f"{total} = {reduce.c}"])]
    return values, lines, total


def render(choices: tuple[Choice, ...], rng: random.Random, n_names: int) -> str:
    values, lines, total = write_loop(choices, rng, n_names)
    return "\n".join([read_list(rng, values), *lines, f"print({choices[3].code(total)})"]) + "\n"


def describe(choices: tuple[Choice, ...], rng: random.Random, hidden: str | None) -> str:
    """The statement; the part in the slot `hidden` is left to the examples."""
    select, transform, reduce, final = choices
    which = "some of the numbers, the examples show which" if hidden == "select" else select.phrase(rng)
    take = rng.choice(("Take the {}.", "Consider the {}.", "Use the {}.")).format(which)
    take = take.replace("the some of", "some of")
    change = transform.phrase(rng)
    if hidden == "transform":
        change = "change each as the examples show"
    change = change[:1].upper() + change[1:] + "." if change else ""
    return sentence("Given a list of integers.", take, change, reduce.phrase(rng), final.phrase(rng))


def _draft(family: str, reductions: tuple, rng: random.Random, knobs) -> Draft:
    slots = (parts.SELECT, parts.TRANSFORM, reductions, parts.FINAL)
    choices = [parts.choose(rng, slot) for slot in slots]
    if rng.random() < 0.5:  # a plain ending is the commonest
        choices[3] = Choice(parts.FINAL[0])
    hidden = None
    if rng.random() < knobs.open_share:
        hidden = "transform" if rng.random() < 0.4 and choices[2].part.kind != "count" else "select"
        index = 0 if hidden == "select" else 1
        choices[index] = rng.choice(parts.OPEN_SELECT if hidden == "select" else parts.OPEN_TRANSFORM)
    if choices[2].part.kind == "count":
        choices[1] = Choice(parts.TRANSFORM[0])  # what is only counted need not be changed

    def mutate(now: tuple[Choice, ...], rng: random.Random) -> tuple[Choice, ...]:
        usable = [i for i in range(4) if not (i == 1 and now[2].part.kind == "count")]
        i = rng.choice(usable)
        return (*now[:i], parts.neighbour(rng, now[i], slots[i]), *now[i + 1 :])

    return Draft(
        family=family,
        choices=tuple(choices),
        statement=describe(tuple(choices), rng, hidden),
        render=functools.partial(render, n_names=knobs.names),
        evaluate=evaluate,
        sample_input=sample_numbers,
        mutate=mutate,
        is_open=hidden is not None,
    )


def accumulate(rng: random.Random, knobs) -> Draft:
    return _draft("accumulate", parts.ACCUMULATE, rng, knobs)


def extremum(rng: random.Random, knobs) -> Draft:
    return _draft("extremum", parts.EXTREMUM, rng, knobs)


def helper(rng: random.Random, knobs) -> Draft:
    """Accumulate again, with the change in a function of its own."""
    draft = accumulate(rng, knobs)

    def render_helper(choices: tuple[Choice, ...], rng: random.Random) -> str:
        (name,) = spell(rng, knobs.names, ("f", "change", "step"))
        values, lines, total = write_loop(choices, rng, knobs.names, value_of=name)
        define = [f"def {name}(x):", *indent([f"return {choices[1].code('x')}"]), ""]
        tail = [read_list(rng, values), *lines, f"print({choices[3].code(total)})"]
        return "\n".join([*define, *tail]) + "\n"

    return Draft(**{**vars(draft), "family": "helper", "render": render_helper})
