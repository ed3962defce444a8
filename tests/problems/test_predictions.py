"""The output-prediction set: which of the programs that models wrote are kept, and with what."""

import json

import pytest

from selfexec_jax.problems import Problem, Test
from selfexec_jax.problems.datasets import load_problems, save_problems
from selfexec_jax.problems.predictions import prediction_set
from selfexec_jax.problems.samples import Sample, write_samples
from selfexec_jax.tools import predictions as tool

ADD = Problem(
    "add",
    "",
    public_tests=(Test("1 2\n", "3\n"), Test("5 5\n", "10\n")),
    private_tests=(Test("0 1\n", "1\n"),),
    time_limit_s=1.0,
)
TWICE = Problem("twice", "", kind="call", entry_point="f", public_tests=(Test("[1]", "[1, 1]"),))
RIGHT = "a, b = map(int, input().split())\nprint(a + b)\n"


def variants(n):
    return [RIGHT + f"x = {i}\n" for i in range(n)]


def test_four_right_ones_a_model_times_every_public_test(pool):
    samples = [Sample("add", source, "big") for source in variants(6)]
    samples += [Sample("add", source, "small") for source in [*variants(6)[4:], RIGHT, RIGHT + "# again\n", "print(3)"]]
    samples += [Sample("add", "def", "small"), Sample("twice", "def f(x): return x * 2", "small")]
    rows, counts = prediction_set([ADD, TWICE], samples, pool)
    assert counts == {"duplicate": 3, "no program": 1, "kept": 6, "right, beyond those kept": 2, "wrong": 1}
    first = [(row["model"], row["stdin"], row["output"]) for row in rows[:2]]
    assert first == [("big", "1 2\n", "3\n"), ("big", "5 5\n", "10\n")]
    assert len(rows) == 2 * 5 + 1
    assert all(row["is_right"] for row in rows)
    assert (rows[-1]["call"], rows[-1]["stdin"], rows[-1]["output"]) == ("f([1])", None, "[1, 1]")


def test_wrong_programs_where_asked_for(pool):
    samples = [Sample("add", f"print({i})", "m") for i in range(4)] + [Sample("add", "1 / 0", "m")]
    rows, counts = prediction_set([ADD], samples, pool, right=0, wrong=3)
    assert counts == {"kept": 3, "wrong": 2}
    assert [(row["output"], row["is_right"]) for row in rows] == [(f"{i}\n", False) for i in (0, 0, 1, 1, 2, 2)]


def test_python_tests_have_no_outputs(pool):
    problem = Problem("p", "", kind="check", public_tests=(Test("for i in range(f(2)): assert f(i) == i * i", ""),))
    with pytest.raises(ValueError, match="problem p: what Python tests ask"):
        prediction_set([problem], [Sample("p", "def f(x): return x * x", "m")], pool)


def test_what_equals_a_literal_is_none(pool):
    """HumanEval's own judge calls these right; there is nothing to be predicted of them."""
    test = Test("'a'", "{'a': 1}")
    problem = Problem("p", "", kind="call", entry_point="f", public_tests=(test,), source="humaneval")
    samples = [Sample("p", f"import collections\ndef f(x): return {kind}(x)", "m")
               for kind in ("collections.Counter", "dict(collections.Counter(x)) or dict")]  # fmt: skip
    rows, counts = prediction_set([problem], samples, pool)
    assert [row["output"] for row in rows] == ["{'a': 1}"] and counts == {"kept": 1, "wrong": 1}


def test_a_sample_of_no_problem(pool):
    with pytest.raises(ValueError, match="there is no problem 'sub'"):
        prediction_set([ADD], [Sample("sub", "print(1)", "m")], pool)


def test_the_command_writes_a_set_that_is_a_benchmark(tmp_path, capsys):
    save_problems(tmp_path / "problems.jsonl", [ADD])
    write_samples(tmp_path / "samples.jsonl", [Sample("add", RIGHT, "big"), Sample("add", "print(0)", "big")])
    flags = ["--problems", str(tmp_path / "problems.jsonl"), "--out", str(tmp_path / "out.jsonl")]
    flags += ["--min-tier", "rlimits_only"]
    assert tool.main([*flags, "--samples", str(tmp_path / "samples.jsonl"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": len(ADD.public_tests), "samples": {"kept": 1, "wrong": 1}}
    problems = load_problems(tmp_path / "out.jsonl")
    assert {p.solutions for p in problems} == {(RIGHT,)} and problems[0].id.startswith("add/big/")
    assert [p.private_tests[0].output.strip() for p in problems] == [t.output.strip() for t in ADD.public_tests]
    assert tool.main([*flags, "--samples", str(tmp_path / "nowhere.jsonl")]) == 2
    assert "nowhere.jsonl: cannot be read" in capsys.readouterr().err
