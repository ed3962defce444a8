"""The style `numbered`: items with their places, rounds with their numbers, and the question that goes with it."""

import pytest

from selfexec_jax.sandbox import Run, TraceBudget
from selfexec_jax.tasks import predict
from selfexec_jax.traces import check_claims, chunks, narrate, numbered, parse_claims

SUM = """nums = list(map(int, input().split()))
t = 0
for x in nums:
    t += x
print(t)
"""
TOLD = """nums=[0:7,1:2,2:7]
t=0
x=0:7;t=0+7=7
x=1:2;t=7+2=9
x=2:7;t=9+7=16
x end
print 16"""


def read(text, trace):
    return check_claims(parse_claims(text, "numbered"), trace, "numbered")


def test_items_and_rounds_have_their_numbers(traced):
    trace = traced(SUM, "7 2 7\n").trace
    assert narrate(trace, "numbered").text == TOLD
    assert read(TOLD, trace).ok


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        ("1:2,2:7", "2:2,1:7", "wrong value"),  # places that are not
        ("0:7,1:2", "0:7,1:3", "wrong value"),
        ("x=1:2", "x=2:2", "wrong value"),  # another round
        ("x=2:7", "x=7", "wrong value"),  # or none
        (";t=7+2=9", "", "skipped"),
    ],
)
def test_a_wrong_number_is_found(traced, right, wrong, reason):
    check = read(TOLD.replace(right, wrong), traced(SUM, "7 2 7\n").trace)
    assert (check.ok, check.first_error.reason) == (False, reason)


@pytest.mark.parametrize(
    ("source", "rounds"),
    [
        ("for a in 'xy':\n    for b in 'zz':\n        pass\n", [0, 0, 1, 1, 0, 1]),
        ("n = 0\nwhile n < 2:\n    n += 1\n    for b in 'zz':\n        if n:\n            break\n", [0, 0]),
        ("for a in 'xy':\n    n = 0\n    while n < 9:\n        n += 1\n        break\n", [0, 1]),
        ("for a in 'xy':\n    try:\n        for b in 'zz':\n            1 // 0\n    except ValueError:\n        pass\n"
         "    except ZeroDivisionError:\n        pass\n", [0, 0, 1, 0]),
        ("for a in 'xy':\n    try:\n        1 // 0\n    except ZeroDivisionError:\n        pass\n", [0, 1]),
        ("def f(n):\n    for a in 'xy':\n        if n:\n            return f(n - 1)\nf(1)\nf(0)\n", [0, 0, 1, 0, 1]),
        ("for i, a in enumerate('xy'):\n    pass\n", [0, 1]),
        ("def g(n):\n    for x in range(n):\n        yield x\nfor a, b in zip(g(2), g(2)):\n    pass\n", [0, 1]),
    ],
)  # fmt: skip
def test_rounds_are_counted_from_where_their_loop_begins(traced, source, rounds):
    trace = traced(source).trace
    claims = parse_claims(narrate(trace, "numbered").text, "numbered")
    assert [claim.round for claim in claims if getattr(claim, "round", None) is not None] == rounds
    assert read(narrate(trace, "numbered").text, trace).ok


def test_a_piece_goes_on_counting(pool):
    trace = pool.submit(Run(SUM, "7 2 7 1\n", trace=TraceBudget())).result(timeout=60).trace
    found = chunks(trace, SUM, "numbered", 20)
    assert [(c.text, c.carried) for c in found] == [
        ("nums=[0:7,1:2,2:7,3:1]\nt=0", "t=0;x in [0:7,1:2,2:7,3:1]"),
        ("x=0:7;t=0+7=7\nx=1:2;t=7+2=9", "t=9;x in [2:7,3:1]"),
        ("x=2:7;t=9+7=16\nx=3:1;t=16+1=17\nx end\nprint 17", ""),
    ]


def test_values_that_are_no_lists_are_as_they_are():
    for value in ("7", "[5]", "[]", "'[1,2]'", "(1,2)", "{0:1,1:2}", "[1,2", "['a,b']"):
        assert numbered.listed(value) == value
    assert numbered.listed("['a,b',[1,2]]") == "[0:'a,b',1:[1,2]]"


def test_the_question_has_the_places_of_words_in_their_lines():
    asked = predict.render(SUM, "3 3\n  -4  x\n\n", "numbered")[0]["content"]
    assert asked.endswith("print(t)\n<0:3 1:3\n  0:-4  1:x")
    assert predict.render("p", "f(3, 4)", "numbered", "call") == predict.render("p", "f(3, 4)", "compact", "call")
    goes_on = predict.render("p", "3 3", "numbered", state="t=0")
    assert goes_on == predict.render("p", "3 3", "compact", state="t=0")
