"""Parsing in several threads at once."""

import ast
import gc
import re
import sys
import threading
from pathlib import Path

import selfexec_jax
from selfexec_jax.problems import syntax

SOURCE = "def f(x):\n    for i in range(3):\n        if i:\n            x += [i * 2, (i, x[0])][0]\n    return x\n" * 5
PACKAGE = Path(selfexec_jax.__file__).parent


def test_threads_do_not_disturb_each_other():
    """Garbage is collected all the time here, and its callback lets other threads go on."""
    wanted, wrong = ast.dump(ast.parse(SOURCE)), []

    def parses():
        for i in range(100):
            try:
                assert i or ast.dump(syntax.parse(SOURCE)) == wanted
                syntax.parse(SOURCE)
                assert syntax.literal_eval("[1, {2: (3, 4)}]") == [1, {2: (3, 4)}]
            except BaseException as error:  # noqa: BLE001  of whatever kind
                wrong.append(error)

    callback = lambda phase, info: sum(range(50))  # noqa: E731
    before, pace = gc.get_threshold(), sys.getswitchinterval()
    gc.callbacks.append(callback)
    gc.set_threshold(20, 1000, 1000)
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=parses) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.callbacks.remove(callback)
        gc.set_threshold(*before)
        sys.setswitchinterval(pace)
    assert not wrong


def test_nothing_that_threads_use_parses_otherwise():
    own = {"problems/syntax.py", "problems/exchange.py", "tools/configs.py"}  # where there is one thread
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if name not in own and not name.startswith("sandbox/"):
            assert not re.search(r"\bast\.(parse|literal_eval)\(", path.read_text()), name
