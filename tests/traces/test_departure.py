"""How what a test does not want came about, in the same words for what happened and for what a model says."""

import pytest
from programs import LARGEST

from selfexec_jax.sandbox import Run, TraceBudget
from selfexec_jax.traces import departure, narrate

TWO_LINES = "a = int(input())\nb = a * 2\nprint(a)\nb += 1\nprint('is', b)\n"
PICKED = """nums = list(map(int, input().split()))
ans = 0
for i in range(len(nums)):
    x = nums[i]
    if x > 2:
        y = x * 3
        ans += y
print(ans * 2 + 1)
"""
FUNCTION = """def f(nums):
    t = 1
    for x in nums:
        t *= x
    return t

k = 1
print(f([2, 1, 3]) - k)
"""


def told(pool, source, stdin, wanted, style="compact", call=None):
    trace = pool.submit(Run(source, stdin, call=call, trace=TraceBudget())).result(timeout=60).trace
    return departure(narrate(trace, style).text, style, wanted, source)


@pytest.mark.parametrize("style", ["compact", "full"])
def test_it_tells_what_the_printed_names_became_round_by_round(pool, style):
    tight = (lambda text: text) if style == "compact" else (lambda text: text.replace("*", " * ").replace("+", " + "))
    assert told(pool, LARGEST, "5 4 7 10 1\n", "2\n", style) == "ans=None; x=4: ans=2; x=7: ans=3; x=10: ans=5"
    assert told(pool, TWO_LINES, "3\n", "4\nis 7\n", style).startswith("a=3")
    assert told(pool, PICKED, "1 4 2 3\n", "15\n", style) == tight("ans=0; i=1: ans=12; i=3: ans=21; 21*2=42; 42+1=43")
    # The value of a name that is not printed may be the printed one: nobody looks for it.
    assert told(pool, PICKED, "1 0\n", "0\n", style) == tight("ans=0; 0*2=0; 0+1=1")


def test_names_of_a_function_are_those_that_it_gives_back(pool):
    assert told(pool, FUNCTION, "", "6\n") == "k=1; t=1; x=2: t=2; x=1: t=2; x=3: t=6; f([2,1,3])=6; 6-1=5"
    source = "def f(n):\n    t = 0\n    for i in range(n):\n        t += i\n    return t\n"
    assert told(pool, source, None, "5", call="f(3)") == "t=0; i=0: t=0; i=1: t=1; i=2: t=3"
    assert told(pool, source, None, "3", call="f(3)") == ""


def test_where_lines_are_told_only_that_statement_counts(pool):
    assert told(pool, TWO_LINES, "3\n", "3\nis 6\n", "full") == "b=6; b=7"
    assert told(pool, TWO_LINES, "3\n", "3\nis 6\n") == "a=3; b=6; b=7"


def test_nothing_is_told_where_there_is_nothing_to_tell(pool):
    assert told(pool, LARGEST, "5 4 7 10 1\n", "5\n") == "" == told(pool, LARGEST, "5 4 7 10 1\n", " 5")
    assert told(pool, "print('no')\n", "", "yes\n") == ""
    never = ("f([2, 1, 3])\nint('a')\n", "try:\n    f([2, 1, 3])\n    int('a')\nfinally:\n    z = 1\n",
             "f([2, 1, 3])\nz = 0\nwhile True:\n    z += 1\n")  # what f gave back was never to be seen
    for ending in never:
        assert told(pool, FUNCTION.split("\n\n")[0] + "\n" + ending, "", "7\n") == ""
    assert told(pool, "print(1 / 3)\n", "", "0.33333333\n") == ""  # near enough for a test
    assert told(pool, "a = int(input())\nprint(a * 7)\n", "3\n", "20\n") == "a=3; 3*7=21"
    for text in ("", "print", "write 'x", "((", "x=1\nprint 2"):
        assert departure(text, "compact", "7", "print(2)\n") == ""
    assert departure("x=1\nprint 2", "compact", "7", "print((\n") == ""


def test_long_histories_and_values_are_cut(pool):
    source = "t = 0\nfor i in range(30):\n    t += i\nprint(t)\n"
    rounds = "; ".join(f"i={i}: t={sum(range(i + 1))}" for i in range(25, 30))
    assert told(pool, source, "", "1\n") == f"t=0; i=0: t=0; ..; {rounds}"
    source = "s = 'a' * 50\nprint(s)\n"
    assert told(pool, source, "", "b\n") == "s='" + "a" * 39 + ".."
