"""The styles that leave something out or say something else: `brief`, `changes`, and the frames of `cwm`."""

import dataclasses
import json

import pytest

from selfexec_jax.sandbox import Run, TraceBudget
from selfexec_jax.traces import check_claims, narrate, parse_claims
from selfexec_jax.traces.steps import Frame, Unreadable

LOOP = """total = 0
for i in range(9):
    if i % 2 == 5:
        print('never')
    for j in range(2):
        total += i * j
print(total)
k = 0
while k < 20:
    k += 1
    print(k)
"""
BRIEF = """L1: total becomes 0.
L2: next i is 0.
L3: 0 == 5 is false.
L5: next j is 0.
L6: total becomes 0.
L5: next j is 1.
L6: total becomes 0.
L2: next i is 1.
L3: 1 == 5 is false.
L5: next j is 0.
L6: total becomes 0.
L5: next j is 1.
L6: total becomes 1.
L2: 6 more rounds leave i = 7, j = 1, total = 28; line 3 never holds.
L2: next i is 8.
L3: 0 == 5 is false.
L5: next j is 0.
L6: total becomes 28.
L5: next j is 1.
L6: total becomes 36.
L7: it prints 36.
L8: k becomes 0.
L9: 0 < 20 is true.
L10: k becomes 1.
L11: it prints 1.
L9: 1 < 20 is true.
L10: k becomes 2.
L11: it prints 2.
L9: 17 more rounds leave k = 19.
L11: it prints 3."""


def test_brief_sums_up_the_middle_of_long_loops(traced):
    run = traced(LOOP)
    text = narrate(run.trace, "brief").text
    assert text.startswith(BRIEF)
    end = "L11: it prints 19.\nL9: 19 < 20 is true.\nL10: k becomes 20.\nL11: it prints 20.\nL9: 20 < 20 is false."
    assert text.endswith(end)
    assert check_claims(parse_claims(text, "brief"), run.trace, "brief").ok
    assert len(text) < 0.6 * len(narrate(run.trace, "full").text)


def test_brief_does_not_say_a_list_that_has_changed_since(traced):
    trace = traced("a = [0]\nfor i in range(8):\n    a.append(i)\n    a[0] = i\n").trace
    assert "5 more rounds leave i = 6." in narrate(trace, "brief").text


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        ("6 more rounds", "5 more rounds", "wrong value"),
        ("total = 28;", "total = 27;", "wrong value"),
        ("line 3 never", "line 3 always", "wrong value"),
        ("leave k = 19", "pass", "wrong value"),
        ("L9: 17 more rounds leave k = 19.\n", "", "skipped"),
    ],
)
def test_a_wrong_summary_is_found(traced, right, wrong, reason):
    trace = traced(LOOP).trace
    text = narrate(trace, "brief").text
    check = check_claims(parse_claims(text.replace(right, wrong), "brief"), trace, "brief")
    assert (check.ok, check.first_error.reason) == (False, reason)


def test_the_longer_a_narration_the_less_is_kept_of_its_loops(traced):
    loops = "t = 0\nfor i in range(9):\n    for j in range(9):\n        t += i * j\n"
    text = narrate(traced(loops).trace, "brief").text
    assert "L2: 6 more rounds" in text
    deeper = loops + "for i in range(9):\n    for j in range(9):\n        for k in range(9):\n            t += k\n"
    text = narrate(traced(deeper).trace, "brief").text
    assert len(text) < 1600
    assert "L2: 7 more rounds" in text


def test_loops_in_calls_are_told_apart(traced):
    source = "def f(n):\n    s = 0\n    for i in range(n):\n        s += f(n - 1) if i else 1\n    return s\n"
    source += "print(f(4))\n"
    run = traced(source)
    for style in ("brief", "full"):
        text = narrate(run.trace, style).text
        assert check_claims(parse_claims(text, style), run.trace, style).ok
        assert text.endswith(f"prints {run.stdout.strip()}.")


FRAMES = [
    '<|call_sep|>{"n": "2"}<|action_sep|>def f(n):',
    '<|line_sep|>{"n": ".."}<|action_sep|>    s = "<\\u007c"',
    '<|line_sep|>{"n": "..", "s": "\'<\\u007c\'"}<|action_sep|>    for i in range(n):',
    '<|line_sep|>{"n": "..", "s": "..", "i": "0"}<|action_sep|>        s += str(i)',
    '<|line_sep|>{"n": "..", "s": "\'<\\u007c0\'", "i": ".."}<|action_sep|>    for i in range(n):',
    '<|line_sep|>{"n": "..", "s": "..", "i": "1"}<|action_sep|>        s += str(i)',
    '<|line_sep|>{"n": "..", "s": "\'<\\u007c01\'", "i": ".."}<|action_sep|>    for i in range(n):',
    '<|line_sep|>{"n": "..", "s": "..", "i": ".."}<|action_sep|>    return s',
    '<|return_sep|><|action_sep|>    return s<|arg_sep|>"\'<\\u007c01\'"',
]
SOURCE = 'def f(n):\n    s = "<|"\n    for i in range(n):\n        s += str(i)\n    return s\n'


def test_frames_hold_what_changed_at_every_line(pool):
    execution = pool.submit(Run(SOURCE, call="f(2)", trace=TraceBudget(of="lines"))).result(30)
    told = narrate(execution.trace, "cwm")
    assert told.text.split("<|frame_sep|>") == [*FRAMES, ""]
    assert told.output == execution.value == "'<|01'"
    claims = parse_claims(told.text)
    assert all(isinstance(claim, Frame) for claim in claims)
    assert check_claims(claims, execution.trace, "cwm").ok
    for i, wrong in ((3, '"i": "1"'), (6, '"s": ".."')):
        right = '"i": "0"' if i == 3 else '"s": "\'<\\u007c01\'"'
        text = "<|frame_sep|>".join([*FRAMES[:i], FRAMES[i].replace(right, wrong), *FRAMES[i + 1 :], ""])
        error = check_claims(parse_claims(text, "cwm"), execution.trace, "cwm").first_error
        assert (error.step, error.line) == (i, 4 if i == 3 else 3)


def test_frames_that_are_none_are_unreadable():
    texts = ["hello", "<|line_sep|>{}<|action_sep|>x", "<|line_sep|>{1}<|action_sep|>x<|frame_sep|>"]
    texts += [f"<|line_sep|>{inside}<|action_sep|>x<|frame_sep|>" for inside in ('{"a": 1}', "[" * 10**5, "[]")]
    for text in texts:
        assert [type(claim) for claim in parse_claims(text, "cwm")] == [Unreadable], text


def test_exceptions_generators_and_output_by_line(pool):
    source = """def g():
    yield 1
    raise KeyError('k')
try:
    for x in g():
        print(x)
except KeyError:
    y = [a for a in 'ab']
"""
    execution = pool.submit(Run(source, trace=TraceBudget(of="lines"))).result(30)
    frames = [event.values for event in execution.trace.events if event.kind == "frame"]
    assert [(how, value) for how, _, _, value in frames if how == "exception"] == [("exception", "KeyError: 'k'")] * 2
    assert narrate(execution.trace, "cwm").output == execution.stdout == "1\n"
    assert frames[-1][2] == {"x": "..", "y": "['a', 'b']"} or frames[-1][0] == "return"


def test_by_line_a_program_runs_as_it_would_alone(pool):
    sources = [
        "def f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\nprint(f(900))",
        "class A:\n    def __repr__(self): print('repr'); return 'a'\n"
        "    __class__ = property(lambda s: print('class'))\na = A()\nb = a",
        "import threading\nt = threading.Thread(target=lambda: print(1))\nt.start(); t.join()",
        "x = 1\nwhile True:\n    x += 1\n    if x > 30: break\nprint(x, locals()['x'])",
    ]
    for source in sources:
        plain = pool.submit(Run(source)).result(30)
        execution = pool.submit(Run(source, trace=TraceBudget(of="lines", depth=2000))).result(30)
        assert (execution.stdout, execution.status) == (plain.stdout, "ok")


def test_budgets_and_tampering_by_line(pool):
    endless = Run("while True: x = 1", trace=TraceBudget(of="lines", events=50))
    execution = pool.submit(endless).result(30)
    assert (execution.status, len(execution.trace.events)) == ("timeout", 50)
    deep = Run("def f(n): return n and f(n - 1)\nf(50)", trace=TraceBudget(of="lines", depth=10))
    assert pool.submit(deep).result(30).trace.stop == "depth"
    off = Run("import sys\nx = 1\nsys.settrace(None)\nx = 2", trace=TraceBudget(of="lines"))
    execution = pool.submit(off).result(30)
    assert (execution.status, execution.trace) == ("trace_tampered", None)
    with pytest.raises(ValueError, match="of: 'words'"):
        TraceBudget(of="words")


def test_a_style_refuses_the_other_kind_of_trace(traced, pool):
    with pytest.raises(ValueError, match="style cwm tells traces of lines"):
        narrate(traced("x = 1\n").trace, "cwm")
    execution = pool.submit(Run("x = 1", trace=TraceBudget(of="lines"))).result(30)
    with pytest.raises(ValueError, match="style full tells traces of steps"):
        check_claims([], execution.trace, "full")
    assert json.loads(json.dumps(dataclasses.asdict(execution.trace)))["of"] == "lines"


CHANGES = """total=0
i=0;0%2=0;0==5 no
j=0;0*0=0;total=0+0=0
j=1;total=0
j end
i=1;j=0;total=0
j=1;total=1
j end
i=2;j=0;total=1"""


def test_changes_tells_the_body_of_a_loop_once(traced):
    trace = traced(LOOP).trace
    text = narrate(trace, "changes").text
    assert text.startswith(CHANGES)
    assert text.endswith("k=19\nprint 19\nk=20\nprint 20\n20<20 no")
    assert len(text) < 0.7 * len(narrate(trace, "compact").text)
    check = lambda said: check_claims(parse_claims(said, "changes"), trace, "changes")  # noqa: E731
    assert check(text).ok
    assert check(text.replace("i=2;j=0;total=1", "i=2;j=0;total=2")).first_error.reason == "wrong value"
    assert check(text.replace("k=20\n", "")).first_error.reason == "skipped"
