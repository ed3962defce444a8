"""The calls that instrumented code makes: each computes or passes on a value and records it.

Nothing here calls the program's own code but to do what the program itself asked for.
Standard library only; runs inside the jailed child.
"""

from __future__ import annotations

import os
import sys
import types

from selfexec_jax.sandbox import encode
from selfexec_jax.sandbox.operands import Operands
from selfexec_jax.sandbox.sites import QUIET
from selfexec_jax.sandbox.stands import MUTATORS, READERS, Stand, owner_of, recorded
from selfexec_jax.sandbox.stdout import text_of


class _Cell:
    """An assignment target that stores into its container when it is assigned."""

    __slots__ = ("hooks", "site", "base", "index")

    def __init__(self, hooks, site, base, index):
        for name, value in zip(self.__slots__, (hooks, site, base, index), strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name, value):
        self.hooks._store(self.site, self.base, self.index, value)


class Hooks:
    """The calls that instrumented code makes; each takes the number of its site first."""

    def __init__(self, tracer):
        self._tracer = tracer
        self._sites = tracer.sites
        self._log = tracer.log
        self._say = Operands(tracer.log.value_chars, "__main__")
        self._stack = []  # [frame id, site, args] of the traced functions being run
        self._left = None  # (name, args) of the traced function that ended last
        self._done = False  # the call in progress has been recorded already
        self._raised = None  # id of the exception that was recorded last
        self._pending = {}  # middle values of chained comparisons, by frame
        self._elements = {}  # what a generator expression gave while a builtin consumed it
        self._globals = None
        self._spared = 0
        self._limits = (self._get_limit, self._set_limit)
        self.slice = slice

    # ---- recording ----
    def _add(self, kind, site, **data):
        data["s"] = site.stmt
        self._log.add(kind, site.line, data)

    def _failed(self, site, error, traced=None):
        if id(error) == self._raised or self._log.stop:
            return
        self._raised = id(error)
        self._add("raise", traced or site, type=encode.class_name(error), message=encode.error_message(error))

    def begin(self, _site):
        self._globals = sys._getframe(1).f_globals
        name = self._globals.get("__name__")
        self._say.module = name if type(name) is str else ""

    def finish(self, _site):
        self._tracer.finished = True

    # ---- operations ----
    def b(self, k, left, right):
        return self._binary(self._sites[k], left, right, 0)

    def i(self, k, left, right):
        return self._binary(self._sites[k], left, right, 1)

    def _binary(self, site, left, right, which):
        if self._log.stop:
            return site.run[which](left, right)
        args = [self._say.arg(site.args[0], left), self._say.arg(site.args[1], right)]
        try:
            value = site.run[which](left, right)
        except BaseException as error:
            self._failed(site, error)
            raise
        self._add("op", site, how="binary", op=site.op, args=args, src=site.src, value=self._say.show(value))
        return value

    def u(self, k, operand):
        site = self._sites[k]
        try:
            value = site.run(operand)
        except BaseException as error:
            self._failed(site, error)
            raise
        if not self._log.stop:
            args = [self._say.arg(site.args[0], operand)]
            self._add("op", site, how="unary", op=site.op, args=args, src=site.src, value=self._say.show(value))
        return value

    def g(self, k, base, index):
        site = self._sites[k]
        try:
            value = base[index]
        except BaseException as error:
            self._failed(site, error)
            raise
        if not self._log.stop and not self._say.opaque(value):
            args = [self._say.arg(site.args[0], base), self._say.index(site.args[1], index)]
            self._add("op", site, how="item", op="[]", args=args, src=site.src, value=self._say.show(value))
        return value

    def cmp(self, k, left, right):
        return self._compare(self._sites[k], left, right)

    def _compare(self, site, left, right):
        try:
            value = site.run(left, right)
            if site.branch is not None and type(value) is not bool:
                value = bool(value)
        except BaseException as error:
            self._failed(site, error)
            raise
        if not self._log.stop and type(value) is bool:
            args = [self._say.arg(site.args[0], left), self._say.arg(site.args[1], right)]
            self._add("compare", site, op=site.op, args=args, holds=value, branch=site.branch or "")
        return value

    def chain(self, k, left, right):
        value = self._compare(self._sites[k], left, right)
        if value is not False:
            self._pending[id(sys._getframe(1)), self._sites[k].names] = right
        return value

    def link(self, k, right):
        site = self._sites[k]
        left = self._pending.pop((id(sys._getframe(1)), site.names))
        value = self._compare(site, left, right)
        if site.attr and value is not False:
            self._pending[id(sys._getframe(1)), site.attr] = right
        return value

    def t(self, k, value):
        site = self._sites[k]
        try:
            holds = bool(value)
        except BaseException as error:
            self._failed(site, error)
            raise
        if not self._log.stop:
            arg = self._say.arg(site.args[0], value)
            self._add("test", site, arg=arg, named=site.args[0][1], holds=holds, branch=site.branch or "")
        return holds

    def w(self, k, holds):
        site = self._sites[k]
        if not self._log.stop:
            self._add("branch", site, of=site.branch, holds=bool(holds))
        return holds

    # ---- assignment ----
    def n(self, k, *values):
        site = self._sites[k]
        if self._log.stop:
            return True
        how = site.how
        for name, value in zip(site.names, values, strict=True):
            if not self._say.opaque(value):
                self._add("bind", site, target=name, value=self._say.show(value), how=how)
                how = site.how + "+" if site.how in ("loop", "comp") else site.how
        return True

    def ne(self, k, value):
        self.n(k, value)
        return value

    def cell(self, k, base, index):
        return _Cell(self, self._sites[k], base, index)

    def acell(self, k, base):
        return _Cell(self, self._sites[k], base, None)

    def _store(self, site, base, index, value, parts=None):
        parts = parts or site.args
        shown = None if self._log.stop else self._say.arg(parts[0], base)
        try:
            if site.attr:
                setattr(base, site.attr, value)
            else:
                base[index] = value
        except BaseException as error:
            self._failed(site, error)
            raise
        if shown is None or self._say.opaque(value):
            return
        data = {"attr": site.attr} if site.attr else {"index": self._say.index(parts[1], index)}
        self._add("store", site, base=shown, value=self._say.show(value), **data)

    def gi(self, k, base, index):
        return base, index, self.g(k, base, index)

    def si(self, k, cell, value):
        base, index, old = cell
        site = self._sites[k]
        self._store(site, base, index, self._binary(site, old, value, 1), site.names)

    def ga(self, k, base):
        return base, None, getattr(base, self._sites[k].attr)

    # ---- calls ----
    def p(self, k, function):
        """The thing to call: the function itself, or a stand-in that records a builtin's arguments."""
        if function is sys.setrecursionlimit or function is sys.getrecursionlimit:
            return self._limits[function is sys.setrecursionlimit]
        if not self._log.stop and recorded(function):
            return Stand(self, self._sites[k], function)
        return function

    def r(self, k, value):
        if self._done:
            self._done = False
            return value
        left, self._left = self._left, None
        site = self._sites[k]
        if self._log.stop or site.op in ("print", "super"):
            return value
        known = left is not None and left[0] in (site.op, "__init__", "__call__")
        if (not known and (site.op in QUIET or value is None)) or self._say.opaque(value):
            return value
        args = left[1] if known else None
        if known and args and (left[0] != site.op or "." in site.src.split("(")[0]) and args[0][0] in _SELF:
            args = args[1:]
        self._add("op", site, how="user", op=site.names[0], args=args, src=site.src, value=self._say.show(value))
        return value

    def _run(self, site, function, args, kw):
        name = function.__name__
        owner = owner_of(function)
        if self._log.stop:
            return self._deeper(function, args, kw)
        quiet = name in QUIET
        shown, watched = [], []
        if not quiet:
            for i, value in enumerate(args):
                part = site.args[i] if site.args and i < len(site.args) else ("", False)
                if type(value) is types.GeneratorType and value.gi_frame and value.gi_code.co_name == "<genexpr>":
                    watched.append((i, value.gi_frame))
                    self._elements[id(value.gi_frame)] = []
                shown.append(self._say.arg(part, value))
            for key, value in kw.items():
                src = next((part for part in site.kw if part[0] == key), (key, ("", False)))[1]
                operand = self._say.arg(src, value)
                shown.append([f"{key}={operand[0]}", operand[1] and f"{key}={operand[1]}"])
            receiver = None if owner is None else self._say.arg(site.attr, owner)
        try:
            value = self._deeper(function, args, kw)
        except BaseException as error:
            for _, frame in watched:
                self._elements.pop(id(frame), None)
            self._failed(site, error)
            raise
        self._left = None
        if quiet:
            if name in READERS and type(value) in encode.KNOWN:
                self._add("read", site, value=self._say.show(value))
            elif function is os.write and type(args[0]) is int and args[0] == _STDOUT_FD:
                self._tracer.wrote(text_of(args[1], value))
        else:
            for i, frame in watched:
                shown[i] = [shown[i][0], "[" + ", ".join(self._elements.pop(id(frame), [])) + "]"]
            if not self._say.opaque(value):
                self._called(site, name, owner, receiver, shown, value)
        self._done = True
        return value

    def _called(self, site, name, owner, receiver, shown, value):
        data = {"src": site.src, "args": shown, "value": self._say.show(value)}
        if owner is None:
            self._add("op", site, how="call", op=site.names[0], **data)
            return
        if name in MUTATORS and type(owner) in encode.KNOWN:
            data["after"] = self._say.show(owner)
        self._add("op", site, how="method", op=name, on=receiver, **data)

    def _deeper(self, function, args, kw):
        self._spare(_STAND_FRAMES)
        try:
            return function(*args, **kw)
        finally:
            self._spare(-_STAND_FRAMES)

    def _spare(self, frames):
        """Moves the recursion limit: the recorder's frames must not count towards the program's."""
        try:
            sys.setrecursionlimit(max(1, sys.getrecursionlimit() + frames))
            self._spared += frames
        except RecursionError:
            pass  # too deep to take them back

    def _get_limit(self):
        return sys.getrecursionlimit() - self._spared

    def _set_limit(self, limit, /):
        exact = type(limit) is int and 0 < limit < 1 << 30
        sys.setrecursionlimit(limit + self._spared if exact else limit)

    # ---- functions ----
    def enter(self, k, *values):
        site = self._sites[k]
        self._stack.append((id(sys._getframe(1)), site, None))
        if self._log.stop:
            return
        if len(self._stack) > self._log.depth:
            self._log.halt("depth")
            return
        args = [[name, self._say.show(value)] for name, value in zip(site.names, values, strict=True)]
        self._stack[-1] = (self._stack[-1][0], site, args)
        self._add("call", site, name=site.op, args=args)

    def gen(self, k, *values):
        site = self._sites[k]
        if not self._log.stop:
            args = [[name, self._say.show(value)] for name, value in zip(site.names, values, strict=True)]
            self._add("call", site, name=site.op, args=args, gen=True)

    def leave(self, k):
        frame = id(sys._getframe(1))
        while self._stack:
            top = self._stack.pop()
            if top[0] == frame:
                self._left = (top[1].op, top[2]) if top[2] is not None else None
                return

    def ret(self, k, value):
        if not self._log.stop:
            self._add("return", self._sites[k], value=self._say.show(value), opaque=self._say.opaque(value))
        return value

    def le(self, k, *values):
        self.enter(k, *values)

    def lr(self, k, _entered, value):
        self.ret(k, value)
        self.leave(k)
        return value

    def yv(self, k, value):
        if not self._log.stop:
            self._add("yield", self._sites[k], value=self._say.show(value))
        return value

    def e(self, k, value):
        seen = self._elements.get(id(sys._getframe(1)))
        if seen is not None and not self._log.stop and len(seen) < self._log.value_chars:
            seen.append(self._say.show(value))
        return value

    # ---- control ----
    def end(self, k):
        if not self._log.stop:
            self._add("end", self._sites[k], target=self._sites[k].src, over=self._sites[k].op)

    def j(self, k):
        if not self._log.stop:
            self._add("jump", self._sites[k], word=self._sites[k].src)

    def rs(self, k, error):
        site = self._sites[k]
        if issubclass(type(error), BaseException):
            self._failed(site, error)
        elif type(error) is type and issubclass(error, BaseException) and not self._log.stop:
            self._add("raise", site, type=error.__name__, message="")
            self._raised = id(error)
        return error

    def x(self, k):
        error = sys.exc_info()[1]
        if error is not None:
            self.seen(error)
            self._raised = None
            self._unwind(sys._getframe(1))
            if not self._log.stop:
                self._add("catch", self._sites[k], type=encode.class_name(error), depth=len(self._stack))

    def _unwind(self, frame):
        """Forgets the lambdas that an exception left on its way to this frame."""
        frames = [entry[0] for entry in self._stack]
        if id(frame) in frames:
            del self._stack[len(frames) - frames[::-1].index(id(frame)) :]
        elif frame.f_code.co_name == "<module>":
            self._stack.clear()

    def seen(self, error):
        """Records an exception that no hook saw being raised, at the program's last line in its traceback."""
        if self._raised in (id(error), id(type(error))):
            return
        line = 0
        link = error.__traceback__
        while link is not None:
            if link.tb_frame.f_code.co_filename == self._tracer.filename:
                line = link.tb_lineno
            link = link.tb_next
        self._failed(None, error, self._tracer.site_at(line))


_STDOUT_FD = 1
_SELF = ("self", "cls")
_STAND_FRAMES = 3
HOOK_FRAMES = 60  # how deep a hook itself may go below the program's last frame
