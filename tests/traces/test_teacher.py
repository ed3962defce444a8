"""A teacher's wording is kept only while its claims check: against a server on this machine."""

import json

import pytest
from served import serving

from selfexec_jax.tools import narrate as tool
from selfexec_jax.traces import narrate
from selfexec_jax.traces.dataset import read
from selfexec_jax.traces.teacher import Teacher

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
    return reworded(account).replace("x is 3", "x is 9")


def test_right_rewordings_are_kept_and_wrong_ones_asked_for_again(traced, server, teacher):
    trace = traced(SOURCE).trace
    answer(server, wrong, wrong, reworded, wrong)
    found = teacher.rewrite([trace, traced(SOURCE.replace("2", "4")).trace])
    assert found[0].text == reworded(narrate(trace).text)
    assert (found[1].text, found[1].reason) == (None, "wrong value")
    assert len(server.asked) == 4
    assert SOURCE in server.asked[0]["messages"][0]["content"]


@pytest.mark.parametrize("said", [lambda account: "", lambda account: reworded(account)[: len(account) // 2]])
def test_nothing_is_kept_of_an_answer_that_is_empty_or_cut_off(traced, server, teacher, said):
    answer(server, said)
    assert teacher.rewrite([traced(SOURCE).trace])[0].text is None


SAID = "Here they are:\n5\nf(7)\n- `x=[1, 2]`\n__import__('os')\n2\n5\n-1\n0\n9"


def test_inputs_from_a_teacher_are_literals_that_are_new(server, teacher):
    answer(server, lambda _: SAID)
    assert teacher.more_inputs("def f(x): return x", "f", ["2"], 4) == ["5", "7", "x=[1, 2]", "-1"]
    question = server.asked[0]["messages"][0]["content"]
    assert "def f(x)" in question and "\n2\n" in question and "Write 4 further" in question


@pytest.fixture
def command(server, tmp_path):
    """Runs the tool on one problem, whose program divides by its input."""

    def run(out, *flags):
        problem = {"id": "p", "statement": "", "kind": "call", "entry_point": "f",
                   "solutions": ["def f(x):\n    return 7 // x"],
                   "private_tests": [{"input": "2", "output": "3"}]}  # fmt: skip
        (tmp_path / "problems.jsonl").write_text(json.dumps(problem) + "\n")
        given = ["--teacher-model", "any", "--min-tier", "rlimits_only", "--workers", "1"]
        return tool.main([str(tmp_path / "problems.jsonl"), "--out", str(tmp_path / out), *given, *flags])

    return run


def test_the_command_narrates_what_the_teacher_gives_and_what_runs(server, command, tmp_path, capsys):
    answer(server, lambda _: SAID)
    assert command("out", "--asked", "5", "--teacher", server.url) == 0
    rows = list(read(tmp_path / "out"))
    assert [row["call"] for row in rows] == ["f(2)", "f(5)", "f(7)", "f(-1)"]  # a list and 0 do not run
    assert "left out, runtime_error: 2" in capsys.readouterr().out
    answer(server, lambda _: "6")
    assert command("out", "--asked", "5", "--teacher", server.url) == 0  # goes on with the same inputs
    assert len(server.asked) == 1 and list(read(tmp_path / "out")) == rows
    assert command("out", "--asked", "5", "--teacher", server.url, "--teacher-model", "other") == 2
    assert "this folder holds another data set" in capsys.readouterr().err
    assert len(server.asked) == 1


def test_the_command_has_narrations_reworded(server, command, tmp_path, capsys):
    answer(server, lambda account: account.replace("so it returns", "which it returns") if "x = 2" in account else "")
    flags = ["--mutated", "3", "--reworded", "2", "--teacher", server.url]
    server.trouble = [(400, "no such model")]
    assert command("out", *flags) == 2
    assert "the server refuses a request" in capsys.readouterr().err
    assert list((tmp_path / "out").glob("shard-*.answers.jsonl"))  # paid for, and used again
    assert command("out", *flags) == 0
    assert not list((tmp_path / "out").glob("shard-*.answers.jsonl"))
    (row,) = read(tmp_path / "out")
    assert row["call"] == "f(2)" and row["narrations"]["full"].endswith("which it returns 3.")
    assert "left out, ok: the teacher's words do not check (skipped): 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--asked", "5"], "--asked needs a --teacher"),
        (["--reworded", "1"], "--reworded needs a --teacher"),
        (["--reworded", "1", "--teacher", "http://x/v1", "--styles", "compact"], "--reworded needs style full"),
    ],
)
def test_what_a_teacher_is_asked_for_must_make_sense(command, capsys, flags, said):
    assert command("out", *flags) == 2
    assert said in capsys.readouterr().err
