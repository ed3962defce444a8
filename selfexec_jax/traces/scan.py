"""Reading and squeezing text that holds Python literals: strings and brackets are never split inside."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from selfexec_jax.problems import syntax

STRING = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""")
_LONGEST = 4_000
_TIGHT = re.compile(r" ?([-+*/%@&|^<>=!,:~]) ?")


@functools.lru_cache(maxsize=1 << 14)  # the operations of a loop come again and again
def squeeze(text: str) -> str:
    """The text without the spaces round operators and commas, strings left as they are but for their quotes; one of
    more than some thousand characters as it is."""
    if len(text) > _LONGEST:  # strings that are not closed take the square of their number
        return text
    out, at = [], 0
    for match in STRING.finditer(text):
        out += [_TIGHT.sub(r"\1", text[at : match.start()]), _quoted(match.group())]
        at = match.end()
    return "".join([*out, _TIGHT.sub(r"\1", text[at:])])


def _quoted(string: str) -> str:
    """A string literal in the quotes that Python prefers."""
    if string[0] == "'" or "'" in string:
        return string
    try:
        return repr(syntax.literal_eval(string))
    except (ValueError, SyntaxError):
        return string


def places(text: str, separators: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Where separators stand outside strings and brackets, from the left; where several do, the first given.

    Raises ValueError when it comes to where the text is malformed.
    """
    depth = 0
    for match in _pattern(separators).finditer(text):
        kind = match.lastgroup
        if kind == "separator":
            if depth == 0:
                yield match.start(), match["separator"]
        elif kind == "open":
            depth += 1
        elif kind == "close":
            depth -= 1
            if depth < 0:
                raise ValueError("a bracket is not open")
        elif kind == "quote":
            raise ValueError("a string is not closed")
    if depth:
        raise ValueError("a bracket is not closed")


@functools.lru_cache
def _pattern(separators: tuple[str, ...]) -> re.Pattern:
    wanted = "|".join(map(re.escape, separators))
    return re.compile(
        rf"{STRING.pattern}|(?P<open>[(\[{{])|(?P<close>[)\]}}])|(?P<quote>['\"])|(?=(?P<separator>{wanted}))"
    )


def cut(text: str, separators: tuple[str, ...]) -> tuple[str, str, str]:
    """(before, separator, after) at the first top-level separator; (text, "", "") if there is none.

    What follows the separator may be anything; ValueError if what stands before it is malformed.
    """
    for at, separator in places(text, separators):
        return text[:at], separator, text[at + len(separator) :]
    return text, "", ""


def split(text: str, separator: str) -> list[str]:
    """The text cut at each top-level separator; ValueError if it is malformed."""
    parts = []
    rest, found = text, separator
    while found:
        part, found, rest = cut(rest, (separator,))
        parts.append(part)
    return parts
