"""The command `python -m selfexec_jax.tools.trace`."""

import json

import pytest

from selfexec_jax.sandbox import SandboxPool, SandboxTooWeak
from selfexec_jax.tools.trace import main


@pytest.fixture(scope="module")
def sandboxed():
    try:
        SandboxPool(workers=1).__enter__().__exit__(None, None, None)
    except (SandboxTooWeak, RuntimeError) as error:
        pytest.skip(f"this machine has no sandbox: {error}")


def test_it_prints_the_narration(tmp_path, capsys, sandboxed):
    program, stdin = tmp_path / "p.py", tmp_path / "in.txt"
    program.write_text("n = int(input())\nprint(n * 2)\ndef f(x):\n    return -x\n")
    stdin.write_text("4\n")
    assert main([str(program), "--stdin", str(stdin), "--style", "compact"]) == 0
    assert capsys.readouterr().out == "n=4\n4*2=8;print 8\n"
    program.write_text("def f(x):\n    return x + 1\n")
    assert main([str(program), "--call", "f(3)", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["output"], told["steps"][0]["kind"]) == ("ok", "4", "Call")


def test_bad_requests_are_one_line_and_exit_2(tmp_path, capsys, sandboxed):
    program = tmp_path / "p.py"
    program.write_text("x = = 1")
    for argv in ([str(tmp_path / "none.py")], [str(program)]):
        assert main(argv) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert argv[0].rsplit("/", 1)[1] in err
