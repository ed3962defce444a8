"""Python tests judged apart from the program, with the verdict that running both together would give."""


import pytest

from selfexec_jax.problems.asserts import borrowed_names, literal_tests
from selfexec_jax.problems.judge import judge
from selfexec_jax.problems.types import Problem, Test

CHECK = """
def check(candidate):
    assert candidate([1, 2], k=3) == [3, 6]
    assert candidate([]) == [], "empty"
    assert True, "a placeholder"
"""


def test_literal_asserts_become_tests():
    tests = (Test("[1, 2], k=3", "[3, 6]"), Test("[]", "[]"))
    assert literal_tests(CHECK, "times") == tests
    assert literal_tests("assert times([1, 2], k=3) == [3, 6]\nassert times([]) == []", "times") == tests
    others = ["assert f(1)", "assert f(1) < 2", "assert f(g(1)) == 1", "x = 1\nassert f(x) == 1", "assert g(1) == 1"]
    others += ["assert abs(f(1) - 1) < 1e-6", "assert f(1) == 2 + 3", "for i in [1]: assert f(i) == 1", "", "def"]
    for other in others:
        assert literal_tests(other, "f") is None, other


def test_what_a_test_takes_from_the_program():
    test = "import math\nfrom random import choice as pick\nfor i in [1]:\n    x = pick([g(i)])\n    assert f(x) == h\n"
    assert borrowed_names(test) == (["f", "g", "h"], [])
    assert borrowed_names("def check(candidate):\n    assert candidate(1) == g(2)\ncheck(f)") == (["f", "g"], [])
    assert borrowed_names("assert bisect(sys.maxsize) == copy.copy(1)") == (["bisect"], ["copy", "sys"])


def verdict(pool, source, *tests, in_process=False):
    problem = Problem("p", "", kind="check", entry_point="f", time_limit_s=1.0)
    return judge(source, problem, [Test(test, "") for test in tests], pool, in_process=in_process).result(120)


LOOP = "import random\nfor i in range(20):\n    x = random.random()\n    assert abs(f(x) - x / 2) < 1e-9\n"


def test_a_test_may_compute(pool):
    good = verdict(pool, "def f(x): return x / 2", LOOP, "assert f(3 * 2) == 3")
    assert (good.status, good.passed, good.integrity) == ("passed", (True, True), "")
    assert len(good.executions) == 21
    assert verdict(pool, "def f(x): return x / 3", LOOP, "assert f(0) == 0").passed == (False, True)
    assert verdict(pool, "def g(x): return x / 2", LOOP).status == "failed"
    assert verdict(pool, "def f(x):\n    while x: pass", LOOP).status == "failed"


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


def test_what_is_no_literal_is_undecided_or_asked_for_by_name(pool):
    source = "import collections\ndef f(x): return collections.Counter(x)"
    test = "assert f('aab') == {'a': 2, 'b': 1}"
    apart = verdict(pool, source, test)
    assert (apart.status, apart.passed, apart.integrity) == ("undecided", (False,), "")
    together = verdict(pool, source, test, in_process=True)
    assert (together.status, together.integrity) == ("passed", "in_process")
    assert verdict(pool, source, "assert f('a') == {}", in_process=True).status == "failed"
    assert verdict(pool, "def f(g): return g(1)", "assert f(lambda x: x) == 1").status == "undecided"
    assert verdict(pool, "def f(x): return 1", "assert f('a') == {}", test, in_process=True).integrity == ""
    assert verdict(pool, "def f(x, t): return t(x)", "assert f(2.5, int) == 2").status == "passed"


def test_a_value_that_is_no_literal_may_still_be_equal(pool):
    problem = Problem("p", "", "call", "f", private_tests=(Test("'aab'", "{'a': 2, 'b': 1}"),), source="mbpp")
    source = "import collections\ndef f(x): return collections.Counter(x)"
    assert judge(source, problem, problem.private_tests, pool).result(60).status == "undecided"
    together = judge(source, problem, problem.private_tests, pool, in_process=True).result(60)
    assert (together.status, together.integrity) == ("passed", "in_process")
    more = source + " + collections.Counter('b')"
    wrong = judge(more, problem, problem.private_tests, pool, in_process=True).result(60)
    assert (wrong.status, wrong.integrity) == ("failed", "in_process")
    own = "class Counter(dict):\n    def __eq__(self, other): return True\ndef f(x): return Counter()"
    assert judge(own, problem, problem.private_tests, pool).result(60).status == "failed"
    strict = Problem("p", "", "call", "f", private_tests=problem.private_tests)
    assert judge(source, strict, strict.private_tests, pool).result(60).status == "failed"
