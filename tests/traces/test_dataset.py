"""Many narrated runs: what is kept and why not, killed at any time and gone on with, the same bytes as in one go."""

import gzip
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import grain
import pytest

from selfexec_jax.problems import Problem, Test
from selfexec_jax.problems.datasets import save_problems
from selfexec_jax.tools import narrate as tool
from selfexec_jax.traces.dataset import Recipe, build, jobs_of, read, summary

SQUARES = """n = int(input())
print([i * i for i in range(n)])
"""


@pytest.fixture
def programs(tmp_path):
    folder = tmp_path / "programs"
    folder.mkdir()
    for i in range(40):
        (folder / f"p{i:02d}.py").write_text(SQUARES + f"print({i})\n")
        (folder / f"p{i:02d}.in").write_text(f"{i % 5}\n")
    (folder / "q0.py").write_text("while True: x = 1\n")
    (folder / "q1.py").write_text("1 / 0\n")
    (folder / "q2.py").write_text("def f(:\n")
    (folder / "q3.py").write_text("for i in range(10**5): pass\n")
    (folder / "q4.py").write_text("import os\nos.write(1, b'x')\n")
    return folder


def command(programs, out, *more):
    return [str(programs), "--out", str(out), "--styles=full,brief,cwm,direct", "--per-shard=6", "--cpu-s=0.5",
            "--workers=2", "--min-tier=rlimits_only", *more]  # fmt: skip


def contents(out):
    return {file.name: file.read_bytes() for file in sorted(out.iterdir())}


def test_what_is_narrated_and_what_is_left_out(programs, tmp_path, capsys):
    out = tmp_path / "out"
    assert tool.main(command(programs, out, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["runs"], found["rows"], found["programs"]) == (45, 40, 40)
    assert found["left_out"] == {
        "runtime_error": 1, "syntax_error": 1, "timeout: events": 1, "trace_budget: events": 1,
        "ok: its output is not all in the trace": 1,
    }  # fmt: skip
    assert found["statuses"]["ok"] == 41
    assert found["bytes"]["direct"] == 0 < found["bytes"]["brief"] < found["bytes"]["full"]
    rows = list(read(out))
    assert [row["id"] for row in rows] == [f"p{i:02d}.py" for i in range(40)]
    assert rows[3]["output"] == "[0, 1, 4]\n3\n"
    assert rows[3]["narrations"]["full"].endswith("it prints 3.")
    source = grain.sources.ArrayRecordDataSource([str(file) for file in sorted(out.glob("*.array_record"))])
    assert len(source) == 40
    assert json.loads(source[3]) == rows[3]


def test_killed_and_gone_on_with_it_is_the_same(programs, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert tool.main(command(programs, whole)) == 0
    run = [sys.executable, "-m", "selfexec_jax.tools.narrate", *command(programs, broken)]
    for n_shards in (1, 3):
        process = subprocess.Popen(run, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(list(broken.glob("shard-*.json"))) < n_shards and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert 3 <= len(list(broken.glob("shard-*.json"))) < 8
    assert subprocess.run(run, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode == 0
    left = {name: data for name, data in contents(broken).items() if not name.startswith(".")}
    assert left == contents(whole)


def test_another_recipe_is_another_data_set(programs, tmp_path, capsys):
    recipe = Recipe(per_shard=50)
    jobs = jobs_of(programs, recipe)[:3]
    assert list(build(jobs, recipe, tmp_path / "out", 1, "rlimits_only")) == [(0, 1), (1, 1)]
    assert list(build(jobs, recipe, tmp_path / "out", 1, "rlimits_only")) == [(1, 1)]
    with pytest.raises(ValueError, match="holds another data set"):
        list(build(jobs[:2], recipe, tmp_path / "out", 1, "rlimits_only"))
    assert summary(tmp_path / "out")["rows"] == 3


def test_functions_get_more_inputs_and_those_that_run_are_kept(tmp_path):
    problem = {
        "id": "first", "statement": "", "kind": "call", "entry_point": "f", "source": "here",
        "solutions": ["def f(xs, n):\n    assert n >= 0\n    return xs[:n]\n"],
        "public_tests": [{"input": "[1, 2], 1", "output": "[1]"}],
    }  # fmt: skip
    file = tmp_path / "problems.jsonl"
    file.write_text(json.dumps(problem) + "\n")
    recipe = Recipe(styles=("compact",), mutated=30, per_shard=100)
    jobs = jobs_of(file, recipe)
    assert len(jobs) == 31
    list(build(jobs, recipe, tmp_path / "out", 1, "rlimits_only"))
    found = summary(tmp_path / "out")
    assert found["rows"] + sum(found["left_out"].values()) == 31
    assert found["left_out"]["runtime_error"] > 0  # a negative number
    rows = list(read(tmp_path / "out"))
    assert all(eval(row["call"], {"f": lambda xs, n: xs[:n]}) == eval(row["output"]) for row in rows)


def test_rows_of_programs(tmp_path, capsys):
    file = tmp_path / "programs.jsonl"
    half = "try:\n    raise ValueError('\\ud800\u2028')\nexcept ValueError:\n    print(1)\n"  # half a pair
    rows = [{"source": "print(input())", "stdin": "a\n"}, {"source": "def f(x): return x", "call": "f(2)", "id": "two"},
            {"source": half, "stdin": ""}]  # fmt: skip
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    assert tool.main([str(file), "--out", str(tmp_path / "out"), "--min-tier=rlimits_only", "--workers=1"]) == 0
    assert "3 of 3 runs narrated, 3 programs" in capsys.readouterr().out
    assert [(row["id"], row["output"]) for row in read(tmp_path / "out")] == [("1", "a\n"), ("two", "2"), ("3", "1\n")]


def test_problems_in_a_compressed_file(tmp_path, capsys):
    problem = Problem("p", "", public_tests=(Test("2\n", "2\n"),), solutions=("print(input())",))
    save_problems(tmp_path / "own.jsonl", [problem])
    file = tmp_path / "own.jsonl.gz"
    file.write_bytes(gzip.compress((tmp_path / "own.jsonl").read_bytes()))
    assert tool.main([str(file), "--out", str(tmp_path / "out"), "--min-tier=rlimits_only", "--workers=1"]) == 0
    assert "1 of 1 runs narrated" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--styles=full,plain"], "--styles: unknown style 'plain'"),
        (["--tokenizer=/no/such.model"], "/no/such.model"),
    ],
)
def test_bad_input_gets_one_line(programs, tmp_path, capsys, change, says):
    assert tool.main([*command(programs, tmp_path / "out"), *change]) == 2
    captured = capsys.readouterr().err
    assert says in captured
    assert captured.count("\n") == 1


def test_a_file_of_something_else_is_refused(tmp_path, capsys):
    file = tmp_path / "x.jsonl"
    for text, says in (('{"source": 3}\n', "x.jsonl:1"), ("nonsense\n", "x.jsonl"), ("", "x.jsonl")):
        file.write_text(text)
        assert tool.main([str(file), "--out", str(tmp_path / "out")]) == 2
        assert says in capsys.readouterr().err
    assert tool.main([str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert not pathlib.Path(tmp_path / "out").exists()
