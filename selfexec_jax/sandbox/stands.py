"""Which builtins are recorded when they are called, what is called in their place, and what calls of others run.

Standard library only; runs inside the jailed child.
"""

from __future__ import annotations

import builtins
import functools
import sys
import types

from selfexec_jax.sandbox import encode
from selfexec_jax.sandbox.rewrite_expressions import IN_FRAME

READERS = frozenset(("input", "readline", "read", "readlines"))
MUTATORS = frozenset(
    (
        "append extend insert remove pop clear sort reverse add discard update setdefault popitem popleft "
        "appendleft extendleft rotate difference_update intersection_update symmetric_difference_update "
        "subtract move_to_end"
    ).split()
)
FINDERS = frozenset(("find", "rfind", "index", "rindex"))  # what these return is a position
LEAVES = frozenset(("append", "insert", "pop", "clear", "reverse", "copy"))  # of a list these call nothing back
_RAW = frozenset(
    [id(getattr(builtins, name)) for name in IN_FRAME] + [id(f) for f in (sys._getframe, sys.getrefcount)]
)
_DIRECT = frozenset({types.BuiltinFunctionType, types.MethodDescriptorType, type(functools.lru_cache(abs))})
_RECORDED_TYPES = frozenset(
    id(kind)
    for kind in (*encode.KNOWN, enumerate, zip, map, filter, reversed)
    if kind not in (type(None), type(Ellipsis))
)
# What a class holds, whatever its metaclass says.
_mro, _contents = type.__dict__["__mro__"].__get__, type.__dict__["__dict__"].__get__
NOT_OURS = None, False


def recorded(function):
    """Whether a call of this object can be made by a stand-in: a builtin that asks nothing of its caller."""
    kind = type(function)
    if id(function) in _RAW:
        return False
    return kind in _DIRECT or (kind is type and id(function) in _RECORDED_TYPES)


def owner_of(function):
    """The receiver of a builtin method, or None for a plain function."""
    if type(function) is not types.BuiltinFunctionType:
        return None
    owner = function.__self__
    return None if type(owner) is types.ModuleType or owner is None else owner


def code_of(function):
    """The program's own code that a call runs, if any, and whether it gets an argument that is not written."""
    kind = type(function)
    if kind is types.FunctionType:
        return function.__code__, False
    if kind is types.MethodType:
        return code_of(function.__func__)[0], True
    if kind is functools._lru_cache_wrapper:
        return code_of(getattr(function, "__wrapped__", None))[0], False
    is_class = issubclass(kind, type)
    name = "__init__" if is_class else "__call__"
    for cls in _mro(function if is_class else kind):
        found = _contents(cls).get(name)
        if found is not None:
            return (found.__code__, True) if type(found) is types.FunctionType else NOT_OURS
    return NOT_OURS


class Stand:
    """Calls a builtin in the program's place and records it."""

    __slots__ = ("hooks", "number", "function")

    def __init__(self, hooks, number, function):
        self.hooks, self.number, self.function = hooks, number, function

    def __call__(self, /, *args, **kw):
        return self.hooks._run(self.number, self.function, args, kw)
