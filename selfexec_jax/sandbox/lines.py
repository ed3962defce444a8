"""Records a program line by line: the variables in sight, and which of them changed.

This is what the Code World Model (Meta, 2025) is trained on; see the style `cwm`. A `frame` event has `how` (call,
line, return or exception), the number of the call under way, the variables by name, a value that is displayed as in
the frame before it in the same call as `SAME`, and what is returned or raised. What is printed and called is recorded
as in tracer.py.

Standard library only; runs inside the jailed child.
"""

from __future__ import annotations

import contextlib
import sys

from selfexec_jax.sandbox import encode
from selfexec_jax.sandbox.events import Site
from selfexec_jax.sandbox.log import Log
from selfexec_jax.sandbox.stdout import Tap
from selfexec_jax.sandbox.tracer import Tracer

SAME = ".."
_GENERATOR = 0x20  # of a code object's flags
_FRAMES = 40  # that the recorder may need on top of the program's


class LineTracer:
    """Traces one program, as `Tracer` does."""

    def __init__(self, source, budget, sink=None, log=None, hidden=()):
        self.source = source
        self._hidden = hidden  # names that are not the program's
        self.log = log or Log(budget, sink)
        self.tap = contextlib.nullcontext()
        self.tampered = False
        self._filename = "<program>"
        self._shown: dict[int, dict] = {}  # by frame: its variables when it was last seen
        self._scopes: dict[int, int] = {}  # by frame: its number
        self._sites: dict[int, int] = {}  # by line: its site
        self._n_scopes = 0
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
        self.start()
        return self

    def __exit__(self, *_):
        self.end()
        self.tap.__exit__()
        return False

    def start(self):
        """From here on the calls of the program are recorded."""
        self._enter = self._on_call  # one object, to be known again
        sys.setrecursionlimit(sys.getrecursionlimit() + _FRAMES)
        self._set_trace(self._enter)

    def _set_trace(self, function):
        self._is_set = function
        sys.settrace(function)

    def end(self):
        """Records no more, and looks for tampering."""
        self.tampered = sys.gettrace() is not self._is_set or not self.log.is_whole
        sys.settrace(None)
        sys.setrecursionlimit(max(1, sys.getrecursionlimit() - _FRAMES))

    def result(self) -> dict:
        """The events as `Log.result` has them."""
        return self.log.result(self.tampered)

    def wrote(self, text):
        """Records text written to stdout."""
        if type(text) is str and text:
            self.log.wrote(text, 0)

    def _on_call(self, frame, event, arg):
        if self.log.stop:  # an event more, deep in a recursion, could be one too many for the interpreter
            self._set_trace(None)
            return None
        if frame.f_code.co_filename != self._filename:
            return None
        if len(self._shown) >= self.log.depth and id(frame) not in self._shown:
            self.log.halt("depth")
            return None
        if id(frame) not in self._scopes:  # else a generator goes on
            self._scopes[id(frame)] = self._n_scopes
            self._n_scopes += 1
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
                self._add(event, frame, {}, self._show(arg))
            self._shown.pop(id(frame), None)
            if not frame.f_code.co_flags & _GENERATOR:
                self._scopes.pop(id(frame), None)
        elif event == "exception":
            self._is_unwinding.add(id(frame))
            name, message = encode.class_name(arg[1]), encode.error_message(arg[1])
            value = f"{name}: {message}" if message else name
            self._add(event, frame, {}, value)
        return self._on_event

    def _frame(self, how, frame):
        before, now = self._shown.get(id(frame), {}), {}
        in_module = frame.f_code.co_name == "<module>"
        for name, value in list(frame.f_locals.items()):
            is_own = in_module and (name.startswith("__") or name in self._hidden or encode.is_definition(value))
            if not (is_own or name.startswith(".")):
                now[name] = self._show(value)
        self._shown[id(frame)] = now
        said = {name: SAME if before.get(name) == text else text for name, text in now.items()}
        self._add(how, frame, said, None)

    def _add(self, how, frame, said, value):
        line = frame.f_lineno
        if line not in self._sites:
            self.log.sites.append(Site(line, 0))
            self._sites[line] = len(self.log.sites) - 1
        self.log.add(("frame", self._sites[line], how, self._scopes.get(id(frame), 0), said, value))

    def _show(self, value) -> str:
        return encode.show(value, self.log.value_chars)


class StepLineTracer:
    """Traces one program both ways, into one log: a frame comes before the operations of its line."""

    def __init__(self, source, budget, sink=None):
        self._steps = Tracer(source, budget, sink)
        self.log = self._steps.log
        self._lines = LineTracer(source, budget, log=self.log, hidden=self._steps.names())
        self.names, self.compile = self._steps.names, self._steps.compile

    @property
    def tap(self):
        """To be entered for what is written after the last line."""
        return self._steps.tap

    def __enter__(self):
        self._steps.__enter__()
        self._lines.start()
        return self

    def __exit__(self, *error):
        self._lines.end()
        return self._steps.__exit__(*error)

    def result(self) -> dict:
        """The events as `Log.result` has them."""
        return self.log.result(self._steps.tampered or self._lines.tampered)
