"""How the recorder says a value: as an operand beside its source, or not at all where it would say nothing.

Standard library only; runs inside the jailed child.
"""

from __future__ import annotations

from selfexec_jax.sandbox import encode

_OPERAND_CHARS = 40
_NEAR = 5  # places from either end of a sequence that can be found without counting
_MOST_ITEMS = 64  # of a sequence that is spelled
_ITEM_CHARS = 24  # of one of its items
SEQUENCES = frozenset((str, list, tuple))
SMALL = 10**9  # an integer below it stands for itself: most values are such, and there is no faster way to say them


class Operands:
    """Says values in at most `value_chars` characters; `module` is the name of the program's module."""

    def __init__(self, value_chars, module):
        self.value_chars, self.module = value_chars, module

    def value(self, value):
        """What an event says of a value: a bool, a small int, or a display."""
        kind = type(value)
        if kind is bool or kind is int and -SMALL < value < SMALL:
            return value
        return encode.show(value, self.value_chars)

    def told(self, value):
        """As `value`, None where a display would say nothing."""
        kind = type(value)
        if kind is bool or kind is int and -SMALL < value < SMALL:
            return value
        return None if kind not in encode.KNOWN and self.opaque(value) else encode.show(value, self.value_chars)

    def arg(self, part, value):
        """What an event says of an operand: None where its source tells more than its display."""
        kind = type(value)
        if kind is bool or kind is int and -SMALL < value < SMALL:
            return value
        src, named = part
        if kind in encode.SCALARS:
            text = encode.show(value, _OPERAND_CHARS + 1)
            if len(text) <= _OPERAND_CHARS or not src:
                return text
            return None if named else encode.show(value, self.value_chars)
        if named or self.opaque(value):
            return None if src else encode.show(value, _OPERAND_CHARS)
        return encode.show(value, self.value_chars)

    def spelled(self, sequence, *positions):
        """The items of a sequence of scalars, None where no position is one that would have to be counted to."""
        n = len(sequence)
        inside = [p + n if p < 0 else p for p in positions if type(p) is int]
        if not (2 * _NEAR < n <= _MOST_ITEMS and any(_NEAR <= p < n - _NEAR for p in inside)):
            return None
        if not encode.SCALARS.issuperset(map(type, sequence)):
            return None
        items = [encode.show(item, _ITEM_CHARS) for item in sequence]
        return items if all(len(item) < _ITEM_CHARS for item in items) else None

    def opaque(self, value):
        """Whether a value's display would say nothing (functions, classes, modules, iterators, files)."""
        if type(value) in encode.KNOWN:
            return False
        return encode.class_module(value) != self.module or type(value) is type

    def index(self, part, index):
        """As `arg`; a slice is said as it is written between brackets."""
        if type(index) is slice:
            parts = [index.start, index.stop, index.step]
            if all(type(part) in (int, type(None)) for part in parts):
                text = ":".join("" if part is None else str(part) for part in parts[:2])
                return text + ("" if parts[2] is None else f":{parts[2]}")
        return self.arg(part, index)
