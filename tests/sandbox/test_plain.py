"""What a program prints and how it ends is what a plain interpreter makes of it, down to the corners."""

import os
import subprocess
import sys

import pytest

from selfexec_jax.sandbox import Run, SandboxPool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the jail is built of Linux mechanisms")

_BYE = "class A:\n    def __del__(self): print('bye')\n"
PROGRAMS = {
    "a carriage return is a character": "import sys\nprint(repr(input()), repr(sys.stdin.read()))",
    "a byte order mark": "\ufeffprint(1)",
    "its own file": "import os\nprint(type(__file__), __cached__, __annotations__, __name__)",
    "its own source": "import inspect\ndef f():\n    return 1\nprint(inspect.getsource(f))",
    "an object dies last": f"{_BYE}a = A()\nprint(1)",
    "a cycle dies last": f"{_BYE}a = A(); a.me = a\nprint(1)",
    "a local of an uncaught error": f"{_BYE}def main():\n    a = A()\n    raise ValueError\nmain()",
    "a generator is closed last": "def g():\n    try: yield 1\n    finally: print('fin')\nit = g()\nnext(it)\n1/0",
    "exit handlers": "import atexit\natexit.register(print, 'a')\natexit.register(print, 'b')\nprint(1)",
    "a hook for uncaught errors": "import sys\nsys.excepthook = lambda *a: print('hook', a[0])\n1/0",
    "exit 256 is 0": "import sys\nsys.exit(256)",
    "exit True": "import sys\nsys.exit(True)",
    "exit False": "import sys\nsys.exit(False)",
    "exit by a text": "import sys\nsys.exit('')",
    "exit by a huge number": "import sys\nsys.exit(1 << 70)",
    "lost output": "import os\nprint('x')\nos.close(1)",
    "a closed stream": "import sys\nprint('x')\nsys.stdout.close()",
    "a detached stream": "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.detach())\nprint(1)",
    "a stream that fails": "import sys\nclass O:\n    def flush(self): raise OSError\nsys.stdout = O()",
    "closing what is not its own": "import os\nprint('x')\nos.closerange(3, 64)",
    "an event loop": "import asyncio\nasync def m():\n    await asyncio.sleep(0)\n    print('hi')\nasyncio.run(m())",
    "threads that outlive main": "import threading, time\n"
    "threading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()\nprint('main')",
}


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(workers=1, min_tier="rlimits_only") as pool:
        yield pool


def plainly(source: str, stdin: str, path) -> tuple[str, bool]:
    path.write_text(source, newline="")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ran = subprocess.run([sys.executable, path], input=stdin.encode(), capture_output=True, env=environment)
    return ran.stdout.decode(), ran.returncode == 0


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_runs_as_in_a_plain_interpreter(pool, name, tmp_path):
    stdin = "a\rb\r\nc\n"
    execution = pool.submit(Run(PROGRAMS[name], stdin=stdin)).result(30)
    assert (execution.stdout, execution.status == "ok") == plainly(PROGRAMS[name], stdin, tmp_path / "program.py")


def test_a_program_recurses_as_deep_as_in_a_plain_interpreter(pool, tmp_path):
    source = """def f(n):
    try:
        return f(n + 1)
    except RecursionError:
        return n
print(f(1))"""
    deep = int(pool.submit(Run(source)).result(30).stdout)
    assert int(plainly(source, "", tmp_path / "program.py")[0]) - 2 <= deep  # two frames hold the program
