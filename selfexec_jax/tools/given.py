"""What a command is given: texts by their names, and one line where they are no good."""

from __future__ import annotations

import sys
from pathlib import Path

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


def write(name: str, text: str) -> None:
    """A text file, in a folder that is made if need be. Raises OSError."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")


def complain(wrong: str | Exception) -> int:
    """Says on one line of stderr what is no good; returns the exit code for that."""
    if isinstance(wrong, OSError) and wrong.filename:
        wrong = f"{wrong.filename}: {wrong.strerror}"
    print(clean(wrong).replace("\n", " "), file=sys.stderr)
    return 2
