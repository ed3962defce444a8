"""What a command is given: texts by their names, and one line where they are no good."""

from __future__ import annotations

import sys

from selfexec_jax.traces.clean import clean


def read(name: str) -> str:
    """A text file; "-" is our own stdin. Raises OSError, or ValueError for what is no text."""
    if name == "-":
        return sys.stdin.read()
    try:
        with open(name, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError:
        raise ValueError(f"{name}: not UTF-8 text") from None


def complain(wrong: str | Exception) -> int:
    """Says on one line of stderr what is no good; returns the exit code for that."""
    if isinstance(wrong, OSError) and wrong.filename:
        wrong = f"{wrong.filename}: {wrong.strerror}"
    print(clean(wrong).replace("\n", " "), file=sys.stderr)
    return 2
