"""Whether an answer is the expected one; runs where the answers are, never where programs run.

Numbers agree within 1e-5, absolute or relative to the expected one, as the programming judges have it;
integers agree exactly, and where one is expected no number may be off by more than 1e-5. Nothing here
evaluates text: values are read with `ast.literal_eval` under a cap.
"""

from __future__ import annotations

import ast
import decimal
import math
import re

from selfexec_jax.problems import syntax

_RULES = ("exact", "tokens", "lines")
_TOLERANCE = 1e-5
_LITERAL_CHARS = 8 << 20
_DEEPEST = 90  # brackets; what a run returns is cut at 64
_BRACKET = re.compile(r"""'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+"|[(\[{]|[)\]}]""")
_FUZZY_ELEMENTS = 2_000  # elements of a set that may be matched by tolerance, one against each
# Possessive throughout: hostile digits must not be tried in every way.
_INTEGER = re.compile(r"([+-]?)(\d++)", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d++(\.\d*+)?|\.\d++)([eE][+-]?\d{1,9})?", re.ASCII)


def outputs_match(expected: str, actual: str, rule: str = "tokens") -> bool:
    """Whether two texts of stdout agree.

    exact: the same characters. tokens: the same words by whitespace, numbers within tolerance. lines: the
    same stripped lines, or lines of equal numbers (LiveCodeBench). Raises ValueError for another rule.
    """
    if rule not in _RULES:
        raise ValueError(f"rule: {rule!r} is not one of {', '.join(_RULES)}")
    if rule == "exact" or expected == actual:
        return expected == actual
    if rule == "tokens":
        wanted, got = expected.split(), actual.split()
        return len(wanted) == len(got) and all(map(_tokens_match, wanted, got))
    wanted, got = expected.strip().split("\n"), actual.strip().split("\n")
    return len(wanted) == len(got) and all(map(_lines_match, wanted, got))


def literals_match(expected_source: str, actual_source: str, rule: str = "literal") -> bool:
    """Whether two literals denote the same value.

    literal: of the same types, where 2 and 2.0 agree and True and 1 do not. as_json: the same, but a tuple
    may stand for a list. equal: what Python's == says. nan agrees with nothing. Raises ValueError when the
    expected one is not a literal.
    """
    try:
        expected = read_literal(expected_source)
    except ValueError as error:
        raise ValueError(f"the expected value is not a literal: {expected_source[:80]!r}") from error
    if is_too_long(expected_source, actual_source):
        return False
    try:
        actual = read_literal(actual_source)
        return expected == actual if rule == "equal" else _same(expected, actual, rule == "as_json")
    except (ValueError, RecursionError):
        return False


def is_too_long(expected: str, actual: str) -> bool:
    """Whether a literal is much longer than the expected one, whose equal is about as long: not worth reading, and it
    may be made to take for ever."""
    return len(actual) > 1_000 + 16 * len(expected)


def answers_match(kind: str, expected: str, actual: str | None) -> bool:
    """Whether a run's answer, real or predicted, is the expected one by the usual rule for its kind; None never is."""
    if actual is None:
        return False
    if kind == "stdio":
        return outputs_match(expected, actual)
    try:
        return literals_match(expected, actual)
    except ValueError:
        return False


def is_literal(source: str | ast.expr) -> bool:
    """Whether a text, or a piece of a syntax tree, is a Python literal."""
    try:
        read_literal(source) if isinstance(source, str) else syntax.literal_eval(source)
    except syntax.NO_LITERAL:
        return False
    return True


def _tokens_match(wanted: str, got: str) -> bool:
    if wanted == got:
        return True
    whole, other = _INTEGER.fullmatch(wanted), _INTEGER.fullmatch(got)
    if whole and other:  # by digits: converting long integers is slow and capped
        digits = whole[2].lstrip("0")
        same_sign = (whole[1] == "-") == (other[1] == "-") or not digits
        return same_sign and digits == other[2].lstrip("0")
    if not (_NUMBER.fullmatch(wanted) and _NUMBER.fullmatch(got)):
        return False
    if whole:
        return _decimals_match(wanted, got) or _is_nearly(float(wanted), float(got))
    return _close(float(wanted), float(got))


def _lines_match(wanted: str, got: str) -> bool:
    if wanted.strip() == got.strip():
        return True
    pairs = wanted.split(), got.split()
    if len(pairs[0]) != len(pairs[1]) or not all(
        _NUMBER.fullmatch(token) for side in pairs for token in side
    ):
        return False
    return all(map(_decimals_match, *pairs))


def _decimals_match(wanted: str, got: str) -> bool:
    return decimal.Decimal(wanted) == decimal.Decimal(got)


def read_literal(source: str):
    """The value of a literal that anybody may have written. Raises ValueError where it is none, or too long or deep."""
    if len(source) > _LITERAL_CHARS:
        raise ValueError("too long")
    if _depth(source) > _DEEPEST:  # some parsers take exponential time to give up on these
        raise ValueError("nested too deep")
    try:
        return syntax.literal_eval(source.strip())
    except syntax.NO_LITERAL as error:
        raise ValueError(str(error)) from error


def _depth(source: str) -> int:
    """How deep brackets nest, at most, outside of strings."""
    depth = deepest = 0
    for match in _BRACKET.finditer(source):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(match.group(), 0)
        deepest = max(deepest, depth)
    return deepest


def _close(wanted: float, got: float) -> bool:
    if math.isinf(wanted) or math.isinf(got):
        return wanted == got
    return abs(wanted - got) <= _TOLERANCE * max(1.0, abs(wanted))  # False for nan


def _is_nearly(wanted: float, got: float) -> bool:
    """Whether a float may be meant for an integer; beyond 2**53 floats are too far apart to tell."""
    return abs(wanted) < 1 << 53 and abs(wanted - got) <= _TOLERANCE


def _same(wanted, got, tuples_as_lists: bool) -> bool:
    kinds = type(wanted), type(got)
    if kinds[0] in (int, float) and kinds[1] in (int, float):
        if kinds == (int, int):
            return wanted == got
        try:
            return wanted == got or (_is_nearly if kinds[0] is int else _close)(float(wanted), float(got))
        except OverflowError:
            return False
    if kinds == (complex, complex):
        return _close(wanted.real, got.real) and _close(wanted.imag, got.imag)
    if tuples_as_lists:
        kinds = tuple(list if kind is tuple else kind for kind in kinds)
    if kinds[0] is not kinds[1]:
        return False
    if kinds[0] in (list, tuple):
        return len(wanted) == len(got) and all(
            _same(a, b, tuples_as_lists) for a, b in zip(wanted, got, strict=True)
        )
    if kinds[0] is set:
        return len(wanted) == len(got) and _pair_up(wanted, got, tuples_as_lists) is not None
    if kinds[0] is dict:
        keys = _pair_up(wanted, got, tuples_as_lists) if len(wanted) == len(got) else None
        return keys is not None and all(_same(wanted[a], got[b], tuples_as_lists) for a, b in keys)
    return wanted == got


def _pair_up(wanted, got, tuples_as_lists: bool) -> list[tuple] | None:
    """Each element of `wanted` with its own in `got`, or None; exact partners first, then close ones."""
    exact = {_key(b): b for b in got}
    pairs, left = [], []
    for a in wanted:
        key = _key(a)
        if key in exact:
            pairs.append((a, exact.pop(key)))
        else:
            left.append(a)
    if len(left) > _FUZZY_ELEMENTS:
        return None
    rest = list(exact.values())
    for a in left:
        for i, b in enumerate(rest):
            if _same(a, b, tuples_as_lists):
                pairs.append((a, rest.pop(i)))
                break
        else:
            return None
    return pairs


def _key(value):
    """A hashable that is equal for exactly the same values, telling True from 1."""
    if type(value) is tuple:
        return (tuple, *map(_key, value))
    return (bool if type(value) is bool else None, value)
