"""Evaluation problems are taken out of further training data, and an evaluation set is no training data at all."""

import json

import pytest

from selfexec_jax.configs import tiny
from selfexec_jax.problems import Problem, Test
from selfexec_jax.problems.datasets import save_problems
from selfexec_jax.stages.decontaminate import decontaminate, removed_rows
from selfexec_jax.stages.sft import build_examples
from selfexec_jax.stages.workdir import Workdir

STATEMENT = " ".join(f"In town {i} there are {i + 3} houses and street {i} has number {7 * i}." for i in range(9))


DOUBLE = Problem("double", "Double.", solutions=("print(2 * int(input()))",), wrong_solutions=("print(input())",),
                 public_tests=(Test("1", "2"),))  # fmt: skip


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFEXEC_DATA", str(tmp_path / "evaluation"))
    (tmp_path / "evaluation").mkdir()
    save_problems(tmp_path / "evaluation" / "mbpp.jsonl", [Problem("towns", STATEMENT)])
    rows = [{"input": f"What is {i} times {i}?", "output": f"{i * i}"} for i in range(6)]
    rows[3]["input"] = f"Solve this. {STATEMENT} Answer in Python."
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tiny.get_config()
    config.sft.sources = ((str(tmp_path / "more.jsonl"), 0.5, "opencode"),)
    return config


def test_what_matches_is_written_down_and_not_trained_on(config, tmp_path):
    workdir = Workdir(tmp_path / "run")
    path = config.sft.sources[0][0]
    assert decontaminate(config, workdir) == {path: {"rows": 6, "removed": 1, "contains": 1}}
    (row,) = workdir.read_rows(workdir.data / "removed.jsonl.gz")
    assert row == {"source": path, "row": 4, "how": "contains", "set": "mbpp.jsonl", "problem": "towns"}
    assert removed_rows(workdir) == {(path, 4)}
    save_problems(workdir.data / "train.jsonl", [DOUBLE])
    workdir.write_rows(workdir.data / "narrations.jsonl.gz", [])
    assert len(build_examples(config, workdir, Letters())[path]) == 5


class Letters:
    """A tokenizer of letters."""

    def encode_prompt(self, messages):
        return [ord(letter) for message in messages for letter in message["content"]]

    def encode_answer(self, text):
        return [ord(letter) for letter in text]


def test_an_evaluation_set_is_refused(config, tmp_path):
    workdir = Workdir(tmp_path / "run")
    for name in (str(tmp_path / "evaluation" / "mbpp.jsonl"), "humaneval"):
        config.sft.sources = ((name, 0.5, "opencode"),)
        with pytest.raises(ValueError, match=f"sft.sources: {name} is an evaluation set"):
            decontaminate(config, workdir)
    copied = tmp_path / "copied.jsonl"
    rows = [{"input": text, "output": ""} for text in (STATEMENT, STATEMENT, "Hi.")]
    copied.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config.sft.sources = ((str(copied), 0.5, "opencode"),)
    with pytest.raises(ValueError, match=r"copied.jsonl is made of evaluation problems \(2 of 3 rows: mbpp.jsonl\)"):
        decontaminate(config, workdir)
    assert not (workdir.data / "removed.jsonl.gz").exists()


def test_without_further_data_there_is_nothing_to_do(config, tmp_path):
    config.sft.sources = ()
    assert decontaminate(config, Workdir(tmp_path / "run")) == {} and removed_rows(Workdir(tmp_path / "run")) == set()
