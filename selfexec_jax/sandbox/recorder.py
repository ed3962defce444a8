"""The calls that instrumented code makes: each computes or passes on a value and records it.

Nothing here calls the program's own code but to do what the program itself asked for.
Standard library only; runs inside the jailed child.
"""

from __future__ import annotations

import os
import sys
import types

from selfexec_jax.sandbox import encode
from selfexec_jax.sandbox.events import NO_PART
from selfexec_jax.sandbox.operands import SEQUENCES, SMALL, Operands
from selfexec_jax.sandbox.sites import QUIET
from selfexec_jax.sandbox.stands import (
    FINDERS,
    LEAVES,
    MUTATORS,
    NOT_OURS,
    READERS,
    Stand,
    code_of,
    owner_of,
    recorded,
)
from selfexec_jax.sandbox.stdout import text_of


class _Cell:
    """An assignment target that stores into its container when it is assigned."""

    __slots__ = ("hooks", "number", "base", "index")

    def __init__(self, hooks, number, base, index):
        for name, value in zip(self.__slots__, (hooks, number, base, index), strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name, value):
        self.hooks._store(self.number, self.base, self.index, value)


class Hooks:
    """The calls that instrumented code makes; each takes the number of its site first."""

    # Fields; another object in one of the others is no good.
    CHANGING = ("_left", "_done", "_raised", "_ends", "_globals", "_spared")

    def __init__(self, tracer):
        self._tracer = tracer
        self._log = tracer.log
        self._add = tracer.log.add
        self._sites = tracer.log.sites
        self._runs = tracer.runs
        self._say = Operands(tracer.log.value_chars, "__main__")
        self._stack = []  # (frame id, site, arguments) of the traced functions being run
        self._left = None  # (code, names, arguments) of the traced function that ended last
        self._called = {}  # by frame and site: the code that the call in progress runs, and whether it is bound
        self._done = False  # the call in progress has been recorded already
        self._raised = None  # id of the exception that was recorded last
        self._ends = False  # it may be what ends a loop
        self._pending = {}  # middle values of chained comparisons, by frame and site
        self._elements = {}  # what a generator expression gave while a builtin consumed it
        self._spelled = {}  # by source: the sequence that was spelled last
        self._globals = None
        self._spared = 0
        self._limits = (self._get_limit, self._set_limit)
        self.slice = slice

    # ---- recording ----
    def _failed(self, k, error):
        if id(error) == self._raised or self._log.stop:
            return
        self._raised, self._ends = id(error), type(error) in (StopIteration, IndexError)
        self._add(("raise", k, encode.class_name(error), encode.error_message(error)))

    def _swallowed(self, before):
        """What was raised since in a call that ended well is over: another exception may get its place in memory."""
        self._raised = before

    def begin(self, _site):
        self._globals = sys._getframe(1).f_globals
        name = self._globals.get("__name__")
        self._say.module = name if type(name) is str else ""

    def finish(self, _site):
        self._tracer.finished = True

    # ---- operations; those of small integers first, since most are such and their recording takes longest ----
    def b(self, k, left, right):
        """A binary operation; an augmented assignment to a name is one in place."""
        run = self._runs[k]
        if type(left) is not int or type(right) is not int:
            return self._binary(k, run, left, right)
        try:
            value = run(left, right)
        except BaseException as error:
            self._failed(k, error)
            raise
        if type(value) is int and -SMALL < left < SMALL and -SMALL < right < SMALL and -SMALL < value < SMALL:
            self._add(("binary", k, left, right, value))
        elif not self._log.stop:
            say = self._say.value
            self._add(("binary", k, say(left), say(right), say(value)))
        return value

    def _binary(self, k, run, left, right):
        if self._log.stop:
            return run(left, right)
        say, args = self._say, self._sites[k].args
        left_said, right_said = say.arg(args[0], left), say.arg(args[1], right)
        try:
            value = run(left, right)
        except BaseException as error:
            self._failed(k, error)
            raise
        self._add(("binary", k, left_said, right_said, say.value(value)))
        return value

    def u(self, k, operand):
        try:
            value = self._runs[k](operand)
        except BaseException as error:
            self._failed(k, error)
            raise
        if not self._log.stop:
            said = self._say.arg(self._sites[k].args[0], operand)
            self._add(("unary", k, said, self._say.value(value)))
        return value

    def g(self, k, base, index):
        try:
            value = base[index]
        except BaseException as error:
            self._failed(k, error)
            raise
        if not self._log.stop:
            said = self._say.told(value)
            if said is not None:
                say, args = self._say, self._sites[k].args
                if type(base) in SEQUENCES:
                    places = (index.start, index.stop) if type(index) is slice else (index,)
                    self._spell(k, args[0][0], base, places)
                self._add(("item", k, say.arg(args[0], base), say.index(args[1], index), said))
        return value

    def _spell(self, k, src, sequence, places):
        """Records the items of a sequence, once for each name that it is looked into by."""
        # The sequence itself is kept: another one could get the place in memory of one that is gone.
        last, length = self._spelled.get(src, (None, 0))
        is_text = type(sequence) is str is type(last)
        if length != len(sequence) or (last != sequence if is_text else last is not sequence):
            items = self._say.spelled(sequence, *places)
            if items is not None:
                self._spelled[src] = sequence, len(sequence)
                self._add(("spell", k, src, items))

    def cmp(self, k, left, right):
        run = self._runs[k]
        if type(left) is not int or type(right) is not int:
            return self._compare(k, run, left, right)
        try:
            value = run(left, right)
        except BaseException as error:  # 1 in 2
            self._failed(k, error)
            raise
        if -SMALL < left < SMALL and -SMALL < right < SMALL:
            self._add(("compare", k, left, right, value))
        elif not self._log.stop:
            self._add(("compare", k, self._say.value(left), self._say.value(right), value))
        return value

    def _compare(self, k, run, left, right):
        site = self._sites[k]
        try:
            value = run(left, right)
            if site.branch is not None and type(value) is not bool:
                value = bool(value)
        except BaseException as error:
            self._failed(k, error)
            raise
        if not self._log.stop and type(value) is bool:
            say, args = self._say, site.args
            self._add(("compare", k, say.arg(args[0], left), say.arg(args[1], right), value))
        return value

    def chain(self, k, left, right):
        run, after = self._runs[k]
        value = self._compare(k, run, left, right)
        if value is not False and after is not None:
            self._pending[id(sys._getframe(1)), after] = right
        return value

    def link(self, k, right):
        run, after = self._runs[k]
        left = self._pending.pop((id(sys._getframe(1)), k))
        value = self._compare(k, run, left, right)
        if value is not False and after is not None:
            self._pending[id(sys._getframe(1)), after] = right
        return value

    def t(self, k, value):
        try:
            holds = bool(value)
        except BaseException as error:
            self._failed(k, error)
            raise
        if not self._log.stop:
            self._add(("test", k, self._say.arg(self._sites[k].args[0], value), holds))
        return holds

    def w(self, k, holds):
        self._add(("branch", k, bool(holds)))
        return holds

    # ---- assignment ----
    def n(self, k, value):
        if type(value) is int and -SMALL < value < SMALL:
            self._add(("bind", k, value))
        elif not self._log.stop:
            said = self._say.told(value)
            if said is not None:
                self._add(("bind", k, said))
        return True

    def ns(self, k, *values):
        if not self._log.stop:
            said = [*map(self._say.told, values)]
            if any(one is not None for one in said):
                self._add(("bind", k, *said))
        return True

    def ne(self, k, value):
        self.n(k, value)
        return value

    def cell(self, k, base, index):
        return _Cell(self, k, base, index)

    def acell(self, k, base):
        return _Cell(self, k, base, None)

    def _store(self, k, base, index, value):
        site = self._sites[k]
        shown = None if self._log.stop else self._say.arg(site.args[0], base)
        try:
            if site.attr:
                setattr(base, site.attr, value)
            else:
                base[index] = value
        except BaseException as error:
            self._failed(k, error)
            raise
        said = None if self._log.stop else self._say.told(value)
        if said is not None:
            self._add(("store", k, shown, None if site.attr else self._say.index(site.args[1], index), said))

    def gi(self, k, base, index):
        return base, index, self.g(k, base, index)

    def si(self, k, cell, value):
        base, index, old = cell
        operation = self._runs[k]
        self._store(k, base, index, self.b(operation, old, value))

    def ga(self, k, base):
        return base, None, getattr(base, self._sites[k].attr)

    # ---- calls ----
    def p(self, k, function):
        """The thing to call: the function itself, or a stand-in that records a builtin's arguments."""
        if recorded(function):
            if function is sys.setrecursionlimit or function is sys.getrecursionlimit:
                return self._limits[function is sys.setrecursionlimit]
            if not self._log.stop:
                return Stand(self, k, function)
        elif not self._log.stop:
            self._called[id(sys._getframe(1)), k] = code_of(function)
        return function

    def r(self, k, value):
        code, is_bound = self._called.pop((id(sys._getframe(1)), k), NOT_OURS)
        if self._done:
            self._done = False
            return value
        left, self._left = self._left, None
        site = self._sites[k]
        if self._log.stop or site.op in ("print", "super"):
            return value
        known = left is not None and left[0] is code  # or it ended in a call that the program did not write
        if (not known and (site.op in QUIET or value is None)) or self._say.opaque(value):
            return value
        args = None
        if known:
            _, names, args = left
            is_own = names[:1] in _SELF
            if code.co_flags & _GATHERS or code.co_kwonlyargcount or is_own > is_bound or not site.op.isidentifier():
                args = None  # as it is written
            elif is_own:
                args = args[1:]
        self._add(("user", k, args, self._say.value(value)))
        return value

    def _run(self, k, function, args, kw):
        if self._log.stop:
            return self._deeper(function, args, kw)
        name = function.__name__
        if name in QUIET:
            return self._quietly(k, name, function, args, kw)
        site, say = self._sites[k], self._say
        owner = owner_of(function)
        said, watched = [], []
        for i, value in enumerate(args):
            part = site.args[i] if i < len(site.args) else NO_PART
            if type(value) is types.GeneratorType and value.gi_frame and value.gi_code.co_name == "<genexpr>":
                watched.append((i, value.gi_frame))
                self._elements[id(value.gi_frame)] = []
            said.append(say.arg(part, value))
        pairs = []
        if kw:
            by_key = dict(site.kw)
            pairs = [(key, say.arg(by_key.get(key, NO_PART), value)) for key, value in kw.items()]
        receiver = None if owner is None else say.arg(site.on, owner)
        before = self._raised
        try:
            if name in LEAVES and type(owner) is list:
                value = function(*args, **kw)
            else:
                value = self._deeper(function, args, kw)
        except BaseException as error:
            for _, frame in watched:
                self._elements.pop(id(frame), None)
            self._failed(k, error)
            raise
        self._swallowed(before)
        self._left = None
        self._done = True
        for i, frame in watched:
            said[i] = "[" + ", ".join(self._elements.pop(id(frame), [])) + "]"
        result = None if self._log.stop else say.told(value)
        if result is None:
            return value
        if owner is None:
            self._add(("builtin", k, said, pairs, result))
        else:
            if name in FINDERS and type(owner) in SEQUENCES:
                self._spell(k, site.on[0], owner, (value,))
            changes = name in MUTATORS and type(owner) in encode.KNOWN
            after = encode.show(owner, say.value_chars) if changes else None
            self._add(("method", k, name, receiver, said, pairs, result, after))
        return value

    def _quietly(self, k, name, function, args, kw):
        """Calls what is not an operation of its own."""
        before = self._raised
        try:
            value = self._deeper(function, args, kw)
        except BaseException as error:
            self._failed(k, error)
            raise
        self._swallowed(before)
        self._left = None
        self._done = True
        if name in READERS and type(value) in encode.KNOWN:
            self._add(("read", k, self._say.value(value)))
        elif function is os.write and type(args[0]) is int and args[0] == _STDOUT_FD:
            self._tracer.wrote(text_of(args[1], value))
        return value

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
        self._enter(sys._getframe(1), k, values)

    def _enter(self, frame, k, values):
        if self._log.stop:
            self._stack.append((id(frame), k, None))
            return
        said = [self._say.value(value) for value in values]
        self._stack.append((id(frame), k, said))
        if len(self._stack) > self._log.depth:
            self._stack[-1] = (*self._stack[-1][:2], None)
            self._log.halt("depth")
        else:
            self._add(("call", k, *said))

    def gen(self, k, *values):
        if not self._log.stop:
            self._add(("gen", k, *[self._say.value(value) for value in values]))

    def leave(self, _k):
        self._leave(sys._getframe(1))

    def _leave(self, frame):
        while self._stack:
            top, k, said = self._stack.pop()
            if top == id(frame):
                self._left = None if said is None else (frame.f_code, self._sites[k].names, said)
                return

    def ret(self, k, value):
        if not self._log.stop:
            self._add(("return", k, self._say.value(value)))
        return value

    def le(self, k, *values):
        self._enter(sys._getframe(1), k, values)

    def lr(self, k, _entered, value):
        self.ret(k, value)
        self._leave(sys._getframe(1))
        return value

    def yv(self, k, value):
        if not self._log.stop:
            self._add(("yield", k, self._say.value(value)))
        return value

    def e(self, k, value):
        seen = self._elements.get(id(sys._getframe(1)))
        if seen is not None and not self._log.stop and len(seen) < self._log.value_chars:
            seen.append(encode.show(value, self._log.value_chars))
        return value

    # ---- control ----
    def end(self, k):
        if self._ends:
            self._raised, self._ends = None, False  # that is what ended it
        self._add(("end", k))

    def j(self, k):
        self._add(("jump", k))

    def rs(self, k, error):
        if issubclass(type(error), BaseException):
            self._failed(k, error)
        elif type(error) is type and issubclass(error, BaseException) and not self._log.stop:
            self._add(("raise", k, error.__name__, ""))
            self._raised = id(error)
        return error

    def x(self, k):
        error = sys.exc_info()[1]
        if error is not None:
            self.seen(error)
            self._raised = None
            self._unwind(sys._getframe(1))
            if not self._log.stop:
                self._add(("catch", k, encode.class_name(error), len(self._stack)))

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
        self._failed(self._tracer.site_at(line), error)


_GATHERS = 0x04 | 0x08  # *args and **kwargs
_STDOUT_FD = 1
_SELF = (("self",), ("cls",))
_STAND_FRAMES = 3
HOOK_FRAMES = 60  # how deep a hook itself may go below the program's last frame
