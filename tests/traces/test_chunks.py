"""Runs told in pieces: the pieces add up to the run, and the state between them is enough to go on from."""

import ast
import re

import pytest

from selfexec_jax.configs import base
from selfexec_jax.problems.generator import FAMILIES, generate
from selfexec_jax.sandbox import Run, TraceBudget
from selfexec_jax.traces import check_claims, chunks, narrate, parse_claims

FUNCTIONS = """def f(a):
    for q in range(a):
        a += q
    return a
nums = list(map(int, input().split()))
t = 0
for x in nums:
    if x > 2:
        continue
    t += f(x)
    y = t
    print(y)
while t > 0:
    t -= 2
    z = t
print(t)
"""
PIECES = [
    ("", "nums=[5,1,4,1]\nt=0\nx=5;5>2 yes\ncontinue\nx=1;1>2 no\nf(a=1):\nq=0;a=1+0=1\nq end\nreturn 1\n"
     "f(1)=1;t=0+1=1\ny=1\nprint 1", "t=1;x in [4,1];printed '1\\n'"),
    ("t=1;x in [4,1];printed '1\\n'", "x=4;4>2 yes\ncontinue\nx=1;1>2 no\nf(a=1):\nq=0;a=1+0=1\nq end\nreturn 1\n"
     "f(1)=1;t=1+1=2\ny=2\nprint 2\nx end\n2>0 yes\nt=2-2=0\nz=0", "t=0;printed '1\\n2\\n'"),
    ("t=0;printed '1\\n2\\n'", "0>0 no\nprint 0", ""),
]  # fmt: skip


def traced(pool, source, stdin):
    return pool.submit(Run(source, stdin, trace=TraceBudget())).result(timeout=60).trace


def test_pieces_begin_with_the_state_that_the_one_before_carries(pool):
    found = chunks(traced(pool, FUNCTIONS, "5 1 4 1\n"), FUNCTIONS, "compact", 50)
    assert [(c.state, c.text, c.carried) for c in found] == PIECES


def test_a_long_input_is_a_piece_and_what_a_round_gives_anew_is_not_carried(pool):
    source = (
        "a = list(map(int, input().split()))\nt = 0\nfor x in a:\n    if x > 2:\n        y = x * 2\n        t += y\n"
        "    else:\n        z = x\nprint(t)\n"
    )
    found = chunks(traced(pool, source, "3 1 4 1 5 9 2 6\n"), source, "compact", 20)
    assert found[0].text == "a=[3,1,4,1,5,9,2,6]\nt=0" and found[0].carried == "t=0;x in [3,1,4,1,5,9,2,6]"
    assert [c.carried for c in found[1:3]] == ["t=6;x in [1,4,1,5,9,2,6]", "t=14;x in [1,5,9,2,6]"]


@pytest.mark.parametrize(
    ("source", "stdin"),
    [
        ("x = int(input())\nprint(x)\n", "3\n"),  # no loop
        ("for _ in range(4):\n    print(input())\n", "1\n2\n3\n4\n"),  # it reads on
        ("for x in range(9):\n    if x > 5:\n        break\nprint(x)\n", ""),  # what it had left is not known
        ("a = [0] * 6\na[0] = 1\nfor x in range(6):\n    a[x] = x\nprint(a)\n", ""),  # what is in a is known in part
        ("def f():\n    for x in range(9):\n        print(x)\nf()\n", ""),  # no loop of the top level
    ],
)
def test_a_run_whose_state_cannot_be_told_is_one_piece(pool, source, stdin):
    trace = traced(pool, source, stdin)
    (only,) = chunks(trace, source, "compact", 1)
    assert (only.state, only.text, only.carried) == ("", narrate(trace, "compact").text, "")


def test_frames_are_not_told_in_pieces(pool):
    with pytest.raises(ValueError, match="cwm tells every line"):
        chunks(traced(pool, "print(1)\n", ""), "print(1)\n", "cwm", 2)


def rest_of(source: str, state: str) -> str:
    """A program that goes on from a state: its names, the rest of the loop, and what comes after the loop."""
    body, begins = ast.parse(source).body, []
    printed = re.search(r"(?:^|;)printed ('.*')$", state)
    if printed:
        begins.append(f"print({printed.group(1)}, end='')")
        state = state[: printed.start()]
    loop = re.search(r"(?:^|;)([\w,]+) in (\[[^;]*\])$", state)
    if loop:
        state = state[: loop.start()]
    begins += [item for item in state.split(";") if item]
    at = next(i for i, node in enumerate(body) if isinstance(node, ast.For if loop else ast.While)
              and (not loop or ast.unparse(node.target).strip("()").replace(" ", "") == loop.group(1)))  # fmt: skip
    if loop:
        body[at].iter = ast.parse(loop.group(2), mode="eval").body
    functions = [node for node in body if isinstance(node, ast.FunctionDef)]
    return "\n".join([*begins, *map(ast.unparse, [*functions, *body[at:]])]) + "\n"


def test_the_state_is_enough_to_go_on_from_and_the_pieces_are_the_run(pool):
    """For programs of every family, the right and the wrong: running the rest from each state gives the same output."""
    knobs = base.get_config().problems.copy_and_resolve_references()
    families = tuple(f for f in FAMILIES if f != "limits")
    with knobs.unlocked():
        knobs.update({"families": families, "n_train": 60, "n_heldout": 8, "n_unseen": 4})
    problems = [p for split in generate(knobs, 0)[0].values() for p in split]
    cases = [(s, t.input) for p in problems for s in (*p.solutions, *p.wrong_solutions) for t in p.private_tests[:2]]
    runs = pool.map([Run(s, given, trace=TraceBudget()) for s, given in cases])
    traces = [(source, run.trace) for (source, _), run in zip(cases, runs, strict=True) if run.status == "ok"]
    rests, n_pieces = [], 0
    for source, trace in traces:
        pieces = chunks(trace, source, "compact", 40)
        n_pieces += len(pieces)
        told = "\n".join(piece.text for piece in pieces)
        is_run = check_claims(parse_claims(told, "compact"), trace, "compact").ok
        assert is_run or told == narrate(trace, "compact").text
        assert [p.state for p in pieces] == ["", *(p.carried for p in pieces[:-1])] and pieces[-1].carried == ""
        rests += [(rest_of(source, p.carried), narrate(trace, "compact").output, p.carried) for p in pieces[:-1]]
    assert len(rests) > 150 and n_pieces > len(cases)
    for (source, output, state), done in zip(rests, pool.map([Run(s) for s, _, _ in rests]), strict=True):
        assert (done.status, done.stdout) == ("ok", output), (source, state)


@pytest.mark.parametrize(
    "body",
    [
        "def f(x):\n    ys.append(x * 2)\nys = []\nfor x in a:\n    f(x)\nprint(ys)\n",
        "def f(x):\n    global ys\n    ys += x\nys = 0\nfor x in a:\n    f(x)\nprint(ys)\n",
        "def f(x, to):\n    to.append(x)\nys = []\nfor x in a:\n    f(x, ys)\nprint(ys)\n",
        "ys = []\nzs = ys\nfor x in a:\n    zs.append(x)\nprint(ys)\n",
        "ys = [[0]]\nfor row in ys:\n    for x in a:\n        row.append(x)\nfor x in a:\n    x += 1\nprint(ys)\n",
        "row = [0]\nys = []\nys.append(row)\nfor x in a:\n    row[0] += x\nprint(ys)\n",
        "from heapq import heappush\nys = [9]\nfor x in a:\n    heappush(ys, x)\nprint(ys)\n",
        "zs = ys = []\nfor x in a:\n    zs.append(x)\nprint(ys)\n",
        "ys = [[0], [1]]\nrow = ys[0]\nfor x in a:\n    row.append(x)\nprint(ys)\n",
        "ys = [1]\nzs = ys if a else []\nfor x in a:\n    zs.append(x)\nprint(ys)\n",
        "def same(of):\n    return of\nys = [1]\nzs = same(ys)\nfor x in a:\n    zs.append(x)\nprint(ys)\n",
        "ys = 0\nys = lambda v: v + 1\nfor x in a:\n    print(ys(x))\n",
        "ys = 0\ndef ys(v):\n    return v\nfor x in a:\n    print(ys(x))\n",
        "class C:\n    def __init__(self):\n        self.n = 0\n    def add(self, x):\n        self.n += x\n"
        "ys = C()\nfor x in a:\n    ys.add(x)\nprint(ys.n)\n",
    ],
)
def test_what_may_change_untold_is_not_carried(pool, body):
    source = "a = list(map(int, input().split()))\n" + body
    assert not [c for c in chunks(traced(pool, source, "3 1 4 1 5\n"), source, "compact", 1) if "ys=" in c.carried]


def test_names_of_comprehensions_are_their_own(pool):
    loop = "for i in a:\n    y = [x * 2 for x in range(3)]\n    print(i + x)\n"
    source = f"a = list(map(int, input().split()))\nx = 5\n{loop}"
    states = [c.carried for c in chunks(traced(pool, source, "3 1 4\n"), source, "compact", 1)]
    assert any("x=5" in state for state in states) and not any("x=2" in state for state in states)


def test_what_words_do_not_say_is_not_gone_on_from(pool):
    """The state of an iterator; a call for which it is not known whether the round before made it."""
    for source in ("it = iter([5, 6, 7, 8])\nt = 0\nfor y in [3, 2, 1]:\n    t += next(it)\nprint(t)\n",
                   "def f(x):\n    return x - 1\nn = 4\nwhile f(n) > 0:\n    n -= 1\nprint(n)\n"):  # fmt: skip
        assert len(chunks(traced(pool, source, ""), source, "compact", 1)) == 1


def test_what_an_inner_loop_gives_a_value_to_only_later_is_carried(pool):
    source = "i = 7\nfor y in [3, 2]:\n    for j in [0]:\n        print(i)\n        for i in [y]:\n            pass\n"
    carried = [c.carried for c in chunks(traced(pool, source, ""), source, "compact", 1)]
    assert carried == ["i=7;y in [3,2]", "i=3;y in [2];printed '7\\n'", ""]


@pytest.mark.parametrize("style", ["brief", "changes"])
def test_styles_that_tell_rounds_by_the_first_are_not_told_in_pieces(pool, style):
    with pytest.raises(ValueError, match=f"style {style} tells rounds by those before them"):
        chunks(traced(pool, "print(1)\n", ""), "print(1)\n", style, 2)


def test_functions_that_change_nothing_hide_nothing(pool):
    source = (
        "def f(of, x):\n    t = of[0] + x\n    return t\na = list(map(int, input().split()))\nys = [7]\nz = 0\n"
        "for x in a:\n    z = f(ys, x)\nprint(z, sum(ys))\n"
    )
    carried = [c.carried for c in chunks(traced(pool, source, "3 1\n"), source, "compact", 1)]
    assert "ys=[7];z=0;x in [3,1]" in carried and "ys=[7];z=10;x in [1]" in carried
