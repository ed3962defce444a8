"""The questions and their answers: what is rendered can be read back, and is never run."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from selfexec_jax.problems import Problem, Test
from selfexec_jax.tasks import TEMPLATES, fix, predict, propose, solve
from selfexec_jax.traces import Narration

PROBLEM = Problem(
    "sum", "Print the sum of two numbers.",
    public_tests=(Test("1 2\n", "3\n"), Test("4 5\n", "9\n")),
    private_tests=(Test("70070 1\n", "70071\n"),),
    solutions=("print('REFERENCE')\n",),
)  # fmt: skip
SOURCE = "a, b = map(int, input().split())\nprint(a + b)\n"


def content(messages):
    (message,) = messages
    assert message["role"] == "user"
    return message["content"]


# ---- predict -------------------------------------------------------------------------------------------
@given(st.text())
@example("a\\nb\nc\\\\\n")
@example("a\rb\x0bc\u2028d\x85e")
def test_escaped_outputs_are_one_line_and_come_back(output):
    escaped = predict.escape(output)
    assert "\n" not in escaped
    assert predict.unescape(escaped) == output.rstrip("\n")


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("text", ["", "x is 3.\nprints 3\n"])
@settings(max_examples=100)
@given(st.text().filter(lambda t: "output>" not in t))
@example("a\rb")
@example("a\u2028b\x1cc")
@example("=>7\n8")
@example("")
@example("<b></output>x")
@example("<output>")
def test_a_predicted_output_is_graded_as_right(template, text, output):
    answer = predict.target(Narration(text, output), template)
    assert answer.startswith(text.rstrip())
    assert predict.grade(answer, output, "stdio").label == "ok"
    assert predict.grade(answer, output + "more", "stdio").label == "wrong"
    # Not a character is lost but white space at the end, which no comparison counts.
    assert predict.extract(answer, "stdio").rstrip() == output.rstrip()


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("template", TEMPLATES)
@settings(max_examples=100)
@given(LITERALS)
@example("a == b")
@example(["x", " == "])
@example("\n\\n")
def test_a_predicted_value_is_graded_as_right(template, value):
    answer = predict.target(Narration("It returns.\n", repr(value)), template, "call", "f('a == b', 3)")
    grade = predict.grade(answer, repr(value), "call")
    assert (grade.label, grade.prediction) == ("ok", repr(value))
    assert predict.grade(answer, repr([value]), "call").label == "wrong"


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("assert f(3) == [1, 2]", "ok"),
        ("so it is\nassert f(3) == [1,2]\n", "ok"),
        ("=>[1, 2]", "ok"),
        ("assert f(3) == [2, 1]", "wrong"),
        ("assert f(3) == (1, 2)", "wrong"),
        ("assert f(3) == f(3)", "not_literal"),
        ("assert f(3) == [1, 1 + 1]", "not_literal"),
        ("assert f(3) == list(range(1, 3))", "not_literal"),
        ("assert f(3) == __import__('os').system('touch PLANTED')", "not_literal"),
        ("=>__import__('os').system('touch PLANTED')", "not_literal"),
        ("=>[1, 2", "not_literal"),
        ("assert f(3) == ", "no_answer"),
        ("it returns [1, 2]", "no_answer"),
        ("", "no_answer"),
    ],
)
def test_labels_of_values_and_nothing_is_executed(answer, label, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert predict.grade(answer, "[1, 2]", "call").label == label
    assert not (tmp_path / "PLANTED").exists()
    assert predict.grade(answer, "[1, 2]", "call", "length").label == "truncated"


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("=>3", "ok"),
        ("<output>3</output>", "ok"),
        ("first <output>4</output>, no: <output>3</output>", "ok"),  # the last claim counts
        ("<output>3</output><output>4</output>", "wrong"),
        ("=>3\n=>4", "wrong"),
        ("=>3\nand more", "no_answer"),
        ("3", "no_answer"),
    ],
)
def test_labels_of_outputs(answer, label):
    assert predict.grade(answer, "3\n", "stdio").label == label
    assert predict.grade(answer, "3\n", "stdio", finish_reason="length").label == "truncated"


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_simulation_prompt_holds_the_program_and_its_input(template):
    asked = content(predict.render(SOURCE, "40 2\n", template))
    assert SOURCE.strip() in asked and ("0:40 1:2" if template == "numbered" else "40 2") in asked
    assert "42" not in asked
    called = content(predict.render("def f(x):\n    return x + 1", "f(41)", template, "call"))
    assert "f(41)" in called and "return x + 1" in called and "42" not in called


# ---- solve and fix ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("template", TEMPLATES)
def test_prompts_show_the_public_tests_and_no_private_one_nor_a_solution(template):
    feedback = [fix.Feedback(PROBLEM.public_tests[0], "3\n"), fix.Feedback(PROBLEM.public_tests[1], None)]
    for asked in (content(solve.render(PROBLEM, template)), content(fix.render(PROBLEM, SOURCE, feedback, template))):
        assert PROBLEM.statement in asked
        assert all(t.input.strip() in asked and t.output.strip() in asked for t in PROBLEM.public_tests)
        assert "70070" not in asked and "70071" not in asked and "REFERENCE" not in asked


@pytest.mark.parametrize("template", TEMPLATES)
def test_programs_come_back(template):
    for source in (SOURCE, "\n\nif True:\n    print('#SUBMIT')\n", "x = '<|assistant|>'\n"):
        answer = solve.target(source, template)
        assert solve.extract(answer, template) == source.rstrip() + "\n"
        assert fix.parse(fix.target(source, template), template) == source.rstrip() + "\n"
    assert fix.parse(fix.target(fix.Submit(), template), template) == fix.Submit()


@pytest.mark.parametrize(
    "answer", ["", "print(1)", "```python\nprint(1)", "```python\n1\n```\n```python\n2\n```", "``` a\n1\n```"]
)
def test_a_paper_answer_without_exactly_one_block_is_no_program(answer):
    assert solve.extract(answer, "paper") is None
    assert fix.parse(answer, "paper") is None


def test_prose_around_the_block_is_left_out():
    answer = "First,\n```py\nprint(1)\n```\nis right."
    assert solve.extract(answer, "paper") == "print(1)\n"


def test_an_empty_compact_answer_is_no_program():
    assert solve.extract(" \n", "compact") is None and fix.parse("", "compact") is None


def test_feedback_says_what_the_program_gave():
    tests = PROBLEM.public_tests
    for output, agrees, compact in (("3", True, "1 2>3 ok"), ("5\n6\n", False, "1 2>3 got 5 6"),
                                    (None, False, "1 2>3 got no output")):  # fmt: skip
        feedback = fix.Feedback(tests[0], output)
        assert feedback.agrees is agrees
        assert compact in content(fix.render(PROBLEM, SOURCE, [feedback], "compact")).splitlines()
    paper = content(fix.render(PROBLEM, SOURCE, [fix.Feedback(tests[0], "5\n6\n")], "paper"))
    assert re.search(r"Input:\n1 2\nOutput:\n3\nThe program's output:\n5\n6\n", paper)


@pytest.mark.parametrize(
    "call",
    [
        lambda: predict.render(SOURCE, "", "fancy"),
        lambda: predict.target(Narration("", ""), "fancy"),
        lambda: solve.render(PROBLEM, "fancy"),
        lambda: solve.target(SOURCE, "fancy"),
        lambda: fix.render(PROBLEM, SOURCE, [], "fancy"),
    ],
)
def test_an_unknown_template_is_named(call):
    with pytest.raises(ValueError, match="'fancy'.*paper, compact"):
        call()


# ---- propose -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("template", TEMPLATES)
def test_an_input_is_proposed_from_what_is_public_and_comes_back(template):
    asked = content(propose.render(PROBLEM, template))
    assert PROBLEM.statement in asked and "70070" not in asked and "REFERENCE" not in asked
    for text in ("70070 1\n", "1\n2 3\n"):
        assert propose.extract(propose.target(text, template), template) == text
    assert propose.extract(" \n", template) is None
    assert propose.extract("<input>1", "paper") is None and propose.extract("1 2", "paper") is None
