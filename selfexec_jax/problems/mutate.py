"""More inputs for a function: its known arguments, changed a little, each to a value of the same type."""

from __future__ import annotations

import ast
import random

from selfexec_jax.problems import syntax

_LETTERS = "abcxyz AZ09_-.,"
_NUMBERS = (0, 1, -1, 2, 10, 100)


def more_inputs(known: list[str], n: int, seed: int | str) -> list[str]:
    """Up to `n` new argument lists made from known ones, as source; same seed, same inputs.

    known: sources of argument lists, as in `Test.input`. Those that are not literals are left as they are.
    """
    rng = random.Random(f"inputs/{seed}")
    found = dict.fromkeys(known)
    for _ in range(20 * n):
        if not known or len(found) >= len(set(known)) + n:
            break
        found[mutated(rng.choice(list(found)), rng)] = None
    return list(found)[len(set(known)) :]


def mutated(arguments: str, rng: random.Random) -> str:
    """An argument list with at least one literal changed, as source; what is none as it is."""
    try:
        call = syntax.parse(f"f({arguments})", mode="eval").body
    except syntax.UNREADABLE:
        return arguments
    if not isinstance(call, ast.Call):  # `1) + f(2`
        return arguments
    parts = [*call.args, *(keyword.value for keyword in call.keywords)]
    values = [_literal(part) for part in parts]
    usable = [i for i, value in enumerate(values) if value is not None]
    if not usable:
        return arguments
    chosen = {rng.choice(usable), *(i for i in usable if rng.random() < 0.3)}
    texts = [repr(_changed(values[i][0], rng)) if i in chosen else ast.unparse(part) for i, part in enumerate(parts)]
    named = texts[len(call.args) :]
    given = [f"{keyword.arg}={text}" if keyword.arg else f"**{text}"
             for keyword, text in zip(call.keywords, named, strict=True)]  # fmt: skip
    return ", ".join(texts[: len(call.args)] + given)


def _literal(node: ast.expr) -> tuple | None:
    try:
        return (syntax.literal_eval(node),)
    except syntax.NO_LITERAL:
        return None


def _changed(value, rng: random.Random):
    kind = type(value)
    if kind is bool:
        return not value
    if kind is int:
        return rng.choice([value + rng.choice([-3, -2, -1, 1, 2, 3]), -value, value * 2, rng.choice(_NUMBERS)])
    if kind is float:
        return rng.choice([value + rng.choice([-1.5, -0.5, 0.5, 1.0]), -value, value * 2, 0.0])
    if kind is str:
        return _changed_text(value, rng)
    if kind is bytes:
        return _changed_text(value.decode("latin-1"), rng).encode("latin-1", "ignore")  # some letters leave it
    if kind is list or kind is tuple:
        return kind(_changed_items(list(value), rng))
    if kind is set:
        return set(_changed_items(sorted(value, key=repr), rng))
    if kind is dict:
        return _changed_pairs(value, rng)
    return value  # None, complex, Ellipsis


def _changed_text(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    how = rng.randrange(5)
    if how == 0 or not text:
        return text[:at] + rng.choice(_LETTERS) + text[at:]
    at = min(at, len(text) - 1)
    if how == 1:
        return text[:at] + text[at + 1 :]
    if how == 2:
        return text[:at] + text[at].swapcase() + text[at + 1 :]
    return text[::-1] if how == 3 else text[at:] + text[:at]


def _changed_items(items: list, rng: random.Random) -> list:
    """One item changed, one more like those that are there, one less, or another order."""
    how = rng.randrange(4)
    if not items:
        return [rng.choice(_NUMBERS)] if how == 0 else items
    at = rng.randrange(len(items))
    if how == 0:
        return [*items[:at], _changed(items[at], rng), *items[at + 1 :]]
    if how == 1:
        return [*items[:at], _changed(items[at], rng), *items[at:]]
    if how == 2:
        return items[:at] + items[at + 1 :]
    return rng.sample(items, len(items))


def _changed_pairs(pairs: dict, rng: random.Random) -> dict:
    if not pairs:
        return pairs
    keys = list(pairs)
    key, how = rng.choice(keys), rng.randrange(3)
    if how == 0:
        return {k: v for k, v in pairs.items() if k != key}
    if how == 1:
        return pairs | {key: _changed(pairs[key], rng)}
    return pairs | {_changed(key, rng): pairs[key]}
