"""Records what a program does by rewriting its syntax tree, so that every value is computed once.

Each sub-expression of interest becomes a call of a recorder that computes or passes on its value; nothing
is evaluated twice and no code of the program is run to look at a value (see encode.py). Evaluation order,
short circuits and exceptions stay those of the plain program. What cannot be rewritten safely (async code,
class bodies, `except*`) is left as it is.

Events are `[kind, line, data]`; `line` is the first line of the statement, `data["s"]` numbers it. An
operand is `[source, literal or None]` (None: say the source). Kinds and their further data:

  op      text parts of one operation: `how` (binary, unary, item, call, method, user), `op`, `args`,
          `src` (its source), `value`; a method that changes its receiver also has `after`
  compare `op`, `args`, `holds`, and `branch` if it alone decides a statement
  test    truth of a value used as a condition: `arg`, `src`, `holds`, `branch`
  branch  outcome of a condition made of several: `of`, `holds`
  bind    `target`, `value`, `how` (assign, loop, comp, with, case, walrus, after; loop+ and comp+ for
          a further name of the same target)
  store   `base` (operand), `index` (operand) or `attr`, `value`
  end     a for loop ran out: `target`, `over` (source)
  call    a function of the program begins: `name`, `args` ([[name, literal]...])
  return, yield   `value`;   raise `type`, `message`;   catch `type`, `depth` of calls;   jump `word`
  print   `text` written to stdout;   read `value`, what a call of input() or a reader gave
  start, value    call style: the call's source, and the literal it returned

Standard library only; runs inside the jailed child. The rewriting is in rewrite_statements.py and
rewrite_expressions.py, the recording in recorder.py.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import json
import os
import sys

from selfexec_jax.sandbox import encode
from selfexec_jax.sandbox.operands import Operands
from selfexec_jax.sandbox.recorder import HOOK_FRAMES, Hooks
from selfexec_jax.sandbox.rewrite_statements import Statements
from selfexec_jax.sandbox.sites import Site
from selfexec_jax.sandbox.stdout import Bytes, Out

# An encoder that the program has no name for.
_encode = json.encoder.c_make_encoder(
    None, repr, json.encoder.encode_basestring_ascii, None, ": ", ", ", False, False, True
)
_PART = 256  # events that are sent together
_RECORDING = (Hooks, Operands, Out, Bytes)
# The recorder calls none of these, so a program may replace them, as many do to print or read faster.
_FREE = frozenset(("input", "print", "open", "exit", "quit"))


def _as_json(value) -> str:
    return "".join(_encode(value, 0))


class Tracer:
    """Traces one program: compile, put `names()` in its globals, exec in `with tracer`, take `result()`.

    sink: called with JSON of events and what ended them as they come, so that a killed run leaves its beginning.
    """

    def __init__(self, source, budget, sink=None):
        self.source = source
        self._sink, self._sent = sink, 0
        self.max_events, self.max_bytes = budget["events"], budget["bytes"]
        self.depth, self.value_chars = budget["depth"], budget["value_chars"]
        self.events: list[list] = []
        self.size = 0
        self.stop: str | None = None
        self.sites: list[Site] = []
        self.statement_at: dict[int, Site] = {}
        self.filename = "<program>"
        self.helper = "_" + os.urandom(8).hex()
        self.finished, self.tampered = True, False
        self.hooks = Hooks(self)
        self._out = self._before = None
        self._builtins: dict = {}  # a program that replaces one could make the recorder run its code
        self._methods, self._fields = [dict(vars(cls)) for cls in _RECORDING], set(vars(self.hooks))
        self._recorded = 0  # a second count, to be compared with the events

    def names(self) -> dict:
        """What must be found in the program's builtins (or globals), under a name it cannot guess."""
        return {self.helper: self.hooks}

    def compile(self, filename="<program>"):
        """The instrumented code of the program; raises the SyntaxError of the plain one."""
        plain = compile(self.source, filename, "exec", dont_inherit=True)
        self.filename = filename
        rewriter = Statements(self.helper, self.sites)
        try:
            tree = rewriter.module(ast.parse(self.source, filename))
            code = compile(tree, filename, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError):
            return plain  # better an empty trace than a program that is broken
        self.statement_at = rewriter.statement_at
        self.finished = False
        return code

    def __enter__(self):
        self._before = sys.stdout
        keep_out = {self.helper, *_FREE}
        self._builtins = {name: value for name, value in vars(builtins).items() if name not in keep_out}
        self._out = Out(self._before, self)
        self._swap(self._before, self._out)
        self.hooks._spare(HOOK_FRAMES)
        return self

    def __exit__(self, kind, error, traceback):
        if error is not None:
            if error.__traceback__ is None:
                error.__traceback__ = traceback
            self.hooks.seen(error)
        self._check(ended=error is None)
        self.hooks._spare(-self.hooks._spared)
        self._swap(self._out, self._before)
        return False

    @contextlib.contextmanager
    def listening(self):
        """Records what is written after the last line: by exit handlers, other threads, the last flush."""
        self._swap(self._before, self._out)
        try:
            yield
        finally:
            self._swap(self._out, self._before)

    @staticmethod
    def _swap(old, new):
        """Where a program put a stream of its own, that one stays; the text shows when it reaches ours."""
        for name in ("stdout", "__stdout__"):
            if getattr(sys, name, None) is old:
                setattr(sys, name, new)

    def _check(self, ended):
        space = self.hooks._globals
        found = self.hooks
        if space is not None:
            found = space.get(self.helper, vars(builtins).get(self.helper))
        whole = found is self.hooks and set(vars(self.hooks)) == self._fields
        whole = whole and self._methods == [dict(vars(cls)) for cls in _RECORDING]
        whole = whole and all(vars(builtins).get(name) is value for name, value in self._builtins.items())
        # The bare stream is found by reaching into ours only, which stands for it under both of its names.
        whole = whole and len(self.events) == self._recorded and sys.stdout is not self._before
        if not whole or (ended and not self.finished):
            self.tampered = True

    def asks(self, call_source):
        """Records that a call expression is about to be evaluated in the program's namespace."""
        self.add("start", 0, {"s": 0, "call": call_source})

    def answers(self, value):
        """Records what that call returned."""
        with contextlib.suppress(ValueError):  # the caller's own encoder names what is wrong with the value
            self.add("value", 0, {"s": 0, "value": encode.literal(value, self.max_bytes)})

    def result(self) -> dict:
        """The events if no sink has them, which budget ended them, and whether somebody interfered."""
        self.tampered = self.tampered or len(self.events) != self._recorded
        if self._sent < len(self.events):
            self._send(len(self.events))
        events = self.events if self._sink is None else []
        return {"events": events, "stop": self.stop, "tampered": self.tampered, "n_events": len(self.events)}

    def add(self, kind, line, data):
        """Appends one event unless a budget is spent."""
        if self.stop:
            return
        if len(self.events) >= self.max_events:
            self.halt("events")
            return
        self._recorded += 1
        self.events.append([kind, line, data])
        if len(self.events) - self._sent > _PART:
            self._send(len(self.events) - 1)  # more may be written to the last one

    def halt(self, why):
        """Records nothing more: a budget is spent."""
        self.stop = why
        self._send(len(self.events))

    def _send(self, end):
        """Sends events on, after counting their bytes: what is over the budget is forgotten."""
        if len(self.events) != self._recorded:
            return  # somebody else was at them
        part = self.events[self._sent : end]
        text = _as_json(part)
        if self.size + len(text) > self.max_bytes:
            self.stop, left = "bytes", self.max_bytes - self.size
            while part and len(text) > left:
                part = part[: min(len(part) - 1, len(part) * left // len(text))]
                text = _as_json(part)
            end = self._sent + len(part)
            del self.events[end:]
            self._recorded = end
        self.size += len(text)
        self._sent = end
        if self._sink is not None:
            self._sink(f'{{"events": {text}, "stop": {_as_json(self.stop)}}}')

    def wrote(self, text):
        """Records text written to stdout, joined to the write before it of the same statement."""
        if self.stop or type(text) is not str or not text:
            return
        frame = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename != self.filename:
            frame = frame.f_back
        last = self.events[-1] if self.events else None
        if frame is not None:
            site = self.site_at(frame.f_lineno)
        else:  # flushed by the interpreter at the end
            site = Site(last[1], last[2]["s"]) if last else Site(0, 0)
        if last and last[0] == "print" and last[2]["s"] == site.stmt and not last[2]["text"].endswith("\n"):
            last[2]["text"] += text
            return
        self.add("print", site.line, {"s": site.stmt, "text": text})

    def site_at(self, line):
        """The innermost statement that covers a line."""
        return self.statement_at.get(line) or Site(line, 0)
