"""The command `python -m selfexec_jax.tools.run`."""

import json
import sys

import pytest

from selfexec_jax.sandbox import SandboxPool
from selfexec_jax.tools.run import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the jail is built of Linux mechanisms")


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "p.py"

    def write(source):
        path.write_text(source)
        return str(path)

    return write


def test_it_runs_a_script_and_a_call(program, tmp_path, capsys):
    stdin = tmp_path / "in.txt"
    stdin.write_text("4\n")
    assert main([program("print(int(input()) * 2)"), "--stdin", str(stdin)]) == 0
    out, err = capsys.readouterr()
    assert out == "8\n"
    assert err.startswith("[ok] ")
    assert main([program("def f(x): return [x]"), "--call", "f('a')", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["value"]) == ("ok", "['a']")


def test_what_went_wrong_is_said(program, capsys):
    assert main([program("while True: pass"), "--cpu-s", "0.1"]) == 1
    assert "[timeout]" in capsys.readouterr().err
    assert main([program("print('\\033[31mred'); 1 / 0")]) == 1
    out, err = capsys.readouterr()
    assert "\033" not in out
    assert "ZeroDivisionError: division by zero" in err


@pytest.mark.parametrize(
    "argv", [["none.py"], ["--memory-mb", "0"], ["--cpu-s", "0.001"], ["--wall-s", "0"], ["--min-tier", "none"]]
)
def test_a_bad_request_is_one_line_and_exit_2(program, capsys, argv):
    assert main(argv if argv == ["none.py"] else [program("print(1)"), *argv]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert argv[-1] in err


def test_another_platform_is_one_line(program, capsys, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert main([program("print(1)")]) == 2
    assert "no sandbox on darwin" in capsys.readouterr().err


def test_a_weak_machine_is_refused_in_one_line(program, capsys, monkeypatch):
    monkeypatch.setenv("SELFEXEC_SANDBOX_MASK", "seccomp")
    assert main([program("print(1)")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert 'min_tier="rlimits_only"' in err
    assert main([program("print(1)"), "--min-tier", "rlimits_only"]) == 0


def test_capabilities(capsys):
    assert main(["--capabilities"]) == 0
    out = capsys.readouterr().out
    with SandboxPool(workers=1, min_tier="rlimits_only") as pool:
        assert out.startswith(f"tier: {pool.capabilities()['tier']}\n")
    assert out.count("denied ") + out.count("possible ") == 9
    assert main(["--capabilities", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evidence"]["mechanisms"]
