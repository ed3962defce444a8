"""Records a program line by line: the variables in sight, and which of them changed.

This is what the Code World Model (Meta, 2025) is trained on; see the style `cwm`. Events are
`["frame", line, data]`: `how` is call, line, return or exception; `locals` holds the variables by name, a
value that is displayed as in the frame before it in the same scope as `SAME`; `value` is what is returned or
raised. What is printed and called is recorded as in tracer.py.

Standard library only; runs inside the jailed child.
"""

from __future__ import annotations

import sys

from selfexec_jax.sandbox import encode
from selfexec_jax.sandbox.log import Log
from selfexec_jax.sandbox.stdout import Tap

SAME = ".."
_FRAMES = 40  # that the recorder may need on top of the program's


class LineTracer:
    """Traces one program, as `Tracer` does."""

    def __init__(self, source, budget, sink=None):
        self.source = source
        self.log = Log(budget, sink)
        self.tap = None
        self.tampered = False
        self._filename = "<program>"
        self._shown: dict[int, dict] = {}  # by frame: its variables when it was last seen
        self._is_unwinding: set[int] = set()  # frames whose last event was an exception

    def names(self) -> dict:
        """Nothing: the program is not rewritten."""
        return {}

    def compile(self, filename="<program>"):
        """The code of the program; raises its SyntaxError."""
        self._filename = filename
        return compile(self.source, filename, "exec", dont_inherit=True)

    def __enter__(self):
        self.tap = Tap(self)
        self.tap.__enter__()
        self._enter = self._on_call  # one object, to be known again
        sys.setrecursionlimit(sys.getrecursionlimit() + _FRAMES)
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_):
        self.tampered = sys.gettrace() is not self._enter or not self.log.is_whole
        sys.settrace(None)
        sys.setrecursionlimit(max(1, sys.getrecursionlimit() - _FRAMES))
        self.tap.__exit__()
        return False

    def result(self) -> dict:
        """The events as `Log.result` has them."""
        return self.log.result(self.tampered)

    def wrote(self, text):
        """Records text written to stdout."""
        if type(text) is str and text:
            self.log.wrote(text, 0, 0)

    def _on_call(self, frame, event, arg):
        if frame.f_code.co_filename != self._filename or self.log.stop:
            return None
        if len(self._shown) >= self.log.depth and id(frame) not in self._shown:
            self.log.halt("depth")
            return None
        if frame.f_code.co_name != "<module>":
            self._frame("call", frame)
        return self._on_event

    def _on_event(self, frame, event, arg):
        if self.log.stop:
            return None
        was_raised = id(frame) in self._is_unwinding
        self._is_unwinding.discard(id(frame))
        if event == "line":
            self._frame("line", frame)
        elif event == "return":
            if not (was_raised and arg is None):  # an exception on its way up ends a call too
                self.log.add("frame", frame.f_lineno, {"s": 0, "how": event, "locals": {}, "value": self._show(arg)})
            self._shown.pop(id(frame), None)
        elif event == "exception":
            self._is_unwinding.add(id(frame))
            name, message = encode.class_name(arg[1]), encode.error_message(arg[1])
            value = f"{name}: {message}" if message else name
            self.log.add("frame", frame.f_lineno, {"s": 0, "how": event, "locals": {}, "value": value})
        return self._on_event

    def _frame(self, how, frame):
        before, now = self._shown.get(id(frame), {}), {}
        in_module = frame.f_code.co_name == "<module>"
        for name, value in list(frame.f_locals.items()):
            if name.startswith(".") or (in_module and (name.startswith("__") or encode.is_definition(value))):
                continue
            now[name] = self._show(value)
        self._shown[id(frame)] = now
        said = {name: SAME if before.get(name) == text else text for name, text in now.items()}
        self.log.add("frame", frame.f_lineno, {"s": 0, "how": how, "locals": said, "value": None})

    def _show(self, value) -> str:
        return encode.show(value, self.log.value_chars)
