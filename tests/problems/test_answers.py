"""Predicted outputs and inputs: right ones are accepted, nothing that pretends is, and nothing stalls."""

import json
import time

import pytest

from selfexec_jax.problems.answers import LABELS, arguments_in, asserted, canonical, label_output, output_in, program_in
from selfexec_jax.problems.compare import answers_match
from selfexec_jax.tasks import predict, solve

RIGHT = [
    ("[1, 2]", "[1,2]"),
    ("'a == b'", '"a == b"'),
    ("{1: 'x', 2: 'y'}", "{2: 'y', 1: 'x'}"),
    ("{1, 2}", "{2, 1}"),
    ("0.1", "0.1000001"),
    ("2", "2.0"),
    ("-0.0", "0"),
    ("(1,)", "(1, )"),
    ("'a' 'b'", "'ab'"),
    ("b'x'", "b'x'"),
    ("None", " None\n"),
    ("1e400", "1e500"),
    ("[" * 60 + "]" * 60, "[" * 60 + "]" * 60),
    ("'" + "(" * 200 + "'", '"' + "(" * 200 + '"'),
]


@pytest.mark.parametrize(("expected", "prediction"), RIGHT)
def test_equal_values_are_right(expected, prediction):
    assert label_output(prediction, expected) == "ok"


# What a model might write to be counted right without knowing: (prediction, labels that are fair).
ATTACKS = {
    "a call": "f(3)",
    "the call itself": "f([1, 2], 'x')",
    "mock": "mock.ANY",
    "an import": "__import__('unittest.mock').mock.ANY",
    "eval": "eval('5')",
    "a class": "type('A', (), {'__eq__': lambda *_: True})()",
    "a lambda": "(lambda: 5)()",
    "arithmetic": "2 + 3",
    "a comparison": "5 == 5",
    "or": "5 or 6",
    "several": "5 6",
    "several lines": "4\n5",
    "a list of guesses": "[4, 5, 6]",
    "a set of guesses": "{4, 5}",
    "in words": "five",
    "hedged": "5 (or 6)",
    "another value": "6",
    "a bool": "True",
    "a string": "'5'",
    "a list": "[5]",
    "a tuple": "5,",
    "full width": "\uff15",
    "arabic": "\u0665",
    "superscript": "\u2075",
    "zero width": "5\u200b",
    "right to left": "\u202e5",
    "a comment of doubt": "6 # 5",
    "a conditional": "5 if True else 6",
    "a walrus": "(x := 5)",
    "a name": "x",
    "an f-string": "f'{5}'",
    "a star": "*[5]",
    "unpacking": "[*range(6)][5]",
    "ellipsis": "...",
    "nan": "float('nan')",
    "inf": "1e999",
    "complex": "5+0.1j",
    "nothing": "",
    "spaces": "  ",
    "a null": "5\0",
    "a statement": "assert f() == f()",
    "keywords": "dict(a=5)",
    "a slice": "slice(5)",
    "a complex sum": "1+2+3",
    "decimal": "Decimal(5)",
    "hex of another": "0x6",
    "underscores of another": "5_0",
    "an echo": "??",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_is_counted_right(name):
    label = label_output(output_in(ATTACKS[name]), "5")
    assert label in LABELS and label != "ok"


@pytest.mark.parametrize("rule", ["literal", "as_json", "equal"])
def test_bool_and_int_are_apart_unless_equal_is_asked_for(rule):
    assert (label_output("True", "1", rule=rule) == "ok") is (rule == "equal")
    assert (label_output("[1, False]", "[True, 0]", rule=rule) == "ok") is (rule == "equal")
    assert label_output("(1, 2)", "[1, 2]", rule=rule) == ("ok" if rule == "as_json" else "wrong")


STALLS = {
    "nested brackets": "[" * 100_000,
    "closed brackets": "[" * 50_000 + "]" * 50_000,
    "braces": "{" * 60,
    "sets of sets": "{1:" * 60,
    "parentheses": "(" * 100_000 + "5" + ")" * 100_000,
    "signs": "-" * 1_000_000 + "5",
    "a sum": "1+" * 200_000 + "1",
    "nots": "not " * 100_000 + "5",
    "digits": "9" * 5_000_000,
    "an exponent": "1e" + "9" * 1_000_000,
    "hex": "0x" + "f" * 5_000_000,
    "a set": "{" + "1," * 1_000_000 + "}",
    "a string": "'" + "a" * 10_000_000 + "'",
    "a dict": "{" + "1:1," * 500_000 + "}",
    "quotes": "'" * 1_000_001,
    "backslashes": "\\" * 1_000_000,
    "calls": "f(" * 50_000,
    "commas": "," * 1_000_000,
    "assertions": "assert f(1) == " * 50_000 + "6",
    "tags": "[ANSWER]" * 100_000,
    "lines": "5\n" * 500_000,
    "openings": "<output>" * 60_000,
    "fences": "```a\n" * 100_000,
    "alike": "{" + ",".join(str(i * (2**61 - 1)) for i in range(30_000)) + "}",
}


@pytest.mark.parametrize("name", STALLS)
@pytest.mark.parametrize("kind", ["call", "stdio"])
def test_nothing_stalls_or_breaks_the_grader(name, kind):
    began = time.monotonic()
    assert label_output(output_in(STALLS[name]), "5", kind) in ("wrong", "not_literal", "no_answer")
    assert not answers_match(kind, "5", STALLS[name])
    predict.extract(STALLS[name], kind), program_in(STALLS[name]), solve.extract(STALLS[name])
    arguments_in(STALLS[name], "f")
    assert time.monotonic() - began < 3


def test_where_the_output_is_in_an_answer():
    assert output_in("[1, 2]") == "[1, 2]"
    assert output_in("I think\n[ANSWER]\n5\n[/ANSWER]") == "5"
    assert output_in("[ANSWER]4[/ANSWER] no, [ANSWER]5[/ANSWER]") == "5"  # the last one is the answer
    assert output_in("Step 1\nassert f('a == b') == 'x == y'") == "'x == y'"
    assert output_in("[ANSWER]assert f(1) == [2]\n[/ANSWER]") == "[2]"
    assert output_in("") is None
    assert asserted("assert f(1) == g(2) == 3") == "3" and asserted("assert f( == 4") == "4"
    assert label_output(output_in("assert f(5) == f(5)"), "5") == "not_literal"


def test_text_on_stdout():
    assert label_output("1 2\n3", "1 2 3\n", "stdio") == "ok"
    assert label_output("1 2\n3", "1 2 3\n", "stdio", "lines") == "wrong"
    assert label_output("\uff11", "1", "stdio") == "wrong"
    assert label_output("", "", "stdio") == "ok" and label_output(None, "", "stdio") == "no_answer"


def test_inputs_are_argument_lists_of_literals():
    for answer in ("1, x='a'", "f(1, x='a')", "assert f(1, x='a') == 3", "[ANSWER]f(1, x='a')[/ANSWER]"):
        assert arguments_in(answer, "f") == "1, x='a'"
    for answer in (
        "f(g(1))",
        "x",
        "f(*[1])",
        "f(**{'a': 1})",
        "__import__('os')",
        "f(1)); g(",
        "g(1)",
        "f(1) + f(2)",
        "f(1)\nf(2)",
    ):
        assert arguments_in(answer, "f") is None, answer
    assert arguments_in("", "f") == ""
    assert arguments_in("f(0x" + 4000 * "f" + ")", "f") is None and arguments_in("f" + 800 * ".a" + "(1)", "f") is None


def test_votes_for_one_value_have_one_spelling():
    assert canonical("[1,2]") == canonical(" [1, 2] ") == "[1, 2]"
    assert canonical("f( 1)") == "f( 1)"
    assert canonical(long := "0x" + 4000 * "f") == long


def test_parity_with_the_published_verdicts(data):
    """All 8,000 of CodeLlama-7B on CRUXEval, one by one."""
    outputs = [json.loads(line)["output"] for line in (data / "cruxeval.jsonl").read_text().splitlines()]
    answers = json.loads((data / "cruxeval_codellama7b_output_generations.json").read_text())
    scored = json.loads((data / "cruxeval_codellama7b_output_scored.json").read_text())["raw_scored_generations"]
    found = {
        f"sample_{i}": [label_output(output_in(a), output) == "ok" for a in answers[f"sample_{i}"]]
        for i, output in enumerate(outputs)
    }
    assert found == scored and sum(map(len, found.values())) == 8000


_WITH_FENCES = "s = \'\'\'\n```\nx\n```\n\'\'\'\nprint(s)\n"


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        ("print(3)\n", "print(3)\n"),
        ("```python\nprint(3)\n```", "print(3)\n"),
        ("Here:\n```\nprint(1)\n```\nNo, better:\n```py\nprint(2)\n``` \nDone.", "print(2)\n"),
        (_WITH_FENCES, _WITH_FENCES),  # a program as it is
        ("```python\nprint(3)\n", "```python\nprint(3)\n"),  # cut off: nothing to run
        ("no program", "no program"),
        ("", ""),
    ],
)
def test_the_program_in_an_answer(answer, program):
    assert program_in(answer) == program
