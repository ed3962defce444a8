"""Grading a benchmark's samples: labels, figures over all problems, and the command, which can be interrupted."""

import json

import pytest

from selfexec_jax.evals.grading import Graded, figures, grade, labels, numbered
from selfexec_jax.problems import Problem, Test
from selfexec_jax.problems.datasets import save_problems
from selfexec_jax.problems.samples import Sample
from selfexec_jax.sandbox import SandboxPool
from selfexec_jax.tools import grade as tool

TWICE = Problem(
    "twice",
    "Double it.",
    "call",
    "f",
    private_tests=(Test("2", "4"), Test("0", "0")),
    source="humaneval",
    solutions=("def f(x): return x * 2",),
)
ECHO = Problem("echo", "Say it.", public_tests=(Test("a", "a"),), private_tests=(Test("b", "b"),))
OUTPUT = Problem("out", "", "call", "f", private_tests=(Test("3", "[6]"),), solutions=("def f(x): return [x * 2]",))


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(workers=2, min_tier="rlimits_only") as pool:
        yield pool


def test_programs(pool):
    samples = [
        Sample("twice", "def f(x): return x + x"),
        Sample("twice", "def f(x): return 4"),
        Sample("echo", "print(input())"),
        Sample("twice", "def f("),
        Sample("twice", "calls = []\ndef f(x):\n    calls.append(x)\n    return x * 2 * len(calls)"),
        Sample("echo", "import sys; sys.exit(0)"),
    ]
    found = list(grade("program", [TWICE, ECHO], numbered(samples), pool))
    assert [one.label for one in found] == ["ok", "wrong", "ok", "wrong", "ok", "wrong"]
    assert [(one.problem, one.index) for one in found][-2:] == [("twice", 3), ("echo", 1)]


def test_outputs_need_no_pool_and_inputs_are_run_as_literals(pool):
    samples = numbered([Sample("out", text) for text in ("[6]", "[ANSWER][ 6 ][/ANSWER]", "[7]", "f(3)", "")])
    found = list(grade("output", [OUTPUT], samples, None))
    assert [one.label for one in found] == ["ok", "ok", "wrong", "not_literal", "no_answer"]
    assert [one.answer for one in found] == ["[6]", "[6]", "[7]", "f(3)", None]
    samples = numbered([Sample("out", text) for text in ("3", "f(3.0)", "f(x=3)", "f(4)", "f(len('abc'))", "3, 4")])
    found = [one.label for one in grade("input", [OUTPUT], samples, pool)]
    assert found == ["ok", "ok", "ok", "wrong", "not_literal", "wrong"]


def test_what_was_cut_off_is_truncated_whatever_it_says(pool):
    cut = numbered([Sample("out", "[6]", finish_reason="length"), Sample("out", "3", finish_reason="stop")])
    assert [one.label for one in grade("output", [OUTPUT], cut, None)] == ["truncated", "wrong"]
    assert [one.label for one in grade("input", [OUTPUT], cut, pool)] == ["truncated", "ok"]
    cut = numbered([Sample("twice", "def f(x): return x + x", finish_reason="length")])
    assert [one.label for one in grade("program", [TWICE], cut, pool)] == ["truncated"]


def test_figures_count_every_problem_and_every_sample():
    graded = [
        Graded("twice", i, label, answer)
        for i, (label, answer) in enumerate([("ok", "4"), ("wrong", "5"), ("ok", "4"), ("undecided", None)])
    ]
    graded.append(Graded("out", 0, "ok", "[6]"))
    problems = [TWICE, OUTPUT, ECHO]
    found = figures(problems, graded, [1, 4], seed=0)
    assert found["pass_at_1"]["value"] == pytest.approx((0.5 + 0.25 + 0) / 3)
    assert found["pass_at_4"]["value"] == pytest.approx(2 / 3) and found["pass_at_4"]["n"] == 3
    assert found["majority_at_4"]["value"] == pytest.approx(2 / 3)
    assert labels(problems, graded) == {"no_answer": 7, "ok": 3, "wrong": 1, "undecided": 1}
    for k in (0, 5):
        with pytest.raises(ValueError, match="between 1 and the number of samples a problem, which is 4"):
            figures(problems, graded, [k], seed=0)


def test_the_shortest_of_k():
    graded = [Graded("out", i, label, "[6]", n) for i, (label, n) in enumerate([("wrong", 9), ("ok", 2), ("wrong", 5)])]
    assert figures([OUTPUT], graded, [3], seed=0)["short1_at_3"]["value"] == 1


@pytest.fixture
def files(tmp_path):
    save_problems(tmp_path / "problems.jsonl", [TWICE, ECHO])
    texts = {"twice": ["def f(x): return x * 2", "def f(x): return 4"], "echo": ["print(input())", "print('a')"]}
    rows = [json.dumps({"problem": name, "text": text}) for name, each in texts.items() for text in each]
    (tmp_path / "samples.jsonl").write_text("\n".join(rows) + "\n")
    return tmp_path


def run(files, *flags):
    return tool.main(
        [
            "--benchmark",
            "lcb",
            "--data",
            str(files / "problems.jsonl"),
            "--min-tier",
            "rlimits_only",
            "--samples",
            str(files / "samples.jsonl"),
            *flags,
        ]
    )


def test_the_command_goes_on_where_it_was(files, capsys, monkeypatch):
    assert run(files, "--k", "1,2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["problems"], found["samples"], found["labels"]) == (2, 4, {"ok": 2, "wrong": 2})
    assert found["figures"]["pass_at_1"]["value"] == 0.5 and found["figures"]["pass_at_2"]["value"] == 1
    verdicts = files / "samples.jsonl.lcb.verdicts.jsonl"
    rows = [json.loads(line) for line in verdicts.read_text().splitlines()]
    assert [(row["problem"], row["index"], row["label"]) for row in rows][:2] == [
        ("twice", 0, "ok"),
        ("twice", 1, "wrong"),
    ]
    lines = verdicts.read_text().splitlines(keepends=True)
    verdicts.write_text("".join(lines[:2]) + lines[2][:20])  # killed while it wrote the third
    judged = []
    real = tool.grade
    monkeypatch.setattr(tool, "grade", lambda *args: judged.append(args[2]) or real(*args))
    assert run(files) == 0
    assert [sample.problem for _, sample in judged[0]] == ["echo", "echo"]
    assert "| pass_at_1 | 50.00 |" in capsys.readouterr().out
    assert run(files) == 0 and judged[1] == []


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--k", "3"], "k must lie between 1"),
        (["--k", "x"], "invalid literal"),
        (["--window", "2024"], "--window"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl: no such problem file"),
        (["--benchmark", "lbc"], "unknown benchmark 'lbc'"),
        (["--samples", "nowhere.jsonl"], "nowhere.jsonl: cannot be read"),
        (["--benchmark", "humaneval"], "but humaneval has 164"),
    ],
)
def test_bad_input_is_one_line(files, capsys, flags, named):
    assert run(files, *flags) == 2
    out, err = capsys.readouterr()
    assert out == "" and named in err and err.count("\n") == 1


def test_a_file_of_something_else_is_not_overwritten(files, capsys):
    (files / "notes").write_text("my notes\n")
    assert run(files, "--out", str(files / "notes")) == 2
    assert "notes:1: not a verdict" in capsys.readouterr().err
    assert (files / "notes").read_text() == "my notes\n"
    (files / "notes").write_text("no line end")
    assert run(files, "--out", str(files / "notes")) == 2
    assert (files / "notes").read_text() == "no line end"
