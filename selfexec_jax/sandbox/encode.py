"""Values as text without running a line of the program's own code.

Everything here goes by exact type: a program's `__repr__`, `__eq__`, `__len__` or `__iter__` is never
called, so a traced or judged program can neither hang nor deceive the code that looks at its values.
Standard library only; this file is also loaded by path inside the jailed child.
"""

from __future__ import annotations

import collections
import types

SCALARS = frozenset({int, float, bool, str, bytes, complex, type(None), type(Ellipsis)})
CONTAINERS = frozenset({list, tuple, set, dict})
LIBRARY = frozenset(
    {
        frozenset,
        bytearray,
        range,
        collections.deque,
        collections.Counter,
        collections.defaultdict,
        collections.OrderedDict,
    }
)
KNOWN = SCALARS | CONTAINERS | LIBRARY
_VIEWS = frozenset({type({}.keys()), type({}.items())})  # these too may equal a literal
stand_ins: set[type] = set()  # classes of ours that a program meets; what they stand for, `_inner`, is shown
_DEFINITIONS = frozenset({types.ModuleType, types.FunctionType, types.BuiltinFunctionType})
_DEEPEST = 64
_NUMBERS = frozenset({int, float, bool, type(None)})
_LARGE = 1 << 200
_name_of_type = type.__dict__["__name__"].__get__
_type_mro = type.__dict__["__mro__"].__get__
_type_dict = type.__dict__["__dict__"].__get__


def literal(value: object, max_chars: int) -> str:
    """The Python literal for a value made of exact builtin types.

    Sets are written in sorted order, so equal values of hash-seeded types read the same. Raises
    ValueError for any other type, for cycles, nan, nesting beyond 64 and text beyond `max_chars`.
    """
    kind = type(value)
    if value is None or kind is bool or (kind is int and -(1 << 63) < value < 1 << 63 and max_chars > 20):
        return repr(value)  # the writer's machinery would be a good part of a short run
    writer = _Writer(max_chars, strict=True)
    try:
        writer.put(value, 0)
    except (_Full, RecursionError):
        raise ValueError(f"no literal of at most {max_chars} characters") from None
    return "".join(writer.parts)


def show(value: object, max_chars: int) -> str:
    """A display of any object in at most `max_chars` characters.

    The literal where there is one, `<Point x=1>` for an instance, `<function f>` and the like;
    `<cycle>` marks a cycle and `...` a cut, after which open brackets are closed. Never raises.
    """
    kind = type(value)
    if _is_plain(value, kind, max_chars, 2):
        try:
            text = repr(value)  # what the writer would write, many times as fast
        except ValueError:  # an integer of too many digits
            text = None
        if text is not None and len(text) <= max_chars:
            return text
    writer = _Writer(max_chars, strict=False)
    try:
        writer.put(value, 0)
    except _Full:
        inside = writer.closers and not writer.parts[-1].endswith((" ", "[", "(", "{"))
        return "".join([*writer.parts, ", ..." if inside else "...", *reversed(writer.closers)])
    except RecursionError:
        return "<deep>"
    return "".join(writer.parts)


def _is_plain(value: object, kind: type, max_chars: int, depth: int) -> bool:
    """Whether `repr` of a value is its display and cheap: scalars, and what lists, tuples and dicts hold of them."""
    if kind is list or kind is tuple:
        if len(value) > max_chars:
            return False
        if _NUMBERS.issuperset(map(type, value)):
            return True
        inner = value
    elif kind is int:
        return -_LARGE < value < _LARGE
    elif kind is str or kind is bytes:
        return len(value) <= max_chars
    elif kind is dict:
        if len(value) > max_chars:
            return False
        inner = [*value, *value.values()]
    else:
        return kind in _NUMBERS
    return depth > 0 and all([_is_plain(item, type(item), max_chars, depth - 1) for item in inner])


def _named(name: str) -> str:
    """A name as it is, one that is none of the language, which a program may give, in quotes and on one line."""
    name = str.__str__(name)  # it may be of a class of the program's own
    return name if name.isidentifier() or name == "<lambda>" else ascii(name)


def _type_name(kind: type) -> str:
    return _named(_name_of_type(kind))


def class_name(value: object) -> str:
    """The name of the value's exact class, read past any metaclass."""
    return _type_name(type(value))


def class_module(value: object) -> str:
    """The module that defined the value's exact class, "" if that is not a plain string."""
    module = _type_dict(type(value)).get("__module__")
    return module if type(module) is str else ""


def is_definition(value: object) -> bool:
    """Whether a value is a module, function or class, by its exact class."""
    kind = type(value)
    return kind in _DEFINITIONS or type in _type_mro(kind)


def error_message(error: BaseException) -> str:
    """What `str(error)` says where no program code can be involved, else a display of its arguments."""
    args = BaseException.args.__get__(error)
    plain = all(type(arg) in SCALARS for arg in args)
    if plain and _from_builtins(type(error)):
        try:
            return BaseException.__str__(error) if type(error) is BaseException else str(error)
        except (ValueError, RecursionError, MemoryError):
            return ""
    return ", ".join(show(arg, 200) for arg in args)


def _from_builtins(cls: type) -> bool:
    """Whether `__str__` of this exception class is inherited from an exception that is not the program's."""
    for base in _type_mro(cls):
        space = _type_dict(base)
        if "__str__" in space:
            return not _type_is_heap(base)
    return False


def _type_is_heap(cls: type) -> bool:
    return bool(type.__dict__["__flags__"].__get__(cls) & (1 << 9))


class _Full(Exception):
    """The text has reached its bound."""


class _Writer:
    """Writes one value as text, counting characters and remembering the containers it is inside of."""

    def __init__(self, max_chars: int, strict: bool):
        self.parts: list[str] = []
        self.closers: list[str] = []
        self.left = max_chars
        self.inside: set[int] = set()
        self.strict = strict

    def text(self, text: str) -> None:
        if len(text) > self.left:
            raise _Full
        self.parts.append(text)
        self.left -= len(text)

    def put(self, value: object, depth: int) -> None:
        kind = type(value)
        if kind in SCALARS:
            self.text(self.scalar(value, kind))
            return
        if depth > _DEEPEST:
            self.refuse("nesting", "<deep>")
            return
        if id(value) in self.inside:
            self.refuse("a cycle", "<cycle>")
            return
        self.inside.add(id(value))
        if kind in CONTAINERS:
            self.container(value, kind, depth)
        elif self.strict:
            which = "library" if kind in LIBRARY or kind in _VIEWS else "type"
            raise ValueError(f"no literal for the {which} {_type_name(kind)}")
        else:
            self.other(value, kind, depth)
        self.inside.discard(id(value))

    def refuse(self, why: str, mark: str) -> None:
        if self.strict:
            raise ValueError(f"no literal: {why}")
        self.text(mark)

    def scalar(self, value, kind) -> str:
        if kind is int:
            # Decimal conversion of a huge integer is slow and capped by the interpreter.
            if value.bit_length() > 4 * self.left + 64 or value.bit_length() > 14_000:
                if self.strict:
                    raise _Full
                return f"<int of {value.bit_length()} bits>"
        elif kind is str or kind is bytes:
            if len(value) > self.left:
                self.parts.append(repr(value[: self.left]))
                raise _Full
        elif kind is type(Ellipsis):
            return "..."
        elif kind is float:
            if value != value:
                if self.strict:
                    raise ValueError("no literal for nan")
            elif self.strict and value in (float("inf"), float("-inf")):
                return "1e999" if value > 0 else "-1e999"
        elif kind is complex and self.strict and value - value != 0:
            raise ValueError("no literal for what is not finite")
        return repr(value)

    def container(self, value, kind, depth) -> None:
        if kind is dict:
            self.pairs(value, depth)
        elif kind is set:
            if value:
                self.items("{", self.ordered(value), "}", depth)
            else:
                self.text("set()")
        elif kind is tuple:
            self.items("(", value, ",)" if len(value) == 1 else ")", depth)
        else:
            self.items("[", value, "]", depth)

    def items(self, opening, values, closing, depth) -> None:
        self.open(opening, closing[-1:] if closing == ",)" else closing)
        for i, item in enumerate(values):
            if i:
                self.text(", ")
            self.put(item, depth + 1)
        self.close(closing)

    def open(self, opening, closing) -> None:
        self.text(opening)
        self.closers.append(closing)

    def close(self, closing) -> None:
        self.text(closing)
        self.closers.pop()

    def pairs(self, value, depth) -> None:
        self.open("{", "}")
        for i, (key, item) in enumerate(dict.items(value)):
            if i:
                self.text(", ")
            self.put(key, depth + 1)
            self.text(": ")
            self.put(item, depth + 1)
        self.close("}")

    def ordered(self, value):
        """The elements of a set in an order that does not depend on hashing."""
        if len(value) > max(self.left, 0):
            raise _Full
        kinds = {type(item) for item in value}
        if kinds <= {int, bool, float} or kinds == {str}:
            return sorted(value)
        return sorted(value, key=lambda item: (_type_name(type(item)), show(item, 100)))

    def other(self, value, kind, depth) -> None:
        if kind in stand_ins:
            value = object.__getattribute__(value, "_inner")
            kind = type(value)
        if kind is range:
            self.text(repr(value))
        elif kind is bytearray:
            self.open("bytearray(", ")")
            self.put(bytes(value), depth)
            self.close(")")
        elif kind is frozenset:
            self.items("frozenset({", self.ordered(value), "})", depth)
        elif kind is collections.deque:
            self.items("deque([", value, "])", depth)
        elif kind is collections.defaultdict:
            self.open("defaultdict(", ")")
            self.put(value.default_factory, depth)
            self.text(", ")
            self.pairs(value, depth)
            self.close(")")
        elif kind in (collections.Counter, collections.OrderedDict):
            self.open(kind.__name__ + "(", ")")
            self.pairs(value, depth)
            self.close(")")
        elif kind in (types.FunctionType, types.BuiltinFunctionType):
            self.text(f"<function {_named(value.__name__)}>")
        elif kind is type:
            self.text(f"<class {_type_name(value)}>")
        elif kind is types.ModuleType:
            self.text("<module>")
        else:
            self.instance(value, kind, depth)

    def instance(self, value, kind, depth) -> None:
        space = _attributes(value, kind)
        if "_name_" in space and "__objclass__" in space and type(space["_name_"]) is str:
            self.text(f"<{_type_name(kind)}.{_named(space['_name_'])}>")
            return
        self.open("<" + _type_name(kind), ">")
        for name, item in space.items():
            if type(name) is str:
                self.text(f" {_named(name)}=")
                self.put(item, depth + 1)
        if issubclass(kind, BaseException):
            for item in BaseException.args.__get__(value):
                self.text(" ")
                self.put(item, depth + 1)
        self.close(">")


def _attributes(value: object, kind: type) -> dict:
    """The instance's own attributes, by the type's own descriptors only (no properties, no `__getattr__`)."""
    found: dict = {}
    for base in reversed(_type_mro(kind)):
        for name, item in list(_type_dict(base).items()):
            if type(item) is types.MemberDescriptorType and _type_is_heap(base):
                try:
                    found[name] = item.__get__(value)
                except AttributeError:
                    continue
    for base in _type_mro(kind):
        getter = _type_dict(base).get("__dict__")
        if getter is not None:
            if type(getter) is types.GetSetDescriptorType:
                space = getter.__get__(value)
                if type(space) is dict:
                    found.update(space)
            break
    return found
