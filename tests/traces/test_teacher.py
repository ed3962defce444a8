"""A teacher's wording is kept only while its claims check: against a server on this machine."""

import json

import pytest
from served import serving

from selfexec_jax.tools import narrate as tool
from selfexec_jax.traces import narrate
from selfexec_jax.traces.dataset import read
from selfexec_jax.traces.teacher import Teacher, more_inputs, rewrite

pytest.importorskip("openai")
SOURCE = "t = 0\nfor x in [2, 3]:\n    t += x\nprint(t)\n"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with serving() as server:
        yield server


@pytest.fixture
def teacher(server):
    return Teacher(server.url, "any", at_once=1)


def answer(server, *answers):
    """Has the server answer each request by the next of some functions of the account that is asked about."""

    def of(body):
        account = body["messages"][0]["content"].partition("Account:\n")[2]
        return answers[min(len(server.asked), len(answers)) - 1](account)

    server.answer = of


def reworded(account):
    return account.replace("becomes", "is now set to").replace("it prints", "it outputs")


def wrong(account):
    return reworded(account).replace("5", "6")


def test_right_rewordings_are_kept_and_wrong_ones_asked_for_again(traced, server, teacher):
    trace = traced(SOURCE).trace
    answer(server, wrong, reworded, wrong, wrong)
    found, counts = rewrite([trace, trace], teacher)
    assert found[0].text == reworded(narrate(trace).text)
    assert (found[1].text, found[1].reason) == (None, "wrong value")
    assert counts == {"asked": 2, "kept": 1, "rejection_rate": 0.5}
    assert len(server.asked) == 4
    assert SOURCE in server.asked[0]["messages"][0]["content"]


def test_nothing_is_kept_of_an_empty_answer(traced, server, teacher):
    answer(server, lambda account: "")
    found, counts = rewrite([traced(SOURCE).trace], teacher)
    assert (found[0].text, counts["rejection_rate"]) == (None, 1.0)


SAID = "Here they are:\n5\nf(7)\n- `x=[1, 2]`\n__import__('os')\n2\n5\n-1\n0\n9"


def test_inputs_from_a_teacher_are_literals_that_are_new(server, teacher):
    answer(server, lambda _: SAID)
    assert more_inputs("def f(x): return x", "f", ["2"], 4, teacher) == ["5", "7", "x=[1, 2]", "-1"]
    question = server.asked[0]["messages"][0]["content"]
    assert "def f(x)" in question and "\n2\n" in question and "Write 4 further" in question


def test_the_command_narrates_what_the_teacher_gives_and_what_runs(server, teacher, tmp_path, capsys):
    answer(server, lambda _: SAID)
    problem = {"id": "p", "statement": "", "kind": "call", "entry_point": "f", "solutions": ["def f(x): return 7 // x"],
               "private_tests": [{"input": "2", "output": "3"}]}  # fmt: skip
    (tmp_path / "problems.jsonl").write_text(json.dumps(problem) + "\n")
    flags = ["--asked", "5", "--teacher", teacher.url, "--teacher-model", "any", "--min-tier", "rlimits_only"]
    assert tool.main([str(tmp_path / "problems.jsonl"), "--out", str(tmp_path / "out"), *flags]) == 0
    rows = list(read(tmp_path / "out"))
    assert [row["call"] for row in rows] == ["f(2)", "f(5)", "f(7)", "f(-1)"]  # a list and 0 do not run
    assert "left out, runtime_error: 2" in capsys.readouterr().out
    assert tool.main([str(tmp_path / "problems.jsonl"), "--out", str(tmp_path / "other"), "--asked", "5"]) == 2
    assert "--asked needs a --teacher" in capsys.readouterr().err
