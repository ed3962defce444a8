"""Further sources of fine-tuning data: other projects' rows and our own narrated runs become questions and answers."""

import gzip
import json

import pytest

from selfexec_jax.sandbox import Run, SandboxPool, TraceBudget
from selfexec_jax.tasks import mixture, predict
from selfexec_jax.traces import narrate
from selfexec_jax.traces.dataset import Job, Recipe, build

MATH = {
    "expected_answer": "4",
    "problem_type": "has_answer_extracted",
    "problem_source": "forum",
    "generation_model": "m",
    "pass_rate_72b_tir": "0.9",
    "problem": "What is 2 + 2?",
    "generated_solution": "<think>2 + 2</think> It is 4.",
    "inference_mode": "cot",
}
CODE = {
    "id": "1",
    "input": "Print 1.",
    "output": "<think>easy</think>\n```python\nprint(1)\n```",
    "source": "codeforces",
    "license": "cc-by-4.0",
    "dataset": "apps",
    "split": "train",
    "difficulty": "EASY",
    "solution": "print(1)",
}


def test_rows_of_others(tmp_path):
    math, code = tmp_path / "math.jsonl", tmp_path / "code.jsonl.gz"
    math.write_text(json.dumps(MATH) + "\n" + json.dumps(MATH) + "\n")
    code.write_bytes(gzip.compress((json.dumps(CODE) + "\n").encode()))
    pairs = list(mixture.read(math, "openmath", "paper", "full"))
    assert pairs == [([{"role": "user", "content": "What is 2 + 2?"}], MATH["generated_solution"])] * 2
    assert list(mixture.read(code, "opencode", "paper", "full")) == [
        ([{"role": "user", "content": "Print 1."}], CODE["output"])
    ]


def test_narrated_runs_become_what_prediction_asks(tmp_path):
    jobs = [Job("a", "print(int(input()) + 1)", "4\n", None), Job("b", "def f(x): return x * 2", None, "f(3)")]
    list(build(jobs, Recipe(styles=("full", "brief")), tmp_path / "out", 1, "rlimits_only"))
    (stdio, told), (call, answer) = mixture.read(tmp_path / "out", "narrated", "paper", "brief")
    assert stdio == predict.render(jobs[0].source, "4\n", "paper")
    assert call == predict.render(jobs[1].source, "f(3)", "paper", "call")
    with SandboxPool(workers=1, min_tier="rlimits_only") as pool:
        trace = pool.submit(Run(jobs[0].source, "4\n", trace=TraceBudget())).result(30).trace
    assert told == predict.target(narrate(trace, "brief"), "paper")
    assert answer.endswith("assert f(3) == 6")
    assert predict.grade(answer, "6", "call").label == "ok"


@pytest.mark.parametrize(
    ("text", "form", "says"),
    [
        ("{}\n", "openmath", "row 1: no field 'problem'"),
        (json.dumps(MATH) + "\n" + json.dumps(CODE) + "\n", "openmath", "row 2: no field 'problem'"),
        ("[1]\n", "opencode", "row 1"),
        (json.dumps(CODE | {"output": 3}) + "\n", "opencode", "row 1: its question or answer is no text"),
        ("nonsense\n", "opencode", "row 1: not JSON"),
        (json.dumps(CODE) + "\n", "opencodes", "unknown format 'opencodes'; choose from openmath, opencode, narrated"),
    ],
)
def test_another_format_is_named(tmp_path, text, form, says):
    file = tmp_path / "rows.jsonl"
    file.write_text(text)
    with pytest.raises(ValueError, match=says):
        list(mixture.read(file, form, "paper", "full"))
