"""Runs that take too long are told in short, and what is told of them is so."""

import dataclasses

import pytest

from selfexec_jax.sandbox import Limits, Run, SandboxPool, TraceBudget
from selfexec_jax.traces import TOO_LONG, check_claims, contradictions, limited, narrate, parse_claims

SLOW = "n = int(input())\nc = 0\nwhile n >= 5:\n    n -= 5\n    c += 1\nprint(c)\n"
TOLD = {
    "compact": "n=1000000007\nc=0\n1000000007>=5 yes\nn=1000000007-5=1000000002\nc=0+1=1\n1000000002>=5 yes\n"
    "over 100 rounds",
    "full": "Line 1: it reads '1000000007', so n becomes 1000000007.\nLine 2: c becomes 0.\n"
    "Line 3: 1000000007 >= 5 is true, so the loop goes on.\n"
    "Line 4: 1000000007 - 5 is 1000000002, so n becomes 1000000002.\n"
    "Line 5: 0 + 1 is 1, so c becomes 1.\nLine 3: 1000000002 >= 5 is true, so the loop goes on.\n"
    "Line 3: it takes more than 100 rounds.",
    "brief": "L1: n becomes 1000000007.\nL2: c becomes 0.\nL3: 1000000007 >= 5 is true.\nL4: n becomes 1000000002.\n"
    "L5: c becomes 1.\nL3: 1000000002 >= 5 is true.\nL3: it takes more than 100 rounds.",
}  # fmt: skip
# The loop that goes on for ever is the outer one in some, the inner one in others.
ENDLESS = {
    "inner": ("for i in range(9):\n    t = 0\n    while t < 9:\n        t -= 1\n",
              "i=0;t=0\n0<9 yes\nt=0-1=-1\n-1<9 yes"),
    "outer": ("i = 1\nwhile i:\n    for j in range(3):\n        i += j\n",
              "i=1\ni yes\nj=0;i=1+0=1\nj=1;i=1+1=2\nj=2;i=2+2=4\nj end\ni yes"),
    "after one that is left": (
        "for k in range(9):\n    if k > 0:\n        break\nt = 0\nwhile t < 9:\n    t -= 1\n",
        "k=0;0>0 no\nk=1;1>0 yes\nbreak\nt=0\n0<9 yes\nt=0-1=-1\n-1<9 yes"),
    "around a function": (
        "def f(x):\n    for q in range(x):\n        if q == 1:\n            return q\n    return 0\n"
        "t = 0\nwhile t < 9:\n    t -= f(3)\n",
        None),
    "of no condition": (
        "n = 0\nwhile True:\n    for j in range(2):\n        n += j\n", "n=0\nj=0;n=0+0=0\nj=1;n=0+1=1\nj end"),
    "of no condition, in a function, after one that is left": (
        "def f(n):\n    while 1:\n        if n > 3:\n            break\n        n += 9\n    while 1:\n        n += 1\n"
        "f(2)\n",
        "f(n=2):\n2>3 no\nn=2+9=11\n11>3 yes\nbreak\nn=11+1=12"),
    "after one that an exception ended": (
        "try:\n    for x in range(50):\n        if x == 2:\n            raise ValueError\nexcept ValueError:\n"
        "    n = 1\nwhile n:\n    n += 1\n",
        "x=0;0==2 no\nx=1;1==2 no\nx=2;2==2 yes\nraise ValueError\ncatch ValueError\nn=1\nn yes\nn=1+1=2\nn yes"),
    "around calls that raise": (
        "def f(n):\n    raise ValueError(n)\nn = 5\nwhile n > 0:\n    try:\n        f(n)\n    except ValueError:\n"
        "        n += 1\n",
        "n=5\n5>0 yes\nf(n=5):\nraise ValueError: 5\ncatch ValueError\nn=5+1=6\n6>0 yes"),
}  # fmt: skip


@pytest.fixture(scope="module")
def cut():
    """Of a source and its input, the trace of a run that its budget and its limits cut off."""
    with SandboxPool(workers=1, limits=Limits(cpu_s=0.15), min_tier="rlimits_only") as pool:
        yield lambda source, stdin="": pool.submit(Run(source, stdin, trace=TraceBudget(events=2000))).result(60).trace


@pytest.mark.parametrize("style", TOLD)
def test_the_first_rounds_are_told_and_that_there_are_too_many(cut, style):
    trace = limited(cut(SLOW, "1000000007\n"), 100, 1)
    text = narrate(trace, style).text
    assert trace.stop == TOO_LONG and text == TOLD[style]
    check = lambda said: check_claims(parse_claims(said, style), trace, style)  # noqa: E731
    assert check(text).ok and not contradictions(SLOW, text, style, "\0timeout")
    assert check(text.replace("100 rounds", "90 rounds")).first_error.reason == "wrong value"
    assert check(text.rpartition("\n")[0]).first_error.reason == "skipped"
    ended = limited(cut(SLOW, "4\n"), 100, 1)
    assert check_claims(parse_claims(text, style), ended, style).first_error is not None


@pytest.mark.parametrize("name", ENDLESS)
def test_the_loop_that_does_not_end_is_cut(cut, name):
    source, beginning = ENDLESS[name]
    text = narrate(limited(cut(source), 100, 1), "compact").text
    before, _, last = text.rpartition("\n")
    assert last == "over 100 rounds"
    assert before == beginning if beginning else before.count("<9 yes") == 2 and before.count("return 1") == 1


def test_what_is_whole_stays_and_what_is_no_loop_is_not_told(cut):
    whole = cut(SLOW, "12\n")
    assert whole.stop is None and limited(whole, 1, 1) is whole  # how many rounds it takes does not matter
    slow = cut(SLOW, "1000000007\n")
    assert limited(slow, 10**6, 1) is None
    assert limited(cut("def f(n):\n    return f(n + 1)\nf(0)\n"), 100, 1) is None
    assert limited(dataclasses.replace(slow, events=slow.events[:3]), 0, 5) is None
