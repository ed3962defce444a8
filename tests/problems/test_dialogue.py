"""Python tests judged apart from the program, with the verdict that running both together would give."""

import dataclasses
import json

import pytest

from selfexec_jax.problems.judge import judge
from selfexec_jax.problems.types import Problem, Test


def verdict(pool, source, *tests, in_process=False):
    problem = Problem("p", "", kind="check", entry_point="f", time_limit_s=1.0)
    return judge(source, problem, [Test(test, "") for test in tests], pool, in_process=in_process).result(120)


LOOP = "import random\nfor i in range(20):\n    x = random.random()\n    assert abs(f(x) - x / 2) < 1e-9\n"


def test_a_test_may_compute(pool):
    good = verdict(pool, "def f(x): return x / 2", LOOP, "assert f(3 * 2) == 3")
    assert (good.status, good.passed, good.integrity) == ("passed", (True, True), "")
    assert len(good.executions) == 2  # all twenty calls at once
    assert verdict(pool, "def f(x): return x / 3", LOOP, "assert f(0) == 0").passed == (False, True)
    assert verdict(pool, "def g(x): return x / 2", LOOP).status == "failed"
    assert verdict(pool, "def f(x):\n    while x: pass", LOOP).status == "failed"


def test_a_program_that_is_slow_is_not_run_once_a_call(pool):
    """All calls take longer than the limit, each but a hundredth of it."""
    slow = "from time import process_time as t\ndef f(x):\n    end = t() + 0.02\n    while t() < end: pass"
    test = "for i in range(80):\n    f(i)\n"
    found = verdict(pool, slow, test)
    assert found.status == "failed" and len(found.executions) < 12


def test_errors_pass_through(pool):
    raises = "try:\n    f(-1)\nexcept ValueError as error:\n    assert str(error) == 'no'\nelse:\n    assert False"
    assert verdict(pool, "def f(x):\n    if x < 0: raise ValueError('no')", raises).status == "passed"
    assert verdict(pool, "def f(x): return x", raises).status == "failed"
    assert verdict(pool, "def f(x): 1 / 0", raises).status == "failed"


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nclass E(Exception): pass\ndef f(x): sys.exit(0)",
        "import os\ndef f(x): os._exit(0)",
        "import builtins\nbuiltins.abs = lambda x: 0\ndef f(x): return 1.0",
        "class A(float):\n    def __sub__(self, other): return 0\n    __eq__ = lambda *_: True\ndef f(x): return A()",
        "import unittest.mock\ndef f(x): return unittest.mock.ANY",
        "import gc, sys\ndef f(x):\n    sys.modules['__main__'].check = lambda c: None\n    return 1.0",
    ],
)
def test_a_program_cannot_reach_its_test(pool, source):
    assert verdict(pool, source, LOOP).status in ("failed", "undecided")


FORGED = """import json
real = json.dumps
json.dumps = lambda a, real=real, **k: {answers!r} if type(a) is list else real(a, **k)
def f(x): return 0
"""
ENDS_ITS_TEST = """import os; os.write(1, b'["passed", ""]'); os._exit(0)"""


@pytest.mark.parametrize(
    "answer",
    [
        ["error", "exec", [["t", "s" + ENDS_ITS_TEST], []]],
        ["error", "print", [["t", "s1"], []]],
        ["value", [["u", "exec"], []]],
        ["value", [["u", "__import__"], []]],
        ["error", "no such name", [["t"], []]],
        ["no such word", "s"],
    ],
)
def test_what_a_program_says_is_no_code_of_its_test(pool, answer):
    source = FORGED.format(answers=json.dumps([answer]))
    assert verdict(pool, source, "assert f(2) == 4").status == "failed"
    assert verdict(pool, source, f"f(2)({ENDS_ITS_TEST!r})").status in ("failed", "undecided")
    counter = "from collections import Counter\n" + source.replace("return 0", "return Counter()")
    call = Problem("p", "", kind="call", entry_point="f", source="humaneval")
    assert judge(counter, call, [Test("2", "4")], pool).result(60).status == "failed"


@pytest.mark.parametrize("value", ["((", "1", "1" + "0" * 400 + "+1j"])
def test_an_answer_that_is_no_text_has_a_verdict(pool, value):
    source = f"""import os, struct
def f(x):
    data = b"=" + {value.encode()!r}
    os.write(3, struct.pack("<Q", len(data)) + data)
    os._exit(0)
"""
    assert verdict(pool, source, "assert f(2) == 4").status == "failed"
    call = Problem("p", "", kind="call", entry_point="f", source="humaneval")
    assert judge(source, call, [Test("2", "4")], pool).result(60).status == "failed"


def test_what_is_no_plain_data_is_undecided_or_asked_for_by_name(pool):
    source = "class A:\n    def __init__(self, x): self.x = x\ndef f(x): return A(x)"
    test = "assert f(3).x == 3"
    apart = verdict(pool, source, test)
    assert (apart.status, apart.passed, apart.integrity) == ("undecided", (False,), "")
    together = verdict(pool, source, test, in_process=True)
    assert (together.status, together.integrity) == ("passed", "in_process")
    assert verdict(pool, source, "assert f(4).x == 3", in_process=True).status == "failed"
    assert verdict(pool, "def f(g): return g(1)", "assert f(lambda x: x) == 1").status == "undecided"
    assert verdict(pool, "def f(x): return 1", "assert f('a') == {}", in_process=True).integrity == ""
    assert verdict(pool, "def f(x, t): return t(x)", "assert f(2.5, int) == 2").status == "passed"


def test_a_value_that_is_no_literal_may_still_be_equal(pool):
    problem = Problem("p", "", "call", "f", private_tests=(Test("'aab'", "{'a': 2, 'b': 1}"),), source="mbpp")
    source = "import collections\ndef f(x): return collections.Counter(x)"
    apart = judge(source, problem, problem.private_tests, pool).result(60)
    assert (apart.status, apart.integrity) == ("passed", "")
    more = source + " + collections.Counter('b')"
    assert judge(more, problem, problem.private_tests, pool).result(60).status == "failed"
    view = "def f(x): return {'a': 2, 'b': 1}.items()"
    pairs = dataclasses.replace(problem, private_tests=(Test("'aab'", "{('a', 2), ('b', 1)}"),))
    assert judge(view, pairs, pairs.private_tests, pool).result(60).status == "undecided"
    together = judge(view, pairs, pairs.private_tests, pool, in_process=True).result(60)
    assert (together.status, together.integrity) == ("passed", "in_process")
    own = "class Counter(dict):\n    def __eq__(self, other): return True\ndef f(x): return Counter()"
    assert judge(own, problem, problem.private_tests, pool).result(60).status == "failed"
    strict = Problem("p", "", "call", "f", private_tests=problem.private_tests)
    assert judge(source, strict, strict.private_tests, pool).result(60).status == "failed"


def both(source: str, test: str) -> str:
    """The verdict of one plain process."""
    try:
        exec(f"{source}\n\n{test}\n", {"__name__": "together"})
    except BaseException:
        return "failed"
    return "passed"


SORTS = "def f(l):\n    l.sort()\n    return list(l)"
COUNTS = "n = 0\ndef f():\n    global n\n    n += 1\n    return n"
KEEPS = "kept = []\ndef f(x):\n    kept.append(x)\n    return kept"
NESTED = "def f(d):\n    d['b'].append(len(d))\n    d['c'] = {d['b'][0]}"
RAISES = "def f(k): return {}[k]"
PAIRS = [
    (SORTS, "l = [3, 1]\nassert f(l) == [1, 3]\nassert l == [3, 1]"),
    (SORTS, "l = [3, 1]\nassert f(l) == [1, 3]\nassert l == [1, 3]"),
    (SORTS, "l = [3, 1]\nassert f(l) is not l\nl.append(0)\nassert f(l) == [0, 1, 3]"),
    ("def f(l):\n    l.append(1)\n    return l", "l = []\nassert f(l) is l and f(l) is f(l) and l == [1] * 4"),
    ("def f(l):\n    return l[:]", "l = []\nassert f(l) is l"),
    (COUNTS, "assert f() == 1\nassert f() == 2\nassert n == 2"),
    (COUNTS, "assert [f() for _ in range(5)] == [1, 2, 3, 4, 5] and f() + f() == 13"),
    ("import random\ndef f(): return random.random()", "a = f()\nassert all(f() == a for _ in range(3))"),
    (KEEPS, "a = []\nb = f(a)\na.append(7)\nassert f(1) == [[7], 1]\nassert b is f(2) and b[0] is a"),
    (KEEPS, "b = f(1)\nb.clear()\nassert kept == [] and kept is b\nassert f(2) == [2]"),
    ("def f(x, seen=[]):\n    seen.append(x)\n    return seen", "assert f(1) == [1]\nassert f(2) == [2]"),
    (NESTED, "b = [5]\nd = {'b': b}\nassert f(d) is None\nassert b == [5, 1] and d == {'b': b, 'c': {5}}"),
    ("LIMIT = 5\nNAMES = ['a']\ndef f(): return LIMIT", "assert f() == LIMIT == 5 and NAMES == ['a']"),
    ("def f(): return 5", "assert f() == LIMIT"),
    ("def f(x):\n    return [[0] * x] * x", "m = f(2)\nm[0][0] = 1\nassert m == [[1, 0], [0, 0]]"),
    ("def f(x):\n    return [[0] * x for _ in range(x)]", "m = f(2)\nm[0][0] = 1\nassert m == [[1, 0], [0, 0]]"),
    ("def f():\n    l = []\n    l.append(l)\n    return l", "l = f()\nassert l[0] is l"),
    (RAISES,
     "try: f('k')\nexcept KeyError as e: assert str(e) == \"'k'\" and e.args == ('k',)\nelse: assert False"),
    (RAISES, "try: f('k')\nexcept: pass"),
    (RAISES, "try: f('k')\nexcept LookupError: pass\nelse: assert False"),
    ("import sys\ndef f(): sys.exit(3)", "try: f()\nexcept Exception: pass"),
    ("import sys\ndef f(): sys.exit(3)", "try: f()\nexcept SystemExit as e: assert e.code == 3"),
    ("def f(n): return f(n + 1)", "try: f(0)\nexcept RecursionError: pass\nelse: assert False"),
    ("import math\ndef f(x): return x", "assert math.isclose(f(1.5), 1.5) and f(float('nan')) != f(0.0) == 0"),
    ("def f(x): return -x", "assert str(f(0.0)) == '-0.0' and f(True) == -1 and type(f(2.0)) is float"),
    ("import collections\ndef f(x): return collections.deque(x)",
     "q = f('ab')\nq.rotate()\nassert list(q) == ['b', 'a']"),
    ("import collections\ndef f(): return collections.defaultdict(list)",
     "d = f()\nd[1].append(2)\nassert d == {1: [2]}"),
    ("def g(x): return x + 1\ndef f(h, x): return h(h(x))", "assert f(g, 1) == 3 and f(len, 'a') == 1"),
    ("def f(x): return x", "def check(candidate):\n    for i in range(300): assert candidate(i) == i\ncheck(f)"),
    ("def f(x): return x", "n = 0\nwhile f(n) < 7: n += f(1)\nassert n == 7"),
    ("def f(x):\n    while x > 3: pass\n    return x",
     "x = 0\nfor x in range(9):\n    if f(x) == 3: break\nassert x == 3"),
    ("def f(x): return (x, frozenset({x}), b'a', 1j, None, ...)[:5]", "assert f(2) == (2, {2}, b'a', 1j, None)"),
    ("def f(): return 1\ndef helper(): return 2", "assert f() + helper() == 3 and callable(helper) and f == f"),
]  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS)
def test_a_test_sees_apart_what_it_would_see_in_one_process(pool, pair):
    assert verdict(pool, *pair).status == both(*pair)


UNDECIDED = [
    ("class E(Exception): pass\ndef f(): raise E", "try: f()\nexcept E: pass"),
    ("import json\ndef f(): json.loads('{')", "try: f()\nexcept ValueError: pass"),
    ("def f(): return 1", "assert f.__name__ == 'f'"),
    ("def f(): return 1", "assert repr(f)"),
    ("def f(): return 1", "f.calls = 3"),
    ("def f(): return (x for x in 'ab')", "assert list(f()) == ['a', 'b']"),
    ("def f(): print('hi')", "import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()): f()"),
    ("import random\ndef f(): return random.random()", "import random\nrandom.seed(1)\na = f()\nassert a == f()"),
    ("def f(): return 1", "assert globals()['f']() == 1"),
    ("class P:\n    x = 3\np = P()", "assert p.x == 3"),
]


@pytest.mark.parametrize("pair", UNDECIDED)
def test_what_only_one_process_could_show_is_left_undecided(pool, pair):
    assert verdict(pool, *pair).status == "undecided"
    assert verdict(pool, *pair, in_process=True).integrity == "in_process"


@pytest.mark.parametrize(
    "source",
    ["import os\ndef f(): os._exit(3)", "import os\ndef f(): os._exit(0)", "def f(): return [0] * 10**10",
     "def f(:", "raise ValueError"],
)  # fmt: skip
def test_the_end_of_the_program_is_no_exception_in_it(pool, source):
    test = "try: f()\nexcept BaseException: pass"
    assert verdict(pool, source, test).status == "failed"


def test_a_program_that_answers_for_itself_can_only_state_values(pool):
    answers = ['[]', '[["value"]]', '[["value", ["i1", []]]]', '"x"', '[["error", "print", ["t", []]]]', "[" * 10**5]
    for answer in answers:
        source = f"import json\njson.dumps = lambda *_: {answer!r}\ndef f(): return 2"
        test = "try: assert f() == 2\nexcept Exception: pass\nassert f() == 2"
        assert verdict(pool, source, test).status in ("failed", "undecided")


def test_a_program_that_never_says_the_same_is_undecided(pool):
    test = "a = f(0)\nfor _ in range(9): a = f(a + 1)\nassert a > 0"
    assert verdict(pool, "import os\ndef f(x): return x + os.urandom(9)[0] + 1", test).status == "undecided"
    assert verdict(pool, "def f(x): return x + 1", test).status == "passed"


@pytest.mark.parametrize("answer", ["x + os.urandom(9)[0]", "x + 1", "[x, os.urandom(2)][0] + 1"])
def test_answers_that_are_passed_on_cost_one_run(pool, answer):
    test = "for n in range(50):\n    a = g(n, k=[f(n)])\n    a = f(f(n))\n    assert a >= n\n    b = g(a, k={n: a})\n"
    source = f"import os\ndef f(x): return {answer}\ndef g(x, k): return [x, k]"
    found = verdict(pool, source, test)
    assert (found.status, len(found.executions)) == ("passed", 1)
    wrong = verdict(pool, source, test.replace("a >= n", "a < n"))
    assert wrong.status == "failed"


def test_an_object_that_is_passed_on_stays_the_same_object(pool):
    test = "a = f()\ng(a)\ng(a)\nassert a == [1, 1] and f() is a"
    assert verdict(pool, "kept = []\ndef f(): return kept\ndef g(x): x.append(1)", test).status == "passed"
    assert verdict(pool, "kept = []\ndef f(): return kept\ndef g(x): [*x].append(1)", test).status == "failed"
    error = "try: g(f())\nexcept ZeroDivisionError: pass\nassert g(3) == 3"
    assert verdict(pool, "def f(): 1 // 0\ndef g(x): return x", error).status == "passed"
