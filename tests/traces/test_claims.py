"""Narrations are read back whole, and every kind of mistake in one is found where it is."""

import dataclasses
import re

import pytest
from harness import READ_AND_SUM, run_traced
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import programs

from selfexec_jax.sandbox.types import TraceBudget
from selfexec_jax.traces import STYLES, check_claims, narrate, parse_claims
from selfexec_jax.traces.narrate import said
from selfexec_jax.traces.steps import Bind, Branch, Compare, Op, Print, Return, Unreadable

OF_STEPS = [name for name, style in STYLES.items() if style.of == "steps"]
STDIN = "5 7 -2 10"
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def example():
    return run_traced(READ_AND_SUM, "4\n5 7 -2 10").trace


@pytest.mark.parametrize("style", OF_STEPS)
@given(source=programs)
@QUICK
def test_a_narration_is_read_back_as_its_steps(style, source):
    trace = run_traced(source, STDIN, budget=TraceBudget(events=600)).trace
    narration = narrate(trace, style)
    claims = parse_claims(narration.text, style)
    required = said(trace, style)
    assert [STYLES[style].key(claim) for claim in claims] == [STYLES[style].key(step) for step in required]
    check = check_claims(claims, trace, style)
    assert check == dataclasses.replace(
        check, ok=True, n_right=len(required), n_claims=len(required), first_error=None
    )
    assert (
        narrate(trace, style)
        == narration
        == narrate(run_traced(source, STDIN, budget=TraceBudget(events=600)).trace, style)
    )
    assert STYLES[style].parse(narration.text) == parse_claims(narration.text)


@given(source=programs)
@QUICK
def test_what_is_printed_is_the_output(source):
    run = run_traced(source, STDIN, budget=TraceBudget(events=10_000))
    if run.trace.stop is None:
        assert narrate(run.trace, "compact").output == run.stdout


def _wrong(step):
    """The step with another value, outcome or output; None for a step that says none."""
    if isinstance(step, (Bind, Op, Return)):
        return dataclasses.replace(step, value="-12345")
    if isinstance(step, Compare):
        return dataclasses.replace(step, holds=not step.holds)
    if isinstance(step, Branch):
        return dataclasses.replace(step, taken=not step.taken)
    if isinstance(step, Print):
        return dataclasses.replace(step, text="other\n")
    return None


@pytest.mark.parametrize("style", OF_STEPS)
@given(source=programs, data=st.data())
@QUICK
def test_a_mistake_is_found_where_it_is(style, source, data):
    trace = run_traced(source, STDIN, budget=TraceBudget(events=300)).trace
    claims = parse_claims(narrate(trace, style).text, style)
    at = data.draw(st.integers(0, len(claims) - 1))
    kind = data.draw(st.sampled_from(["wrong", "dropped", "doubled", "unreadable"]))
    changed, key = _wrong(claims[at]), STYLES[style].key  # `a[0]` is 1 reads the same as `a[0]` becomes 1
    if kind == "wrong" and changed is not None:
        check = check_claims([*claims[:at], changed, *claims[at + 1 :]], trace, style)
        reasons = {Compare: "wrong branch", Branch: "wrong branch", Print: "wrong output"}
        assert check.first_error.reason == reasons.get(type(changed), "wrong value")
        assert check.first_error.step == at
        assert check.n_right == len(claims) - 1
    elif kind == "dropped":
        check = check_claims(claims[:at] + claims[at + 1 :], trace, style)
        assert check.first_error.step >= at  # a run of equal steps may lose any of them
        assert all(key(claim) == key(claims[at]) for claim in claims[at : check.first_error.step])
    elif kind == "doubled":
        check = check_claims([*claims[: at + 1], *claims[at:]], trace, style)
        assert check.first_error.step > at
        assert all(key(claim) == key(claims[at]) for claim in claims[at : check.first_error.step])
    else:
        check = check_claims([*claims[:at], Unreadable(0, "?"), *claims[at + 1 :]], trace, style)
        assert (check.first_error.step, check.first_error.reason) == (at, "unreadable")
    assert not check.ok


@pytest.mark.parametrize("style", OF_STEPS)
@given(text=st.text(alphabet="Line 0123456789:x=+;'\"[](){}<>, .\nsobecmprintyesnod\\", max_size=80))
@QUICK
def test_any_text_at_all_is_read_without_raising(style, text):
    trace = run_traced("x = 1\nprint(x)\n").trace
    assert not check_claims(parse_claims(text, style), trace, style).ok
    parse_claims(text)


@pytest.mark.parametrize("style", OF_STEPS)
@given(source=programs, data=st.data())
@QUICK
def test_a_narration_cut_or_damaged_anywhere_is_not_ok(style, source, data):
    trace = run_traced(source, STDIN, budget=TraceBudget(events=200)).trace
    text = narrate(trace, style).text
    at = data.draw(st.integers(0, len(text) - 1))
    check = check_claims(parse_claims(text[:at], style), trace, style)
    # All that may be missing is the end of a sentence whose facts are told: "5 > 3 is true, so the loop".
    assert not check.ok or (STYLES[style].lines and re.fullmatch("[a-z ,.]*", text[at:]))


@pytest.mark.parametrize("line", ["write {[1]}", "write " + "9" * 400 + "+1j", "Line 3: it writes {[]: 1}."])
def test_what_reads_as_a_literal_and_is_none_does_not_raise(line):
    for style in ("compact", "full", "brief", "numbered", "changes"):
        parse_claims(line, style)


def test_reasons_and_places(example):
    text = narrate(example, "compact").text

    def check(old, new):
        assert old in text
        return check_claims(parse_claims(text.replace(old, new, 1), "compact"), example, "compact")

    assert check("7*2=14", "7*2=15").first_error == type(check("7*2=14", "x").first_error)(
        9, 6, "wrong value"
    )
    assert check("7%3=1;1==1 yes", "7%3=1;1==1 no").first_error.reason == "wrong branch"
    assert check("print 30", "print 31").first_error.reason == "wrong output"
    assert check("7*2=14;", "").first_error.reason == "skipped"
    assert check("7*2=14;", "7*2=14;7*2=14;").first_error.reason == "invented"
    assert check("x end\n", "").first_error.line == 4
    assert check("x end", "something else").first_error.reason == "unreadable"
    assert check("\nprint 30", "").first_error.reason == "skipped"
    assert check("print 30", "print 30\nprint 30").first_error.reason == "invented"
    assert not check_claims([], example, "compact").ok


def test_a_wrong_line_number_is_wrong(example):
    text = narrate(example, "full").text.replace("Line 3: t", "Line 2: t")
    check = check_claims(parse_claims(text, "full"), example, "full")
    assert (check.ok, check.first_error.reason) == (False, "wrong line")


def test_spaces_do_not_matter(example):
    text = (
        narrate(example, "compact")
        .text.replace("7*2=14", "7 * 2 = 14")
        .replace("[5,7,-2,10]", "[5, 7, -2, 10]")
    )
    assert check_claims(parse_claims(text, "compact"), example, "compact").ok


def test_a_wrong_value_beside_an_equal_right_one_is_no_invention(traced):
    trace = traced("s = 'ab'\nx = s.upper() == s.upper()\n").trace
    text = narrate(trace, "compact").text.replace("='AB'", "='AC'", 1)
    error = check_claims(parse_claims(text, "compact"), trace, "compact").first_error
    assert (error.step, error.reason) == (1, "wrong value")
