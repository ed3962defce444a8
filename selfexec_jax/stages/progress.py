"""Progress of long work: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence

from tqdm import tqdm

log = logging.getLogger(__name__)
_EVERY_S = 20.0  # seconds between lines where there is no terminal


def progress(items: Sequence, label: str) -> Iterator:
    """Yields the items and shows how far it is."""
    if not log.isEnabledFor(logging.INFO):
        yield from items
        return
    if sys.stderr.isatty():
        yield from tqdm(items, label, leave=False, mininterval=0.5)
        return
    last = time.monotonic()
    for i, item in enumerate(items):
        if time.monotonic() - last > _EVERY_S:
            last = time.monotonic()
            log.info("%s: %d of %d", label, i, len(items))
        yield item


def time_left(done: int, total: int, seconds_a_step: float) -> str:
    """The time that is left, in words, for a line of a training log."""
    seconds = (total - done) * seconds_a_step
    return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"
