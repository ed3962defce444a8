"""What goes between the pool and its brokers: a length and a pickle, in both directions.

They trust each other, and what a program wrote is text in it.
"""

from __future__ import annotations

import pickle
import struct

_LENGTH = struct.Struct("<Q")


def message(content: object) -> bytes:
    """What goes over the wire for some content."""
    data = pickle.dumps(content, protocol=5)
    return _LENGTH.pack(len(data)) + data


def messages(inbox: bytearray) -> list:
    """Takes the whole messages off the front of what has arrived."""
    found, at = [], 0
    while len(inbox) >= at + _LENGTH.size:
        end = at + _LENGTH.size + _LENGTH.unpack_from(inbox, at)[0]
        if len(inbox) < end:
            break
        found.append(pickle.loads(memoryview(inbox)[at + _LENGTH.size : end]))
        at = end
    del inbox[:at]
    return found
