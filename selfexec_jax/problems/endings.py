"""How runs end that give no output: a text for each, to stand where an output would and to equal none."""

from __future__ import annotations

import re

_ENDING = re.compile(r"\0([A-Za-z_][\w.]*)")  # no test wants an output like it


def ending(name: str) -> str:
    """The text of an ending: `name` is the type of an exception, or timeout."""
    return f"\0{name}"


def ending_name(given: str | None) -> str | None:
    """The name of an ending; None for an output, and for nothing."""
    found = _ENDING.fullmatch(given or "")
    return found and found.group(1)


def shown(given: str | None) -> str | None:
    """An output as it is, an ending as `!name`."""
    name = ending_name(given)
    return f"!{name}" if name else given
