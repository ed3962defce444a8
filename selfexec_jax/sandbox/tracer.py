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
  bind    `target`, `value`, `how` (assign, loop, comp, with, case, walrus, after; `+` added for a further name)
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
import os
import sys

from selfexec_jax.sandbox import encode
from selfexec_jax.sandbox.recorder import HOOK_FRAMES, Hooks
from selfexec_jax.sandbox.rewrite_statements import Statements
from selfexec_jax.sandbox.sites import Site


class _Out:
    """The program's stdout while it is traced: passes everything on and records the text."""

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
        return _Bytes(self._inner, self._tracer)

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def __iter__(self):
        return iter(self._inner)


class _Bytes:
    """The same for `sys.stdout.buffer`."""

    def __init__(self, inner, tracer):
        self._inner, self._tracer = inner.buffer, tracer

    def write(self, data):
        count = self._inner.write(data)
        self._tracer.wrote(bytes(data).decode("utf-8", "replace"))
        return count

    def __getattr__(self, name):
        return getattr(self._inner, name)


class Tracer:
    """Traces one program: compile, put `names()` into builtins, exec inside `with tracer`, take `result()`."""

    def __init__(self, source, budget):
        self.source = source
        self.max_events, self.max_bytes = budget["events"], budget["bytes"]
        self.depth, self.value_chars = budget["depth"], budget["value_chars"]
        self.events: list[list] = []
        self.size = 0
        self.stop: str | None = None
        self.sites: list[Site] = []
        self.statement_at: dict[int, Site] = {}
        self.filename, self.module = "<program>", "__main__"
        self.helper = "_" + os.urandom(8).hex()
        self.finished, self.tampered = True, False
        self.hooks = Hooks(self)
        self._out = self._before = None
        self._methods, self._fields = dict(vars(Hooks)), set(vars(self.hooks))
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
        self._out = sys.stdout = _Out(self._before, self)
        self.hooks._spare(HOOK_FRAMES)
        return self

    def __exit__(self, kind, error, traceback):
        if error is not None:
            if error.__traceback__ is None:
                error.__traceback__ = traceback
            self.hooks.seen(error)
        self._check(ended=error is None)
        self.hooks._spare(-self.hooks._spared)
        if sys.stdout is self._out:
            sys.stdout = self._before
        return False

    def _check(self, ended):
        space = self.hooks._globals
        found = self.hooks
        if space is not None:
            found = space.get(self.helper, vars(builtins).get(self.helper))
        whole = found is self.hooks and vars(Hooks) == self._methods and set(vars(self.hooks)) == self._fields
        whole = whole and len(self.events) == self._recorded and sys.stdout is self._out
        if not whole or (ended and not self.finished):
            self.tampered = True

    def call(self, call_source, ns):
        """Evaluates one call expression in the program's namespace, traced; returns its value."""
        self.add("start", 0, {"s": 0, "call": call_source})
        code = compile(call_source.strip(), "<call>", "eval", dont_inherit=True)
        if sys.stdout is self._out:
            value = eval(code, ns)
        else:
            with self:
                value = eval(code, ns)
        try:
            self.add("value", 0, {"s": 0, "value": encode.literal(value, self.max_bytes)})
        except ValueError:
            pass  # the caller's own encoder names what is wrong with the value
        return value

    def result(self) -> dict:
        """The events so far, which budget ended them, and whether the recorder was interfered with."""
        return {"events": self.events, "stop": self.stop, "tampered": self.tampered}

    def add(self, kind, line, data):
        """Appends one event unless a budget is spent."""
        if self.stop:
            return
        size = 24 + sum(len(str(value)) + len(key) + 6 for key, value in data.items())
        if len(self.events) >= self.max_events:
            self.stop = "events"
        elif self.size + size > self.max_bytes:
            self.stop = "bytes"
        else:
            self.size += size
            self._recorded += 1
            self.events.append([kind, line, data])

    def wrote(self, text):
        """Records text written to stdout, joined to the write before it of the same statement."""
        if self.stop or type(text) is not str or not text:
            return
        frame = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename != self.filename:
            frame = frame.f_back
        site = self.site_at(frame.f_lineno if frame is not None else 0)
        last = self.events[-1] if self.events else None
        if last and last[0] == "print" and last[2]["s"] == site.stmt and not last[2]["text"].endswith("\n"):
            self.size += len(text)
            last[2]["text"] += text
            return
        self.add("print", site.line, {"s": site.stmt, "text": text})

    def site_at(self, line):
        """The innermost statement that covers a line."""
        return self.statement_at.get(line) or Site(line, 0)
