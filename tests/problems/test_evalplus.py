"""Problems as EvalPlus releases them, and its own verdicts on samples that we write, where it is installed."""

import json
import os
import shutil
import subprocess

import pytest

from selfexec_jax.problems.formats import read_row
from selfexec_jax.problems.judge import judge
from selfexec_jax.problems.samples import Sample, read_samples, write_samples

ROWS = [
    {
        "task_id": "HumanEval/0",
        "entry_point": "f",
        "prompt": 'def f(xs):\n    """Sort.\n    """\n',
        "contract": "",
        "canonical_solution": "    return sorted(xs)\n",
        "base_input": [[[2, 1]]],
        "plus_input": [[[]], [[3, 1, 2]]],
        "atol": 0,
    },
    {
        "task_id": "HumanEval/1",
        "entry_point": "half",
        "prompt": "import math\n\ndef half(x):\n",
        "contract": "",
        "canonical_solution": "    return helper(x)\n\ndef helper(x):\n    return x / 2\n",
        "base_input": [[1], [3.0]],
        "plus_input": [[-7]],
        "atol": 1e-6,
    },
    {
        "task_id": "HumanEval/2",
        "entry_point": "g",
        "prompt": "def g(s, n):\n",
        "contract": "",
        "canonical_solution": "    return {c: s.count(c) * n for c in s}\n",
        "base_input": [["ab", 2]],
        "plus_input": [["", 1]],
        "atol": 0,
    },
]
SAMPLES = {  # program -> whether it passes all tests
    "HumanEval/0": {
        "def f(xs): return sorted(xs)": True,
        "def f(xs): return xs[::-1]": False,
        "def f(xs): xs.sort()": False,
        "def f(xs): return tuple(sorted(xs))": False,
        "def f(xs):\n    xs.sort()\n    return xs": True,
        "def f(xs): return sorted(xs) if len(xs) < 3 else xs": False,
        "def f(": False,
        "f = sorted": True,
    },
    "HumanEval/1": {
        "def half(x): return x / 2": True,
        "def half(x): return x / 2 + 1e-8": True,
        "def half(x): return x // 2": False,
        "def half(x): return x / 2 + 1e-3": False,
        "def half(x): return str(x / 2)": False,
        "half = None": False,
    },
    "HumanEval/2": {
        "def g(s, n): return {c: n * s.count(c) for c in set(s)}": True,
        "def g(s, n): return {}": False,
        "from collections import Counter\ndef g(s, n): return {c: k * n for c, k in Counter(s).items()}": True,
        "def g(s, n): 1 // 0": False,
    },
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["task_id"])
def test_verdicts_on_its_releases(pool, row):
    problem = read_row(row)
    assert judge(problem.solutions[0], problem, problem.private_tests, pool).result(60).status == "passed"
    futures = {text: judge(text, problem, problem.private_tests, pool) for text in SAMPLES[row["task_id"]]}
    found = {text: future.result(60).status == "passed" for text, future in futures.items()}
    assert found == SAMPLES[row["task_id"]]


@pytest.mark.parametrize(
    ("task", "args", "solution"),
    [
        ("Mbpp/124", ["0.0", "1j"], "import cmath\ndef f(a, b): return round(cmath.phase(a + b), 3)\n"),
        ("Mbpp/2", [[3, 4], [4, 5]], "def f(a, b): return a + (5,) + b\n"),
        ("Mbpp/63", [[[3, 4]]], "def f(a): return a[0] + (5,)\n"),
        ("Mbpp/75", [[[6, 24]], 6], "def f(a, k): return [x + (k,) for x in a]\n"),
        ("Mbpp/106", [[5], [9]], "def f(a, b): return tuple(a) + b\n"),
        ("Mbpp/307", [[1, [2]], 0, 50], "def f(a, m, n): return a + (m, n)\n"),
        ("Mbpp/278", [[1, [2, [3]]]], "def f(a): return a + a[1] + a[1][1]\n"),
        ("Mbpp/115", [[[1], []]], "def f(a): return a[0] | {2}, a[1] == {}\n"),
        ("Mbpp/252", ["3j"], "def f(a): return a.imag\n"),
        ("Mbpp/722", [{"a": [6.2, 70]}, 6.0], "def f(a, h): return a['a'] + (h,)\n"),
        ("Mbpp/9", [[1e999, 2.5]], "def f(a): return max(a) > 1e308\n"),
    ],
)
def test_arguments_that_json_cannot_say(pool, task, args, solution):
    row = {"task_id": task, "prompt": "", "entry_point": "f", "canonical_solution": solution, "base_input": [args],
           "plus_input": [], "atol": 0}  # fmt: skip
    problem = read_row(json.loads(json.dumps(row)))
    for text, status in ((solution, "passed"), ("def f(*args): return 0\n", "failed")):
        assert judge(text, problem, problem.private_tests, pool).result(60).status == status


@pytest.mark.skipif(shutil.which("evalplus.evaluate") is None, reason="evalplus is not installed")
def test_evalplus_says_the_same_of_samples_that_we_write(tmp_path):
    (tmp_path / "plus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    samples = [Sample(name, text) for name, each in SAMPLES.items() for text in each]
    write_samples(tmp_path / "samples.jsonl", samples, "evalplus")
    assert read_samples(tmp_path / "samples.jsonl", [read_row(row) for row in ROWS]) == samples
    environment = os.environ | {"HUMANEVAL_OVERRIDE_PATH": str(tmp_path / "plus.jsonl"), "HOME": str(tmp_path)}
    command = ["evalplus.evaluate", "humaneval", "--samples", str(tmp_path / "samples.jsonl"), "--parallel", "2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    (results,) = tmp_path.glob("samples*eval_results.json")
    for name, each in json.loads(results.read_text())["eval"].items():
        passed = {one["solution"]: one["base_status"] == one["plus_status"] == "pass" for one in each}
        assert passed == SAMPLES[name]
