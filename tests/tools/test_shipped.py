"""The model that comes with the package: its files, the demo and `simulate`."""

import json
import re
import resource
import subprocess
import sys

import pytest

from selfexec_jax.checkpoints import TINY
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.problems.generator import generate
from selfexec_jax.self_execution import Prediction
from selfexec_jax.stages.workdir import config_of
from selfexec_jax.tools import simulate

PROGRAM = "nums = [int(w) for w in input().split()]\nans = 0\nfor x in nums:\n    ans += x\nprint(ans)\n"


def tool(name, *args):
    command = [sys.executable, "-m", f"selfexec_jax.tools.{name}", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


def test_it_is_small_and_its_problems_are_unseen():
    assert sum(file.stat().st_size for file in TINY.iterdir()) < 5e6
    config = config_of(str(TINY))
    splits, _ = generate(config.problems, config.seed)
    heldout = {p.id: p for p in splits["heldout"] + splits["unseen"]}
    shipped = load_problems(TINY / "problems.jsonl")
    assert len(shipped) == 100 and all(heldout[p.id] == p for p in shipped)
    written = {source for p in splits["train"] for source in p.solutions}
    assert not any(written.intersection(p.solutions) for p in shipped)


def test_the_demo_solves_and_repairs_before_it_executes():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = tool("demo")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr[-2000:]
    assert after.ru_utime - before.ru_utime < 100  # of CPU; 60 s on two cores are asked for
    assert "\x1b" not in done.stdout
    chosen, truth = done.stdout.split("Nothing has been executed so far")
    assert all(f" Problem {i} " in chosen for i in range(1, 6)) and chosen.count("picked: candidate") == 5
    assert "the model rewrites it" in chosen.partition(" Repaired ")[2]
    n = re.search(r"(\d) of 5 +(\d) of 5 +(\d+) of 40", truth)
    assert int(n[2]) >= 3 and "repaired: before" in truth


def test_a_program_is_simulated_beside_its_run(tmp_path):
    program, given, page = tmp_path / "sum.py", tmp_path / "in.txt", tmp_path / "page.html"
    program.write_text(PROGRAM)
    given.write_text("4 1 3\n")
    done = tool("simulate", program, "--stdin", given, "--html", page)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"nums=\[4,1,3\] +nums=\[4,1,3\]", done.stdout) and "no divergence" in done.stdout
    assert done.stdout.rstrip().endswith("predicted 8 really 8 ✓") and "simulated, and what" in page.read_text()
    program.write_text(PROGRAM.replace("ans += x", "ans = ans * 17 + x * 977"))  # far from what it was trained on
    done = tool("simulate", program, "--stdin", given, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and not found["is_right"] and "at line" in found["first_divergence"]
    assert found["real"] == f"{(4 * 977 * 17 + 977) * 17 + 3 * 977}\n"


def test_a_run_too_long_to_trace_is_compared_all_the_same(tmp_path, monkeypatch, capsys):
    said = Prediction("19999900000", "ans=0\n=>19999900000", "stop", 5, 5)
    monkeypatch.setattr(simulate, "_simulated", lambda *_: (said, "compact"))
    (tmp_path / "long.py").write_text("ans = 0\nfor i in range(200000):\n    ans += i\nprint(ans)\n")
    assert simulate.main([str(tmp_path / "long.py"), "--min-tier", "rlimits_only", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_right"]


def test_a_page_that_cannot_be_made_leaves_the_one_that_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(simulate, "_simulated", lambda *_: (Prediction("1", "said\n=>1", "stop", 5, 5), "brief"))
    (tmp_path / "p.py").write_text("print(1)\n")
    (tmp_path / "keep.html").write_text("precious")
    args = [str(tmp_path / "p.py"), "--min-tier", "rlimits_only"]
    assert simulate.main([*args, "--html", str(tmp_path / "keep.html")]) == 2
    assert (tmp_path / "keep.html").read_text() == "precious" and "full, compact, numbered" in capsys.readouterr().err
    assert simulate.main(args) == 0 and "L1: it prints 1." in capsys.readouterr().out


def test_commands_without_a_model_start_without_jax():
    code = "import sys, selfexec_jax.tools.simulate, selfexec_jax.tools.demo; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    "args, says",
    [(["nowhere.py"], "nowhere.py"), (["P", "--checkpoint", "nowhere"], "neither a run nor"),
     (["P", "--checkpoint", str(TINY), "--stdin", "LONG"], "tokens with its input")],
)  # fmt: skip
def test_what_cannot_be_simulated_is_one_line(tmp_path, args, says):
    (tmp_path / "P").write_text(PROGRAM)
    (tmp_path / "LONG").write_text("1 " * 2000)
    done = tool("simulate", *(tmp_path / a if a in ("P", "LONG") else a for a in args))
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and says in done.stderr


def test_a_demo_needs_public_tests(tmp_path):
    (tmp_path / "bare.jsonl").write_text('{"id": "a", "statement": "Print 1."}\n')
    done = tool("demo", "--problems", tmp_path / "bare.jsonl")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "public tests" in done.stderr


def test_a_demo_needs_problems(tmp_path):
    done = tool("demo", "--checkpoint", tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "--problems" in done.stderr
