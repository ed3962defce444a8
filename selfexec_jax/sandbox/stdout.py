"""The program's stdout while it is traced: passes everything on and has the text recorded.

Standard library only; runs inside the jailed child.
"""

from __future__ import annotations

import sys

from selfexec_jax.sandbox import encode


class Tap:
    """Puts an `Out` where stdout is, and takes it away again.

    Where a program put a stream of its own, that one stays; the text shows when it reaches ours.
    """

    def __init__(self, tracer):
        self.bare = sys.stdout
        self._out = Out(self.bare, tracer)

    def __enter__(self):
        self._swap(self.bare, self._out)

    def __exit__(self, *_):
        self._swap(self._out, self.bare)

    @staticmethod
    def _swap(old, new):
        for name in ("stdout", "__stdout__"):
            if getattr(sys, name, None) is old:
                setattr(sys, name, new)


class Out:
    """Stands for the text stream `inner`."""

    def __init__(self, inner, tracer):
        self._inner, self._tracer = inner, tracer

    def write(self, text):
        count = self._inner.write(text)
        self._tracer.wrote(text)
        return count

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    @property
    def buffer(self):
        return Bytes(self._inner.buffer, self._tracer)

    def detach(self):
        return Bytes(self._inner.detach(), self._tracer)

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def __iter__(self):
        return iter(self._inner)


class Bytes:
    """Stands for the binary stream `inner` below it."""

    def __init__(self, inner, tracer):
        self._inner, self._tracer = inner, tracer

    def write(self, data):
        count = self._inner.write(data)
        self._tracer.wrote(text_of(data, count))
        return count

    @property
    def raw(self):
        return Bytes(self._inner.raw, self._tracer)

    def __getattr__(self, name):
        return getattr(self._inner, name)


encode.stand_ins |= {Out, Bytes}


def text_of(data, count=None):
    """The text of the first `count` bytes of what was written, with no method of `data` called."""
    return memoryview(data).tobytes()[:count].decode("utf-8", "replace")
