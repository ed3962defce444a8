"""Files that are there whole or not at all, and files that grow by a line at a time and may have been cut off."""

from __future__ import annotations

import json
from pathlib import Path


def write_whole(path: str | Path, text: str) -> None:
    """Writes a text so that the file is never seen half-written."""
    partial = Path(f"{path}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_log(path: Path, what: str) -> list[dict]:
    """The objects of a jsonl that was appended to, none where there is no file; a last line that was cut off goes.

    Raises ValueError, and leaves the file as it is, where it holds anything else than `what`.
    """
    if not path.exists():
        return []
    *lines, cut = path.read_text(encoding="utf-8").split("\n")
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise ValueError(f"{path}:{number}: not {what}; name another file or remove this one")
        rows.append(row)
    if cut and not cut.startswith("{"):
        raise ValueError(f"{path}:{len(lines) + 1}: not {what}; name another file or remove this one")
    if cut:
        write_whole(path, "".join(f"{line}\n" for line in lines))
    return rows
