"""Other words for the same are accepted, other values are not."""

import json
import re
import time
from pathlib import Path

import pytest

from selfexec_jax.sandbox import Run, TraceBudget
from selfexec_jax.traces import check_claims, narrate, parse_claims

SUM = "total = 0\nfor x in [3, 4]:\n    total += x\nprint(total)\n"
SUM_TOLD = [
    "Line 1: total is set to 0.\nLine 2: next x is 3.\nLine 3: 0 + 3 equals 3, so total is now 3.\n"
    "Line 2: x is now 4.\nLine 3: 3 + 4 gives 7, so total gets 7.\nLine 2: the loop is finished.\n"
    "Line 4: it outputs 7.",
    "line 1: total = 0\n\nline 2: x = 3\nline 3: total = 0 + 3 = 3\nline 2: x = 4\nline 3: total = 3+4 = 7\n"
    "line 2: no more items\nline 4: 7 is printed",
    "On line 1, `total` starts at 0. On line 2, x becomes 3, and then on line 3, 0 + 3 is 3, "
    "which is stored in total.\n"
    "- Line 2: the next x is 4\n- Line 3: total goes from 3 to 7 because 3 + 4 is 7\n"
    "L2: the loop is over (nothing is left)\nL4 - prints 7",
]
CALL = "def f(n, s):\n    if n % 2 == 0:\n        return s\n    return s * n\n"
CALL_TOLD = [
    'Line 1: we call f with n = 3 and s = "ab".\n'
    "Line 2: 3 % 2 evaluates to 1. 1 == 0 does not hold, so we skip the branch.\n"
    "Line 4: 'ab' * 3 is 'ababab', and that is returned: 'ababab'.",
    "1: f is called, n is 3, s is 'ab'\n2: 3%2 = 1 and 1==0 is False\n4: 'ab'*3 = 'ababab', return 'ababab'",
]


@pytest.mark.parametrize("text", SUM_TOLD)
def test_other_words_for_a_loop(traced, text):
    trace = traced(SUM).trace
    check = check_claims(parse_claims(text, "full"), trace)
    assert check.ok, check.first_error
    assert check.n_claims == check.n_required


@pytest.mark.parametrize("text", CALL_TOLD)
def test_other_words_for_a_call(traced, text):
    check = check_claims(parse_claims(text, "full"), traced(CALL, call="f(3, 'ab')").trace)
    assert check.ok, check.first_error


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("Line 2: 3 + 4 is 7, so t becomes 7.", "Line 2: 3 + 4 gives 7, and t never becomes 7."),
        ("Line 2: 3 + 4 is 7, so t becomes 7.", "Line 2: 3 + 4 isn't 7, so t doesn't become 7."),
        ("Line 4: t becomes 0.", "Line 4: t cannot be 0."),
        ("Line 4: t becomes 0.", "Line 4: t becomes something, not 0."),
        ("Line 5: it prints 0.", "Line 5: nothing is printed, least of all 0."),
    ],
)
def test_what_is_denied_is_not_told(traced, right, wrong):
    trace = traced("t = 3\nt = t + 4\nif t % 3 == 1:\n    t = 0\nprint(t)\n").trace
    told = narrate(trace, "full").text
    assert right in told and check_claims(parse_claims(told, "full"), trace).ok
    assert not check_claims(parse_claims(told.replace(right, wrong), "full"), trace).ok


@pytest.mark.parametrize("text", SUM_TOLD)
def test_any_other_value_in_other_words_is_found(traced, text):
    """Every number in the text, one at a time, is made another one."""
    trace = traced(SUM).trace
    for match in re.finditer(r"\d", text):
        wrong = text[: match.start()] + str((int(match.group()) + 5) % 10) + text[match.end() :]
        assert not check_claims(parse_claims(wrong, "full"), trace).ok, wrong


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("does not hold", "holds"),
        ("so we skip the branch", "so we enter the branch"),
        ("'ab' * 3 is 'ababab', and that", "that"),
        ("returned: 'ababab'", "returned: 'abab'"),
        ("Line 2: 3 % 2 evaluates to 1. ", "Line 2: "),
        ("we call f", "we call g"),
        ("Line 4: 'ab'", "Line 3: 'ab'"),
        ("Line 1: we call", "Line 1: x is 8 and we call"),
    ],
)
def test_mistakes_in_other_words_are_found(traced, right, wrong):
    trace = traced(CALL, call="f(3, 'ab')").trace
    assert right in CALL_TOLD[0]
    assert not check_claims(parse_claims(CALL_TOLD[0].replace(right, wrong), "full"), trace).ok


def test_values_that_words_bend_are_others(traced):
    trace = traced(SUM).trace
    for said in ("negative 7", "minus 7", "twice 7", "7 thousand", "7 squared", "7%", "7 backwards", "seven",
                 "7 million"):  # fmt: skip
        for text in SUM_TOLD:
            told = re.sub(r"(?<=[ ])7(?![\w.]*\d)", said, text, count=1)
            if told != text:
                assert not check_claims(parse_claims(told, "full"), trace).ok, told


@pytest.mark.parametrize(
    "piece", ["[", "<a", "(1, ", "total 0 ", "line 1: ", "'", "-1 - ", "total is not ", "0 '''', 1 '''', ", "\\'"]
)
def test_no_text_holds_up_who_reads_it(traced, piece):
    trace = traced(SUM).trace
    began = time.monotonic()
    for n in (50, 1_000, 100_000):
        assert not check_claims(parse_claims("Line 1: total is set " + piece * n, "full"), trace).ok
    assert time.monotonic() - began < 10


def test_the_own_words_do_not_need_it(traced):
    trace = traced(SUM).trace
    assert check_claims(parse_claims(narrate(trace).text, "full"), trace).ok


def test_two_hundred_texts_varied_by_hand(pool):
    """Each a right account of its program in other words, merged and split steps, other spacing."""
    rejected, n = [], 0
    for program in json.loads(Path(__file__).with_name("reworded.json").read_text(encoding="utf-8")):
        run = Run(program["source"], call=program["call"], trace=TraceBudget())
        trace = pool.submit(run).result(30).trace
        for text in program["texts"]:
            n += 1
            if not check_claims(parse_claims(text, "full"), trace).ok:
                rejected.append(text)
    assert n == 200
    assert len(rejected) <= 4, rejected
