"""What a narration contradicts, without anything being run."""

import pytest
from programs import LARGEST

from selfexec_jax.configs import base
from selfexec_jax.problems.generator import FAMILIES, generate
from selfexec_jax.sandbox import Run, TraceBudget
from selfexec_jax.traces import contradictions, narrate

SAID = """nums=[5,4,7]
ans=None
x=5;5%3=2;2!=1 yes
continue
x=4;4%3=1;1!=1 no
y=4//2=2
None is None yes
ans=2
x=7;7%3=1;1!=1 no
y=7//2=3
2 is None no;3>2 yes;yes
ans=3
x end
print 3"""


def found(old="", new="", output="3"):
    assert old in SAID
    return contradictions(LARGEST, SAID.replace(old, new, 1), "compact", output)


@pytest.mark.parametrize(
    "old, new, what",
    [
        ("5%3=2;2!=1 yes", "4%3=2;2!=1 yes", "x is 5"),
        ("5%3=2;2!=1 yes", "5%2=2;2!=1 yes", "the program has 3"),
        ("2 is None no;3>2", "1 is None no;3>2", "ans is 2"),
        ("3>2 yes;yes", "3<2 yes;yes", "the program has >"),
        ("y=7//2=3", "y=7*2=3", "the program has //"),
        ("x=7;7%3=1", "x=4;4%3=2", "4 % 3 was 1"),
        ("1!=1 no\ny=7", "1!=1 yes\ny=7", "1 != 1 did not hold"),
        ("continue", "go on?", "unreadable"),
        ("print 3", "print 2", "the output is 3"),
    ],
)
def test_what_is_said_against_the_program_or_before_is_found(old, new, what):
    assert found(old, new), what


def test_what_is_not_told_in_full_or_not_surely_read_contradicts_nothing():
    assert contradictions("print('line 5: a')", "Line 1: it prints line 5: a.", "full", "line 5: a\n") == []
    twice = "Line 1: (...) is 24. Line 2: (...) is 60."
    assert contradictions("print(1)", twice, "full") == []


def test_a_slip_that_only_running_shows_is_not_found():
    """Nothing is worked out: 5 % 3 is taken to be what is said, as long as it stays the same."""
    assert found() == []
    assert found("5%3=2;2!=1 yes", "5%3=0;0!=1 yes") == []


def test_it_never_raises_on_what_a_model_or_anyone_wrote():
    for text in ("", "x=", "((((", "x=" + "(" * 500, "a=b=c=d=e", "1+=2", "x=5;\x00=1", "é" * 900, "return\ncall("):
        contradictions(LARGEST, text, "compact", "3")
        contradictions("def (", text, "full")
    assert contradictions("def (", "1+1=2", "compact") == []
    # too long to print, too deep to walk: what is not plainly a number may be any
    for odd, places in (("0x" + 4000 * "f", [1]), ("(" + 1500 * "-" + "3)", [])):
        assert contradictions(f"x = 7\nprint(x % {odd})\n", "x=7\n7%3=1\nprint 1", "compact", "1") == places
        contradictions("print(1)", f"{odd[:390]}+1=2", "compact")


@pytest.fixture(scope="module")
def happened(pool):
    """(source, trace) of programs of every family, over long inputs too, whose loops some styles sum up."""
    knobs = base.get_config().problems.copy_and_resolve_references()
    with knobs.unlocked():
        knobs.update({"families": tuple(FAMILIES), "n_train": 80, "n_heldout": 8, "n_unseen": 4,
                      "private_size": (2, 20)})  # fmt: skip
    problems = [p for split in generate(knobs, 0)[0].values() for p in split]
    cases = [(s, t.input) for p in problems for s in (*p.solutions, *p.wrong_solutions) for t in p.private_tests[:1]]
    traces = [e.trace for e in pool.map([Run(s, given, trace=TraceBudget()) for s, given in cases])]
    return [(source, trace) for (source, _), trace in zip(cases, traces, strict=True)]


@pytest.mark.parametrize("style", ["compact", "full", "numbered", "changes", "brief"])
def test_what_really_happened_contradicts_nothing(happened, style):
    for source, trace in happened:
        told = narrate(trace, style)
        assert contradictions(source, told.text, style, told.output) == [], (source, told.text)


@pytest.mark.parametrize(
    "source",
    [
        "n = 0\ndef f(x):\n    global n\n    n += x\nf(2)\nf(3)\nprint(n + 1)\n",
        "def f():\n    n = 0\n    def g():\n        nonlocal n\n        n += 1\n    g()\n    g()\n    return n + 1\n"
        "print(f())\n",
        "def f(x):\n    if x > 1:\n        raise ValueError('no')\n    return x\nx = 1\nfor v in [1, 2, 3]:\n    try:\n"
        "        f(v)\n    except ValueError:\n        x = x + 1\nprint(x + 5)\n",
        "def g(n):\n    for i in range(n):\n        yield i * n\nn = 2\nfor v in g(3):\n    n = n + v\nprint(n)\n",
        "x = 7\nys = [x * 2 for x in range(3)]\nprint(x * 2)\n",
    ],
)
def test_what_scopes_hide_is_no_contradiction(pool, source):
    trace = pool.submit(Run(source, trace=TraceBudget())).result(30).trace
    for style in ("compact", "full", "numbered", "changes", "brief"):
        told = narrate(trace, style)
        assert contradictions(source, told.text, style, told.output) == [], told.text
