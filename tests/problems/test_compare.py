"""What counts as the same answer, and what does not."""

import time

import pytest

from selfexec_jax.problems.compare import literals_match, outputs_match


@pytest.mark.parametrize(
    ("expected", "actual", "rule", "same"),
    [
        ("1 2\n3\n", "1  2 3", "tokens", True),
        ("1 2\n3\n", "1  2 3", "lines", False),
        ("1 2\n3\n", "1 2\n3", "exact", False),
        ("1\n", "1\n", "exact", True),
        ("0.5", "0.500001", "tokens", True),
        ("0.5", "0.51", "tokens", False),
        ("1e9", "1000000001.0", "tokens", True),
        ("1000000000", "1000000001", "tokens", False),
        ("1000000000", "1000009999.0", "tokens", False),
        ("1000000000", "1000000000.000001", "tokens", True),
        ("10000000000000001", "10000000000000001.0", "tokens", True),
        ("10000000000000001", "10000000000000000.0", "tokens", False),
        ("9" * 400, "1e400", "tokens", False),
        ("9" * 5000, "9" * 5000 + "0", "tokens", False),
        ("007", "7", "tokens", True),
        ("-0", "0", "tokens", True),
        ("-1", "1", "tokens", False),
        ("2", "2.0", "tokens", True),
        ("1000", "1_000", "tokens", False),
        ("3", "\u0663", "tokens", False),
        ("0.1", "nan", "tokens", False),
        ("1.5", "inf", "tokens", False),
        ("1e400", "1e401", "tokens", True),  # both are infinite as floats
        ("YES", "yes", "tokens", False),
        ("YES", "", "tokens", False),
        ("", " \n", "tokens", True),
        ("1", "1 1", "tokens", False),
        (" a \nb", "a\n b \n", "lines", True),
        ("a b", "a  b", "lines", False),
        ("1.0 2", "1 2.00", "lines", True),
        ("1.0", "1.000001", "lines", False),
        ("1\n2", "1\n\n2", "lines", False),
    ],
)
def test_outputs(expected, actual, rule, same):
    assert outputs_match(expected, actual, rule) is same


def test_unknown_rule():
    with pytest.raises(ValueError, match="rule"):
        outputs_match("", "", "fuzzy")


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("1", "1", True),
        ("1", "True", False),
        ("0", "False", False),
        ("1", "'1'", False),
        ("2", "2.0", True),
        ("2.0", "2", True),
        ("1000000000", "1000009999.0", False),
        ("10000000000000001", "1e16", False),
        ("0.1", "0.1000001", True),
        ("0.1", "0.11", False),
        ("10**2", "100", ValueError),
        ("[1, 2]", "(1, 2)", False),
        ("[1, 2]", "[1, 2, 3]", False),
        ("[1, [True]]", "[1, [1]]", False),
        ("{1, 2}", "{2, 1}", True),
        ("{1, 2}", "{2, True}", False),
        ("{0.1, 0.2}", "{0.2, 0.1000000001}", True),
        ("{(1, 0.5)}", "{(1, 0.5000001)}", True),
        ("set()", "{}", False),
        ("{'a': [1]}", "{'a': [1.0]}", True),
        ("{1: 2, 3: 4}", "{3: 4, 1: 2}", True),
        ("{1: 2}", "{True: 2}", False),
        ("{1: 2}", "{1: 2, 3: 4}", False),
        ("b'a'", "'a'", False),
        ("None", "None", True),
        ("None", "0", False),
        ("1+2j", "1+2j", True),
        ("1e999", "1e999", True),
        ("1e999", "1", False),
        ("1", "1" + "0" * 400 + ".0", False),
        ("1" + "0" * 400, "1.0", False),
        ("1", "__import__('os').getpid()", False),
        ("1", "[" * 100_000, False),
        ("1", "", False),
        ("1", "'" + "x" * (9 << 20) + "'", False),
        ("nan", "nan", ValueError),
    ],
)
def test_literals(expected, actual, same):
    if same is ValueError:
        with pytest.raises(ValueError, match="not a literal"):
            literals_match(expected, actual)
    else:
        assert literals_match(expected, actual) is same


def test_tuples_may_stand_for_lists_when_asked():
    assert literals_match("[1, [2]]", "(1, (2,))", "as_json")
    assert not literals_match("[1, [2]]", "(1, (3,))", "as_json")
    assert not literals_match("[1]", "{1}", "as_json")


def test_plain_equality_when_asked():
    assert literals_match("True", "1", "equal")
    assert literals_match("(1, 2.0)", "(1, 2)", "equal")
    assert not literals_match("[1]", "(1,)", "equal")
    assert not literals_match("0.3", "0.30000000000000004", "equal")


def test_a_set_of_many_strangers_is_refused_quickly():
    many = ", ".join(f"{i}.25" for i in range(20_000))
    assert not literals_match(f"{{{many}}}", f"{{{many.replace('.25', '.75')}}}")


def test_hostile_digits_are_compared_quickly():
    started = time.monotonic()
    for text in ("0" * 200_000 + "x", "9" * 200_000 + "x", "1." + "0" * 200_000 + "x", "." + "1" * 200_000 + "e"):
        for rule in ("tokens", "lines"):
            assert not outputs_match("5", text, rule)
    assert outputs_match("-0", "000")
    assert outputs_match("007", "7")
    assert not outputs_match("70", "7")
    assert time.monotonic() - started < 2
