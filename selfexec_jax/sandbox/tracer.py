"""Records what a program does by rewriting its syntax tree, so that every value is computed once.

Each sub-expression of interest becomes a call of a recorder that computes or passes on its value; nothing
is evaluated twice and no code of the program is run to look at a value (see encode.py). Evaluation order,
short circuits and exceptions stay those of the plain program. What cannot be rewritten safely (async code,
class bodies, `except*`) is left as it is.

What is recorded, events.py says; the rewriting is in rewrite_statements.py and rewrite_expressions.py, the
recording in recorder.py. Standard library only; runs inside the jailed child.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import os
import sys

from selfexec_jax.sandbox.events import Site
from selfexec_jax.sandbox.log import Log
from selfexec_jax.sandbox.operands import Operands
from selfexec_jax.sandbox.recorder import HOOK_FRAMES, Hooks
from selfexec_jax.sandbox.rewrite_statements import Statements
from selfexec_jax.sandbox.stdout import Bytes, Out, Tap

_RECORDING = (Hooks, Operands, Out, Bytes, Log)
# The recorder calls none of these, so a program may replace them, as many do to print or read faster.
_FREE = frozenset(("input", "print", "open", "exit", "quit"))


class Tracer:
    """Traces one program: compile, put `names()` in its builtins, exec in `with tracer`, take `result()`.

    sink: see `Log`.
    """

    def __init__(self, source, budget, sink=None):
        self.source = source
        self.log = Log(budget, sink)
        self.runs: dict[int, object] = {}  # by site: what its hook needs to do the program's work
        self.statement_at: dict[int, int] = {}  # by line: the site of its innermost statement
        self.filename = "<program>"
        self.helper = "_" + os.urandom(8).hex()
        self.finished, self.tampered = True, False
        self.hooks = Hooks(self)
        self.tap = contextlib.nullcontext()  # also to be entered for what is written after the last line
        self._builtins: dict = {}  # a program that replaces one could make the recorder run its code
        self._methods = [dict(vars(cls)) for cls in _RECORDING]
        self._fields = {name: value for name, value in vars(self.hooks).items() if name not in Hooks.CHANGING}

    def names(self) -> dict:
        """What must be found in the program's builtins (or globals), under a name it cannot guess."""
        return {self.helper: self.hooks}

    def compile(self, filename="<program>"):
        """The instrumented code of the program; raises the SyntaxError of the plain one."""
        plain = compile(self.source, filename, "exec", dont_inherit=True)
        self.filename = filename
        rewriter = Statements(self.helper, self.log.sites, self.runs)
        try:
            tree = rewriter.module(ast.parse(self.source, filename))
            code = compile(tree, filename, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError):
            return plain  # better an empty trace than a program that is broken
        self.statement_at = rewriter.statement_at
        self.finished = False
        return code

    def __enter__(self):
        keep_out = {self.helper, *_FREE}
        self._builtins = {name: value for name, value in vars(builtins).items() if name not in keep_out}
        self.tap = Tap(self)
        self.tap.__enter__()
        self.hooks._spare(HOOK_FRAMES)
        return self

    def __exit__(self, kind, error, traceback):
        if error is not None:
            if error.__traceback__ is None:
                error.__traceback__ = traceback
            self.hooks.seen(error)
        self._check(ended=error is None)
        self.hooks._spare(-self.hooks._spared)
        self.tap.__exit__()
        return False

    def _check(self, ended):
        space = self.hooks._globals
        found = self.hooks
        if space is not None:
            found = space.get(self.helper, vars(builtins).get(self.helper))
        fields = dict(vars(self.hooks))
        whole = found is self.hooks and all(name in fields for name in Hooks.CHANGING)
        whole = whole and len(fields) == len(self._fields) + len(Hooks.CHANGING)
        whole = whole and all(fields.get(name) is value for name, value in self._fields.items())
        whole = whole and self._methods == [dict(vars(cls)) for cls in _RECORDING]
        whole = whole and all(vars(builtins).get(name) is value for name, value in self._builtins.items())
        # The bare stream is found by reaching into ours only, which stands for it under both of its names.
        whole = whole and self.log.is_whole and sys.stdout is not self.tap.bare
        if not whole or (ended and not self.finished):
            self.tampered = True

    def result(self) -> dict:
        """The events as `Log.result` has them."""
        return self.log.result(self.tampered)

    def wrote(self, text):
        """Records text written to stdout, by the innermost statement of the program that is under way."""
        if self.log.stop or type(text) is not str or not text:
            return
        frame = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename != self.filename:
            frame = frame.f_back
        if frame is not None:
            number = self.site_at(frame.f_lineno)
        else:  # flushed by the interpreter at the end
            number = self.log.events[-1][1] if self.log.events else 0
        self.log.wrote(text, number)

    def site_at(self, line):
        """The number of the site of the innermost statement that covers a line."""
        if line not in self.statement_at:
            self.log.sites.append(Site(line, 0))
            self.statement_at[line] = len(self.log.sites) - 1
        return self.statement_at[line]
