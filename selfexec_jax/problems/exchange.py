"""What a Python test and the program it tests say to each other, each in a jailed process of its own.

This file runs in both processes, from its text alone: standard library only. The two share a heap: every
list, dict or set that crosses has a number, each side has its own copy of it, and with every call and every
answer comes what has changed in it. So arguments changed in place, an object returned twice, and state from
one call to the next look to the test as they would in one process. What cannot be said in plain data ends
the test as "not plain".

The test's process cannot wait for an answer. It is told all that was asked and answered so far and runs the
test from its beginning; where it asks something new, it goes on with an unknown value to see what else may be
asked, and ends. An unknown answer may be passed on as it is: the program then takes what it answered itself. The
program's process answers it all, and the test runs again. What was asked in ignorance counts only if the test asks
the same again once it knows.
"""

from __future__ import annotations

import ast
import builtins
import collections
import io
import json
import os
import sys

# Modules of which a test and a program may each have their own: they hold no state of the other's to be seen.
PURE = frozenset("""
__future__ ast bisect cmath collections copy dataclasses datetime decimal enum fractions functools heapq itertools json
math numbers operator re statistics string textwrap types typing
""".split())  # fmt: skip
_BEHIND = frozenset("globals locals vars dir exec eval compile open input breakpoint __import__ __builtins__".split())
# The builtins that may cross: the text of the program's side is not to be trusted, and some run what they are given.
_CROSSING = {
    name: value for name, value in vars(builtins).items()
    if type(value) in (type, type(len)) and name not in _BEHIND
}  # fmt: skip
_INT_BITS = 14_000  # longer ones have no decimal text
_SCALARS = {"N": lambda _: None, "T": lambda _: True, "F": lambda _: False, "i": int, "f": float, "s": str,
            "c": complex, "y": bytes.fromhex}  # fmt: skip
_MUTABLE = {cls.__name__: cls for cls in (list, set, dict, bytearray, collections.deque, collections.Counter,
                                          collections.OrderedDict, collections.defaultdict)}  # fmt: skip


class NotPlain(Exception):
    """A value has no plain form; the argument is the name of its type."""


class Heap:
    """One side's copy of the objects that have crossed. side: what its own numbers begin with."""

    def __init__(self, side: str, find=None):
        self._side, self._find = side, find
        self._objects: dict[str, object] = {}
        self._order: list[str] = []
        self._n_own = 0  # a number does not depend on what the other side has sent
        self._numbers: dict[int, str] = {}
        self._known: dict[str, list] = {}  # what the other side believes of each
        self.answered: dict[int, object] = {}  # by number of the question: what this side answered

    def pack(self, value) -> list:
        """A value, and what the other side does not know yet of the objects that crossed; raises NotPlain."""
        said, news = self._say(value), []
        for number in self._order:  # it grows while what is in the objects is said
            found = self._objects[number]
            content = [type(found).__name__, *self._inside(found)]
            if content != self._known.get(number):
                self._known[number] = content
                news.append([number, content])
        return [said, news]

    def unpack(self, packed: list):
        """The value that the other side packed, after all that it said of the objects is done."""
        said, news = packed
        for number, content in news:
            if number not in self._objects:
                self._enter(number, _MUTABLE[content[0]]())
        for number, content in news:
            self._known[number] = content
            self._fill(self._objects[number], content[1:])
        return self._mean(said)

    def _enter(self, number: str, found) -> None:
        self._objects[number] = found  # held, so that its id stays its own
        self._order.append(number)
        self._numbers[id(found)] = number

    def _say(self, value):
        kind = type(value)
        if value is None or kind is bool:
            return "N" if value is None else "T" if value else "F"
        if kind is int and value.bit_length() <= _INT_BITS:
            return f"i{value}"
        if kind is float or kind is complex:
            return ("f" if kind is float else "c") + repr(value)
        if kind is str or kind is bytes:
            return "s" + value if kind is str else "y" + value.hex()
        if kind is tuple or kind is frozenset:
            items = [self._say(item) for item in value]
            return ["t", *items] if kind is tuple else ["z", *sorted(items, key=json.dumps)]
        if kind is _Unknown and value.number is not None:
            return ["a", value.number]
        if kind is Function:
            return ["g", object.__getattribute__(value, "_name")]
        if _MUTABLE.get(kind.__name__) is kind:
            if id(value) not in self._numbers:
                self._enter(f"{self._side}{self._n_own}", value)
                self._n_own += 1
            return ["o", self._numbers[id(value)]]
        if kind in (type, type(len)) and _CROSSING.get(value.__name__) is value:
            return ["u", value.__name__]
        raise NotPlain(kind.__name__)

    def _mean(self, said):
        if type(said) is str:
            return _SCALARS[said[0]](said[1:])
        how, *rest = said
        if how in ("t", "z"):
            return (tuple if how == "t" else frozenset)(map(self._mean, rest))
        if how == "o":
            return self._objects[rest[0]]
        if how == "a":
            if rest[0] not in self.answered:
                raise NotPlain("an answer that there is not")
            return self.answered[rest[0]]
        return _CROSSING[rest[0]] if how == "u" else self._find(rest[0])

    def _inside(self, found) -> list:
        kind = type(found)
        if isinstance(found, dict):
            factory = [self._say(found.default_factory)] if kind is collections.defaultdict else []
            return factory + [[self._say(key), self._say(item)] for key, item in dict.items(found)]
        if kind is bytearray:
            return [bytes(found).hex()]
        if kind is collections.deque and found.maxlen is not None:
            raise NotPlain("deque of bounded length")
        items = [self._say(item) for item in found]
        return sorted(items, key=json.dumps) if kind is set else items

    def _fill(self, found, content: list) -> None:
        if isinstance(found, dict):
            if type(found) is collections.defaultdict:
                found.default_factory = self._mean(content.pop(0)) if content else None
            found.clear()
            for key, item in content:
                found[self._mean(key)] = self._mean(item)
        elif type(found) is bytearray:
            found[:] = bytes.fromhex(content[0])
        else:
            found.clear()
            (found.update if type(found) is set else found.extend)(list(map(self._mean, content)))


class Function:
    """A function of the program, as the test has it: it can be called and passed on."""

    def __init__(self, name: str, talk):
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_talk", talk)

    def __call__(self, *args, **kwargs):
        talk, name = object.__getattribute__(self, "_talk"), object.__getattribute__(self, "_name")
        return talk.ask("call", name, args, kwargs)

    def __getattribute__(self, name):
        object.__getattribute__(self, "_talk").end("not plain", f"an attribute of a function: {name}")

    def __setattr__(self, name, _):
        self.__getattribute__(name)

    def __repr__(self):
        self.__getattribute__("__repr__")


def play(space: dict, asked: str) -> str:
    """In the program's process: the answers to all that was asked, in order, up to one that is not plain."""
    find = lambda name: space[name] if name in space else getattr(builtins, name)  # noqa: E731
    heap, answers = Heap("p", find), []
    for number, (what, name, packed) in enumerate(json.loads(asked)):
        try:
            args, kwargs = heap.unpack(packed)
        except NotPlain:
            break  # it will be asked again, in the knowledge of what it depends on
        try:
            if what == "get":
                answers.append(_described(heap, space, name))
            elif name not in space:
                raise NameError(f"name {name!r} is not defined")
            else:
                value = _outcome(space[name], args, kwargs)
                answers.append(["value", heap.pack(value)])
                heap.answered[number] = value
        except NotPlain as why:
            answers.append(["not plain", why.args[0]])
        except MemoryError:
            raise
        except BaseException as error:
            answers.append(_raised(heap, error))
        if answers[-1][0] == "not plain":
            break
    return json.dumps(answers)


def _outcome(function, args: tuple, kwargs: dict):
    try:
        return function(*args, **kwargs)
    except NotPlain as error:  # ours by name only
        raise RuntimeError from error


def _described(heap: Heap, space: dict, name: str) -> list:
    if name not in space:
        return ["missing", ""]
    value = space[name]
    if isinstance(value, type(sys)):
        return ["module", str(value.__name__)]
    try:
        return ["value", heap.pack(value)]
    except NotPlain:
        if isinstance(value, type) or not callable(value):
            raise
        return ["function", ""]


def _raised(heap: Heap, error: BaseException) -> list:
    kind = type(error)
    is_plain = getattr(builtins, kind.__name__, None) is kind and not vars(error)
    if not is_plain or str(kind(*error.args)) != str(error):
        return ["not plain", kind.__name__]
    try:
        return ["error", kind.__name__, heap.pack(error.args)]
    except NotPlain as why:
        return ["not plain", why.args[0]]


class _Unknown:
    """An answer that is not known yet: whatever is computed from it is unknown, and it passes for true.

    number: of the question that it answers, None for what is computed.
    """

    def __init__(self, number: int | None = None):
        self.number = number

    def _same(self, *_):
        return _Unknown()

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _same
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _same
    __floordiv__ = __mod__ = __pow__ = __neg__ = __abs__ = __round__ = __getitem__ = _same
    __float__ = lambda self: 0.0  # noqa: E731
    __iter__ = None


class _Names(dict):
    """The builtins of a test, where its names end up that are none of its own: the program's."""

    def __init__(self, talk, called: set):
        super().__init__(vars(builtins))
        self._talk, self._called = talk, called

    def __missing__(self, name):
        return self._talk.function(name) if name in self._called else self._talk.name(name)


class _Talk:
    """The test's side of the conversation: replays what was said, then asks what is new."""

    def __init__(self, asked: list, answers: list, ahead: int):
        self._heap = Heap("t", self.function)
        self._past, self._answers, self._ahead = asked, answers, ahead
        self._asked: list = []
        self._functions: dict[str, Function] = {}
        self._is_exploring = False

    def ask(self, what: str, name: str, args: tuple = (), kwargs: dict | None = None):
        """The answer, as a value or an error; an unknown one where it is not there yet."""
        try:
            request = [what, name, self._heap.pack((args, kwargs or {}))]
        except (NotPlain, RecursionError) as why:
            self.end("not plain", str(why))
        i = len(self._asked)
        if not self._is_exploring and i < len(self._answers) and request == self._known(self._past[i]):
            request = self._past[i]
        else:
            self._is_exploring = True
            self._ahead -= 1
        self._asked.append(request)
        if self._ahead < 0 and self._is_exploring:
            self.end("ask")
        if self._is_exploring:
            return ("function", "") if what == "get" else _Unknown(i)
        how, *rest = self._answers[i]
        if how == "value":
            value = self._heap.unpack(rest[0])
            return ("value", value) if what == "get" else value
        if how == "error":
            kind = _CROSSING[rest[0]]
            if not issubclass(kind, BaseException):
                raise TypeError(f"{rest[0]} is no exception")
            raise kind(*self._heap.unpack(rest[1]))
        if how == "not plain":
            self.end(how, rest[0])
        return how, rest[0]

    def _known(self, said):
        """What was said before, with the answers in the place of what was unknown then."""
        if type(said) is not list:
            return said
        if len(said) == 2 and said[0] == "a" and type(said[1]) is int:
            how, *rest = self._answers[said[1]]
            return rest[0][0] if how == "value" else said
        return [self._known(one) for one in said]

    def function(self, name: str) -> Function:
        """The one of this name."""
        return self._functions.setdefault(name, Function(name, self))

    def name(self, name: str):
        """What the program calls by this name."""
        how, what = self.ask("get", name)
        if how == "value":
            return what
        if how == "function":
            return self.function(name)
        module = what if how == "module" else name  # MBPP's tests use modules that they do not import
        if module in PURE:
            return __import__(module)
        if how == "module":
            self.end("not plain", f"module {what}")
        raise NameError(f"name {name!r} is not defined")

    def end(self, how: str, what: str = ""):
        """End this process, saying how it went; while it explores, all that counts is what it asked."""
        if self._is_exploring:
            how, what = "ask", self._asked
        data = json.dumps([how, what]).encode()
        while data:
            data = data[os.write(1, data) :]
        os._exit(0)


def put_to_test() -> None:
    """In the test's process: run it, as stdin has it, and end the process with how it went on stdout.

    How: passed, failed, "not plain", or "ask" with all that was asked.
    """
    told = json.loads(sys.stdin.buffer.read())
    talk = _Talk(told["asked"], json.loads(told["answers"]), told["ahead"])
    sys.stdout = io.StringIO()  # what the test prints is nobody's business
    tree = ast.parse(told["test"])
    why = _refused(tree, PURE | set(told["own"]))
    if why:
        talk.end("not plain", why)
    space = {"__name__": "test", "__builtins__": _Names(talk, _only_called(tree))}
    try:
        exec(compile(tree, "<test>", "exec"), space)
    except BaseException as error:
        talk.end("failed", type(error).__name__)
    talk.end("passed")


def _refused(tree: ast.AST, allowed: frozenset) -> str:
    """Why a test must share a process with its program, "" if it need not: it looks at what only one can have."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in _BEHIND:
            return node.id
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or "."]
        for module in modules:
            if module.partition(".")[0] not in allowed:
                return f"module {module}"
    return ""


def _only_called(tree: ast.AST) -> set:
    """Names that are never used but to be called: what they are need not be asked first."""
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {node.id for node in names} - {node.id for node in names if id(node) not in functions}
