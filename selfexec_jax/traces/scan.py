"""Reading and squeezing text that holds Python literals: strings and brackets are never split inside."""

from __future__ import annotations

import re
from collections.abc import Iterator

_STRING = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""")
_TIGHT = re.compile(r" ?([-+*/%@&|^<>=!,:~]) ?")


def squeeze(text: str) -> str:
    """The text without the spaces round operators and commas, strings left as they are."""
    out, at = [], 0
    for match in _STRING.finditer(text):
        out += [_TIGHT.sub(r"\1", text[at : match.start()]), match.group()]
        at = match.end()
    return "".join([*out, _TIGHT.sub(r"\1", text[at:])])


def outside(text: str) -> Iterator[int]:
    """The positions outside strings and brackets, from the left; ValueError where the text is malformed."""
    depth, at = 0, 0
    while at < len(text):
        char = text[at]
        if char in "'\"":
            match = _STRING.match(text, at)
            if match is None:
                raise ValueError("a string is not closed")
            at = match.end()
            continue
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth < 0:
                raise ValueError("a bracket is not open")
        elif depth == 0:
            yield at
        at += 1
    if depth:
        raise ValueError("a bracket is not closed")


def cut(text: str, separators: tuple[str, ...]) -> tuple[str, str, str]:
    """(before, separator, after) at the first top-level separator; (text, "", "") if there is none.

    What follows the separator may be anything; ValueError if what stands before it is malformed.
    """
    for at in outside(text):
        for separator in separators:
            if text.startswith(separator, at):
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
