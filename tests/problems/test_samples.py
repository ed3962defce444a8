"""Samples in three formats are read and written; a bad row is named."""

import json

import pytest

from selfexec_jax.problems import Problem
from selfexec_jax.problems.datasets import ProblemFileError
from selfexec_jax.problems.samples import Sample, read_samples, write_samples

PROBLEMS = [Problem("HumanEval/0", "def f(x):\n", "check"), Problem("q-1", "Print 3."), Problem("sample_3", "")]
ROWS = {
    "own.jsonl": ([{"problem": "q-1", "text": "a", "model": "m", "n_tokens": 3}], [Sample("q-1", "a", "m", 3)]),
    "cut.jsonl": (
        [{"problem": "q-1", "text": "a", "finish_reason": "length"}], [Sample("q-1", "a", finish_reason="length")]
    ),
    "solution.jsonl": ([{"task_id": "HumanEval/0", "solution": "s"}], [Sample("HumanEval/0", "s")]),
    "completion.jsonl": (
        [{"task_id": "HumanEval/0", "completion": "    return x"}],
        [Sample("HumanEval/0", "def f(x):\n    return x")],
    ),
    "completion_of_words.jsonl": ([{"task_id": "q-1", "completion": "print(3)"}], [Sample("q-1", "print(3)")]),
    "lcb.json": ([{"question_id": "q-1", "code_list": ["a", "b"]}], [Sample("q-1", "a"), Sample("q-1", "b")]),
    "lcb_outputs.json": ([{"question_id": "q", "test_id": 1, "pred_list": ["4"]}], [Sample("q-1", "4")]),
    "lcb_execution.json": ([{"id": "sample_3", "pred_list": ["4"]}], [Sample("sample_3", "4")]),
    "cruxeval.json": ({"sample_3": ["1", "2"]}, [Sample("sample_3", "1"), Sample("sample_3", "2")]),
}


@pytest.mark.parametrize("name", ROWS)
def test_formats(tmp_path, name):
    rows, samples = ROWS[name]
    text = "".join(f"{json.dumps(row)}\n" for row in rows) if name.endswith("l") else json.dumps(rows)
    (tmp_path / name).write_text(text)
    assert read_samples(tmp_path / name, PROBLEMS) == samples


@pytest.mark.parametrize(("form", "name"), [("own", "a.jsonl"), ("evalplus", "a.jsonl"), ("livecodebench", "a.json")])
def test_what_is_written_is_read(tmp_path, form, name):
    samples = [Sample("q-1", "x"), Sample("q-1", "\u2581\n"), Sample("sample_3", "z")]
    write_samples(tmp_path / name, samples, form)
    assert read_samples(tmp_path / name, PROBLEMS) == samples
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"problem": "q-1"}', "row 1: text"),
        ("{", "row 1: not JSON"),
        ("[]", "row 1: not a JSON object"),
        ("", "no samples"),
        ('{"problem": "q-2", "text": ""}', "'q-2', which is no problem"),
        ('{"task_id": "HumanEval/0"}', "row 1: completion"),
        ('{"problem": "q-1", "text": "a"}\n{"problem": "q-1", "text": 3}', "row 2: text"),
        ('{"question_id": "q-1", "code_list": [1]}', "row 1: code_list"),
        ('{"problem": "q-1", "text": "a", "finish_reason": 3}', "row 1: finish_reason"),
        ('{"problem": "q-1", "text": "a", "n_tokens": "12"}', "row 1: n_tokens"),
        ('{"problem": "q-1", "text": "a", "model": ["m"]}', "row 1: model"),
        ('{"task_id": ["q-1"], "solution": "a"}', "row 1: task_id"),
        ("[" * 100_000, "row 1: not JSON"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, named):
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(ProblemFileError, match=f"a.jsonl: .*{named}"):
        read_samples(tmp_path / "a.jsonl", PROBLEMS)


def test_a_completion_goes_on_with_code_and_not_with_prose(tmp_path):
    prose = Problem("Mbpp/2", "Write a function to add.", kind="check", entry_point="f")
    (tmp_path / "s.jsonl").write_text(json.dumps({"task_id": "Mbpp/2", "completion": "def f(x): return x"}))
    assert read_samples(tmp_path / "s.jsonl", [prose])[0].text == "def f(x): return x"


def test_an_unknown_format_and_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match="choose from own, evalplus, livecodebench"):
        write_samples(tmp_path / "a", [], "xml")
    with pytest.raises(ProblemFileError, match="nowhere"):
        read_samples(tmp_path / "nowhere.jsonl", PROBLEMS)
