"""The tracer: a traced program behaves as the plain one, budgets stop the recording, tampering shows."""

import builtins
import contextlib
import dataclasses
import io
import sys
import types

import pytest

from selfexec_jax.sandbox import encode
from selfexec_jax.sandbox.events import read_events
from selfexec_jax.sandbox.tracer import Tracer
from selfexec_jax.sandbox.types import TraceBudget

pytestmark = pytest.mark.filterwarnings("ignore::SyntaxWarning")

PROGRAMS = {
    "closures": """
def counter():
    n = 0
    def up(k=1):
        nonlocal n
        n += k
        return n
    return up
c = counter(); c(); c(5)
print(c(), [f() for f in [lambda i=i: i * i for i in range(3)]])
fs = [lambda: i for i in range(3)]
print([f() for f in fs])
g = 1
def setg():
    global g
    g = g + 1
    return g
print(setg(), g)
""",
    "generators": """
def walk(t):
    if t:
        yield from walk(t[0])
        got = yield t[1]
        if got: print('got', got)
        yield from walk(t[2])
print(list(walk((((), 1, ()), 2, ((), 3, ())))))
def gen():
    try:
        x = yield 1
        print('x', x)
        yield x * 2
    finally:
        print('closed')
g = gen(); print(next(g)); print(g.send(7)); g.close()
def inf():
    n = 0
    while True:
        yield n
        n += 1
from itertools import islice
print(list(islice(inf(), 4)), sum(x for x in range(5) if x % 2), max((len(w), w) for w in ['a', 'bbb']))
print(any(x > 2 for x in [1, 2, 3, 1 // 1]), all(map(bool, [1, 0])))
def boom():
    yield 1
    raise KeyError('k')
try:
    for v in boom(): print(v)
except KeyError as e:
    print(repr(e))
try:
    next(iter([]))
except StopIteration:
    print('stop')
""",
    "classes": """
class A:
    count = 0
    names = [n * 2 for n in 'ab']
    def __init__(self, x):
        self.__x = x
        A.count += 1
    @property
    def x(self): return self.__x
    @x.setter
    def x(self, v): self.__x = v * 2
    @classmethod
    def make(cls, *a, **k): return cls(*a, **k)
    @staticmethod
    def st(a): return a + 1
    def __add__(self, o):
        print('add'); return A(self.x + o.x)
    def __iadd__(self, o):
        print('iadd'); self.__x += o; return self
    def __eq__(self, o): print('eq'); return self.x == o.x
    def __bool__(self): print('bool'); return self.x > 1
    def __getitem__(self, i): print('get', i); return i
    def __setitem__(self, i, v): print('set', i, v)
    def __delitem__(self, i): print('del', i)
    def __contains__(self, v): print('in', v); return 'yes'
    def __len__(self): print('len'); return 2
    def __iter__(self): return iter([1, 2])
    def __repr__(self): print('repr'); return f'A({self.x})'
    def __hash__(self): return 3
    def __call__(self, *a): return a
    def __getattr__(self, n): print('getattr', n); return n
    def __lt__(self, o): return []
    def __neg__(self): return 'neg'
class B(A):
    def __init__(self, x):
        super().__init__(x + 1)
        self.y = super().x
a, b = A(1), B(2)
print((a + b).x, a == b, a[1:2], a['k'], 1 in a, a(3, *[4]), -a, a < b, a.zzz, b.y)
a += 5
a[3] = 4
a[3] += 4
del a[0]
a.x += 1
print(a.x, A.count, B.make(1).x, A.st(1), [*a], len(a), A.names, not a)
if a and not b or a < b: print('t')
while not a: break
print('x' if a else 'y')
p, *q = a
print(p, q, vars(B(1)), repr(a))
""",
    "dataclasses": """
from dataclasses import dataclass, field
from enum import Enum
from collections import namedtuple, defaultdict, Counter, deque, OrderedDict
@dataclass(order=True)
class P:
    x: int
    y: int = 2
    tags: list = field(default_factory=list)
    def norm(self) -> int:
        return self.x ** 2 + self.y ** 2
class C(Enum):
    R = 1
    G = R + 1
T = namedtuple('T', 'a b')
p = P(3); p.tags.append('t')
print(p, p.norm(), P(1) < p, C.G, C(1), T(1, b=2)._replace(a=5), T.__module__)
d = defaultdict(list); d['a'].append(1); d['b'] += [2, 3]
c = Counter('abca'); c['z'] += 2; q = deque([1], maxlen=2); q.append(2); q.append(3); q.rotate(1)
print(dict(d), c.most_common(1), q, OrderedDict(a=1))
""",
    "exceptions": """
def f(x):
    try:
        if x == 0: raise ValueError('zero')
        if x == 1: return 10 // (x - 1)
        if x == 2: return [][x]
        if x == 3: raise KeyError
        return 'fine'
    except ZeroDivisionError as e:
        return f'zd {e}'
    except (ValueError, IndexError) as e:
        raise RuntimeError('again') from e
    else:
        print('never')
    finally:
        print('finally', x)
for i in range(5):
    try:
        print(f(i))
    except RuntimeError as e:
        print(type(e.__cause__).__name__, e, e.__context__)
    except KeyError as e:
        print(repr(e), e.args)
class E(Exception):
    def __str__(self): return 'custom'
try:
    try:
        raise E(1, [2])
    except E:
        raise
    finally:
        print('f')
except Exception as e:
    print(e, e.args)
for bad in ['1 + "a"', '[][0]', '{}["k"]', 'None.x', 'undefined', 'len(3)', 'int("q")', '(1)(2)', '"a" < 1',
            '[] in 3']:
    try: eval(bad)
    except Exception as e: print(type(e).__name__, e)
def loop():
    while True:
        try: return 1
        finally: break
    return 2
print(loop())
try:
    a, b = [1, 2, 3]
except ValueError as e: print(e)
x = [1, 2]
try: x[5] = 1
except IndexError as e: print(e)
try: x += 5
except TypeError as e: print(e)
try: x - {}
except TypeError as e: print(e)
try: f()
except TypeError as e: print(e)
assert x == [1, 2], 'm'
assert len(x) > 5, f'short {x}'
""",
    "with": """
import contextlib
class M:
    def __init__(self, n): self.n = n
    def __enter__(self): print('in', self.n); return self.n, [self.n]
    def __exit__(self, t, v, tb): print('out', self.n, t and t.__name__); return self.n == 2
with M(1) as (a, b), M(2) as c:
    print(a, b, c)
    raise ValueError('x')
@contextlib.contextmanager
def cm(k):
    print('<'); yield k; print('>')
with cm(3) as z: print(z)
with contextlib.redirect_stdout(__import__('io').StringIO()) as s: print('hid')
print(s.getvalue())
""",
    "match": """
def k(v):
    match v:
        case 0 | 1: return 'small'
        case int(n) if n > 100: return f'big {n}'
        case [x, *rest]: return x, rest
        case {'a': y, **o}: return y, o
        case str() as s: return s
        case _: return None
print([k(v) for v in [0, 500, 7, [1, 2, 3], {'a': 1, 'b': 2}, 'q', 1.5]])
""",
    "arguments": """
def f(a, /, b, *args, c=3, **kw): return a, b, args, c, sorted(kw)
print(f(1, 2), f(1, *[2, 3], c=4, **{'z': 1, 'y': 2}), f(1, b=5))
def order(n):
    print(n, end=','); return n
print(f(order(1), order(2), *[order(3)], c=order(4), **{'k': order(5)}))
order(1) < order(2) > order(0) < order(9)
order(5) < order(2) < order(3)
d = {}; d[order('k')] = order('v')
x = d[order('j')] = order(8)
l = [0, 0]; l[order(0)], l[order(1)] = order(1), order(2)
l[order(1)] += order(3)
order(0) and order(1) or order(2) and order(3)
print(l, d, 1 < 2 < 3 != 4, (1 > 2) == False, 1 if order(0) else 2)
i = 0
a = [[1], [2]]
i, a[i] = 1, 'z'
print(a, (y := 5) + y, [z := v for v in range(3)], z)
print(*map(lambda v, w=2: v + w, [1, 2]), sep='-', end='!\\n')
""",
    "scoping": """
x = 'outer'
print([x for x in range(3)], x, {x: y for x in 'ab' for y in x}, {i % 2 for i in range(5)})
def f():
    y = [i * j for i in range(3) if i for j in range(i) if j or i]
    return y, sorted(locals())
print(f())
class K:
    v = 3
    w = [v for _ in range(2)] if False else v
    def g(self, d={}, *, e=[]):
        d[len(d)] = 1; e.append(2)
        return d, e
print(K().g(), K().g(), K.w)
del x
try: x
except NameError as e: print(e)
def h():
    print(q)
    q = 1
try: h()
except UnboundLocalError as e: print(e)
""",
    "decorators": """
import functools
def deco(n):
    def wrap(f):
        @functools.wraps(f)
        def inner(*a, **k):
            return f(*a, **k) * n
        return inner
    return wrap
@deco(2)
@deco(3)
def f(x):
    "doc"
    return x + 1
print(f(1), f.__name__, f.__doc__, f.__wrapped__.__name__)
@functools.lru_cache(None)
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
print(fib(60), fib.cache_info().misses, functools.reduce(lambda a, b: a * b, [1, 2, 3, 4]))
""",
    "strings": """
s = 'He said "hi"; it\\'s = fine\\n\\ttab'
w = 3.14159; n = None
print(f'{w:.2f} {s!r:>40} {w=:.1f} {n} {{}} {"%05d" % 42} {s[::-1][:3]}')
print(s.upper(), s.split(';'), '%s-%s' % (1, 'a'), b'ab'[0], 'a' 'b', 'x' * 3, s.replace('i', '').count('t'))
print('é', 'a\\x00b'.encode(), ord('a'), chr(98), ' pad '.strip(), 'A' < 'b', 'ab' in 'cabd')
""",
    "numbers": """
print(7 // -2, -7 % 3, 2 ** -1, 1e308 * 10, float('nan') == float('nan'), 10 ** 40, ~5, -(-3), +4)
print(5 & 3 | 8 ^ 1, 1 << 3)
print(divmod(-7, 2), round(2.5), abs(-3), 0.1 + 0.2, 3 == 3.0, True + True, 1j * 1j, int('ff', 16), not 0)
import math
print(math.gcd(12, 18), math.isqrt(17), sum([[1], [2]], []), 10 ** 5000 % 7)
""",
    "recursion": """
import sys
def depth(n):
    return 0 if n == 0 else 1 + depth(n - 1)
print(depth(900), sys.getrecursionlimit())
def inf(n): return inf(n + 1)
try: inf(0)
except RecursionError as e: print('too deep')
def even(n): return True if n == 0 else odd(n - 1)
def odd(n): return False if n == 0 else even(n - 1)
print(even(100))
sys.setrecursionlimit(3000)
print(sys.getrecursionlimit(), depth(2500))
def nested(c): return sum(nested(x) for x in c) + 1 if c else 1
t = []
for _ in range(200): t = [t]
print(nested(t), max(map(lambda v: v, [1, 2])))
""",
    "deletion": """
a = [1, 2, 3, 4]; d = {'k': 1, 'l': 2}
del a[0], a[0:1], d['k']
b = c = a; b.append(9)
print(a, d, c is b)
class R:
    def __init__(self, n): self.n = n
    def __del__(self): print('bye', self.n)
def f():
    r = R(1); print('in')
f(); print('after')
r = R(2); r = R(3); del r
import weakref
class W: pass
w = W(); ref = weakref.ref(w); del w
print(ref())
""",
    "stdin": """
import sys
n = int(input('? '))
rows = [list(map(int, input().split())) for _ in range(n)]
rest = [line.strip() for line in sys.stdin]
sys.stdout.write('%d\\n' % sum(map(sum, rows)))
print(rest, file=sys.stdout); print('err', file=sys.stderr)
try: input()
except EOFError as e: print('eof')
sys.exit(3)
""",
    "threads": """
import threading
out = []
def work(n):
    for i in range(n): out.append(i * n)
t = threading.Thread(target=work, args=(3,)); t.start(); t.join()
print(out)
""",
    "futures": '''
"""Doc."""
from __future__ import annotations
def f(x: Missing) -> "Nope":
    y: int = x + 1
    z: str
    return y
print(__doc__, f(1), f.__annotations__)
class Q:
    def __init__(self): self.v: int = 4
print(Q().v)
''',
    "async": """
import asyncio
async def f(x):
    return [y async for y in g(x)]
async def g(n):
    for i in range(n): yield i * 2
def run(c):
    try: c.send(None)
    except StopIteration as s: return s.value
print(run(f(3)))
try:
    raise ExceptionGroup('g', [ValueError(1), TypeError(2)])
except* ValueError as e: print('v', e.exceptions)
except* TypeError as e: print('t', e.exceptions)
""",
    "loops": """
for i in range(3):
    for j in range(3):
        if j == 1: continue
        if i == 1: break
        print(i, j)
    else: print('done', i)
n = 5
while n:
    n -= 1
    if n == 2: break
else: print('no')
while n > 0: n -= 1
else: print('else')
a = [1, 2, 3]
for a[0] in [7, 8]: pass
for k, (x, *y) in {1: (2, 3, 4)}.items(): print(k, x, y)
for v in a:
    if v < 5: a.append(v + 3)
    if len(a) > 6: break
print(a)
""",
    "uncaught": """
def f(x):
    return {}[x]
print('before')
f('missing')
""",
    "empty": "",
    "only a docstring": "'doc'",
}


def plain(source, stdin=""):
    return _run(compile(source, "<program>", "exec", dont_inherit=True), {}, stdin, contextlib.nullcontext())


def traced(source, stdin="", **budget):
    tracer = Tracer(source, dataclasses.asdict(TraceBudget(**budget)))
    code = tracer.compile("<program>")
    return (*_run(code, tracer.names(), stdin, tracer), tracer.result())


def _run(code, names, stdin, inside):
    module = types.ModuleType("__main__")
    before = sys.stdin, sys.stdout, sys.stderr, sys.modules["__main__"], sys.getrecursionlimit()
    sys.modules["__main__"] = module
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(stdin), io.StringIO(), io.StringIO()
    out, error = sys.stdout, None
    vars(builtins).update(names)
    try:
        with inside:
            exec(code, vars(module))
    except BaseException as raised:
        error = f"{type(raised).__name__}: {raised}"
    finally:
        for name in names:
            vars(builtins).pop(name, None)
        sys.stdin, sys.stdout, sys.stderr, sys.modules["__main__"] = before[:4]
        sys.setrecursionlimit(before[4])
    return out.getvalue(), error


STDIN = "2\n1 2\n3 4\nrest of\nit"


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_traced_program_behaves_as_the_plain_one(name):
    want = plain(PROGRAMS[name], STDIN)
    out, error, result = traced(PROGRAMS[name], STDIN)
    assert (out, error) == want
    assert not result["tampered"]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("budget", [{"events": 7}, {"bytes": 500}, {"depth": 1}, {"value_chars": 8}])
def test_a_spent_budget_stops_the_recording_and_nothing_else(name, budget):
    out, error, result = traced(PROGRAMS[name], STDIN, **budget)
    assert (out, error) == plain(PROGRAMS[name], STDIN)
    assert not result["tampered"]
    assert len(result["events"]) <= budget.get("events", 10_000)


def test_each_budget_names_itself_and_keeps_the_prefix():
    source = "def f(n):\n    return n and f(n - 1)\nx = 0\nwhile x < 50:\n    x += 1\nf(9)\n"
    whole = traced(source)[2]
    assert whole["stop"] is None
    for budget in ({"events": 20}, {"bytes": 2000}, {"depth": 3}):
        cut = traced(source, **budget)[2]
        assert cut["stop"] == next(iter(budget))
        assert cut["events"] == whole["events"][: len(cut["events"])]


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nsys.stdout = sys.stdout._inner\nprint('hidden')\n",
        "import builtins\nold = builtins.zip\nbuiltins.zip = lambda *a: old(*a)\n",
        "import builtins\nfor n in list(vars(builtins)):\n"
        "    if type(vars(builtins)[n]).__name__ == 'Hooks': delattr(builtins, n)\n",
        "import builtins\nfor n in list(vars(builtins)):\n"
        "    h = vars(builtins)[n]\n    if type(h).__name__ == 'Hooks': type(h).b = lambda *a: 0; break\n"
        "x = 5\nprint(x + 1)\n",
        "import builtins\nfor n in list(vars(builtins)):\n"
        "    h = vars(builtins)[n]\n    if type(h).__name__ == 'Hooks': h.b = lambda k, *a: 0; break\n"
        "x = 5\nprint(x + 1)\n",
        "import builtins\nfor n in list(vars(builtins)):\n"
        "    h = vars(builtins)[n]\n    if type(h).__name__ == 'Hooks': h._log.events.clear(); break\n",
        "import builtins\nfor n in list(vars(builtins)):\n"
        "    h = vars(builtins)[n]\n    if type(h).__name__ == 'Hooks': h._add = lambda event: None; break\n",
    ],
)
def test_interference_with_the_recorder_shows(source):
    from selfexec_jax.sandbox.recorder import Hooks

    method, zipped = Hooks.b, builtins.zip
    try:
        assert traced(source)[2]["tampered"]
    finally:
        Hooks.b, builtins.zip = method, zipped


OWN_STREAMS = {
    "hidden": ("import sys, io\nsys.stdout = io.StringIO()\nprint('hidden')\n", ""),
    "hidden for a while": (
        "import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()) as f: print('a')\nprint(f.getvalue())\n",
        "a\n\n",
    ),
    "copied": (
        "import sys, io\nreal, sys.stdout = sys.stdout, io.StringIO()\n"
        "print('a')\nreal.write(sys.stdout.getvalue())\n",
        "a\n",
    ),
    "wrapped": (
        "import sys, io\nsys.stdout = io.TextIOWrapper(io.BytesIO())\nprint('no')\nsys.stdout = sys.__stdout__\n",
        "",
    ),
    "builtins.print": ("import builtins\nold = print\nbuiltins.print = lambda *a: old('>', *a)\nprint(1)\n", "> 1\n"),
    "own print": (
        "old = print\ndef print(*a): old('>', *a)\nprint(1)\ninput = lambda: '7'\nprint(input())\n",
        "> 1\n> 7\n",
    ),
}


@pytest.mark.parametrize("name", OWN_STREAMS)
def test_streams_and_printers_of_its_own_are_no_interference(name):
    source, want = OWN_STREAMS[name]
    old, stream = builtins.print, sys.__stdout__
    try:
        out, error, result = traced(source)
    finally:
        builtins.print, sys.__stdout__ = old, stream
    assert (out, error, result["tampered"]) == (want, None, False)
    assert "".join(values[0] for kind, _, *values in result["events"] if kind == "print") == want


def test_a_syntax_error_is_the_plain_one():
    for source in ("x = = 1", "return 3", "def f(:", "nonlocal x", "x = 1\n  y = 2", "f(a=1, a=2)"):
        with pytest.raises(SyntaxError) as want:
            compile(source, "<program>", "exec", dont_inherit=True)
        with pytest.raises(SyntaxError) as got:
            traced(source)
        assert str(got.value) == str(want.value)


def test_events_hold_nothing_but_plain_data():
    import json

    for source in PROGRAMS.values():
        json.dumps(traced(source, STDIN)[2])


SITES = [[0, 1, 1, "a + b", "+", [["a", True], ["b", True]], [], "", None, "", ["", False], []],
         [1, 1, 1, "", "", [], ["a", "b"], "assign", None, "", ["", False], []],
         [2, 1, 1, "", "", [["a", True]], ["len"], "", None, "", ["", False], []]]  # fmt: skip


@pytest.mark.parametrize(
    "event",
    [["binary", 1, 1, 2, 3], ["bind", 1, 1], ["bind", 1, 1, [2]], ["compare", 0, 1, 2, "yes"], ["print", 0, None],
     ["builtin", 2, "ab", [], 3], ["builtin", 2, [], [], 3], ["user", 1, [1], 2],
     ["method", 0, "m", "x", ["1"], [], 3, None], ["frame", 0, "line", -1, {}, None],
     ["spell", 0, "a", [1]], ["catch", 0, "E", -1], ["unary", 0, 1, None], ["call", 1, 1, 2, 3], ["store", 1, 1, 2, 3],
     ["frame", 0, "line", 1, {"a": 1}, None], ["user", 0, [1], 2], ["binary", 2, 1, 2, 3], ["leap", 0]],
)  # fmt: skip
def test_what_is_no_event_of_its_kind_is_refused(event):
    """A program that reached the recorder could send anything, and a step of it could not be made."""
    good = [["binary", 0, 1, 2, 3], ["bind", 1, 1, None], ["builtin", 2, ["1"], [["key", "2"]], "3"]]
    assert len(read_events({"sites": SITES, "events": good}, {})) == 3
    with pytest.raises((ValueError, KeyError)):
        read_events({"sites": SITES, "events": [*good, event]}, {})


def test_exceptions_are_recorded_where_they_are_raised():
    source = "def f(x):\n    return 1 // x\ntry:\n    f(0)\nexcept ZeroDivisionError:\n    pass\nundefined\n"
    events = read_events(traced(source)[2], {})
    raised = [(kind, site.line, values[0]) for kind, site, values in events if kind in ("raise", "catch")]
    assert raised == [
        ("raise", 2, "ZeroDivisionError"),
        ("catch", 5, "ZeroDivisionError"),
        ("raise", 7, "NameError"),
    ]


class Hostile:
    def __repr__(self):
        raise AssertionError("the program's code was run")

    __eq__ = __hash__ = __len__ = __iter__ = __str__ = __bool__ = __getattr__ = __repr__


class Sub(list):
    __iter__ = __len__ = __repr__ = Hostile.__repr__


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        2.5,
        "a'\"\n",
        b"x",
        1j,
        [1, (2,)],
        (),
        set(),
        {3, 1},
        {"a": [None]},
        [[]],
        {(1, 2): {}},
        ...,
    ],
)
def test_literals_read_back(value):
    assert eval(encode.literal(value, 100)) == value
    assert encode.show(value, 100) == encode.literal(value, 100)


def test_what_has_no_literal_is_refused_without_running_its_code():
    cycle = []
    cycle.append(cycle)
    for value in (
        Hostile(),
        Sub([1]),
        [Hostile()],
        cycle,
        range(3),
        frozenset(),
        float("nan"),
        complex("inf"),
        len,
        "x" * 101,
    ):
        with pytest.raises(ValueError, match="no literal"):
            encode.literal(value, 100)
        assert len(encode.show(value, 100)) < 130
    assert encode.show(cycle, 50) == "[<cycle>]"
    assert encode.show([Hostile()], 50) == "[<Hostile>]"
    assert encode.show(list(range(50)), 20) == "[0, 1, 2, 3, 4, 5, 6, ...]"
    assert encode.show(10**5000, 50).startswith("<int of")
    assert encode.show(type("E is 5.\nLine 9: it prints 7", (), {})(), 50) == r"<'E is 5.\nLine 9: it prints 7'>"
