"""A Python test and the program it tests, run apart from each other.

A test may say anything of what a program returns, so it has to run; a program that ran in the same process
could change what the test sees. So each runs in a jailed process of its own, and text passes between them
(exchange.py): the test asks for calls, the program answers, and the test runs again with the answers.
"""

from __future__ import annotations

import functools
import json
import marshal
import pathlib
from collections.abc import Callable

from selfexec_jax.problems import exchange
from selfexec_jax.problems.compare import read_literal
from selfexec_jax.sandbox.types import Execution, Limits, Run

_STALLS = 3  # how often the program may give other answers than before, so that the test gets no further
_AHEAD = 256  # what it may ask at a time before it knows an answer
_OWN = ("random",)  # modules that a test has for itself where the program does not use them


class Dialogue:
    """One test and one program; `finish` gets how it went and what was run of the program.

    How: passed, failed, infra_error, or "not plain" where they would have to exchange what is no plain data.
    """

    def __init__(self, test: str, source: str, limits: Limits, pool, finish: Callable[[str, list[Execution]], None]):
        self._test, self._source, self._limits, self._pool, self._finish = test, source, limits, pool, finish
        self._asked: list = []
        self._n_known = 0  # of what was asked: answered before
        self._answers = "[]"
        self._executions: list[Execution] = []
        self._stalls = 0
        self._ahead = _AHEAD
        self._run_test()

    def _run_test(self) -> None:
        told = {
            "test": self._test, "asked": self._asked, "answers": self._answers, "ahead": self._ahead,
            "own": [name for name in _OWN if name not in self._source],
        }  # fmt: skip
        run = Run(f"{_loaded()}\nspace['put_to_test']()", stdin=json.dumps(told))
        self._submit(run, self._on_test)

    def _on_test(self, execution: Execution) -> None:
        try:
            how, what = json.loads(execution.stdout) if execution.status == "ok" else (execution.status, "")
        except ValueError:  # it died of what it was told
            how, what = "failed", ""
        if how in ("passed", "failed", "not plain", "infra_error"):
            self._finish(how, self._executions)
        elif how == "ask" and self._stalls < _STALLS:
            n_known, self._n_known = self._n_known, _common(self._asked, what)
            self._stalls = self._stalls + 1 if self._asked and self._n_known <= n_known else 0
            self._asked = what
            self._run_program()
        elif how == "ask" or execution.status == "output_limit":
            self._finish("not plain", self._executions)
        elif self._ahead:  # an unknown value may have kept it from ending
            self._ahead = 0
            self._run_test()
        else:
            self._finish("failed", self._executions)  # the test itself ran out of time or memory on these answers

    def _run_program(self) -> None:
        play = f"exec({_loaded()!r}, space) or space['space']['play'](globals(), {json.dumps(self._asked)!r})"
        run = Run(self._source, call=f"(lambda space: {play})({{}})")
        self._submit(run, self._on_answers)

    def _submit(self, run: Run, then: Callable[[Execution], None]) -> None:
        try:
            running = self._pool.submit(run, self._limits)
        except RuntimeError:  # the pool was closed meanwhile; nobody hears of what is raised in a callback
            self._finish("infra_error", self._executions)
        else:
            running.add_done_callback(lambda done: then(done.result()))

    def _on_answers(self, execution: Execution) -> None:
        if execution.status == "ok":
            self._executions.append(execution)
            try:
                if execution.value[:1] not in ("'", '"'):  # read as nothing else, which may take for ever
                    raise ValueError("no text")
                self._answers = read_literal(execution.value)
            except ValueError:  # the program had a hand in it
                self._finish("failed", self._executions)
                return
            self._run_test()
        elif execution.status == "invalid_result":
            self._finish("not plain", [*self._executions, execution])
        elif execution.status != "infra_error" and len(self._asked) > self._n_known + 1:
            # A call that the test may never make may be to blame: half as many are asked for at a time from here on.
            self._ahead = (len(self._asked) - self._n_known - 1) // 2
            self._asked = self._asked[: self._n_known + 1 + self._ahead]
            self._run_program()
        else:
            how = "infra_error" if execution.status == "infra_error" else "failed"
            self._finish(how, [*self._executions, execution])


def together(test: str, source: str) -> Run:
    """Both in one process, where a hostile program could make any test pass."""
    return Run(f"{source}\n\n{test}\n")


@functools.cache
def _loaded() -> str:
    """Python that makes the names of exchange.py, in a dict `space`; each run would be longer for compiling it."""
    file = pathlib.Path(exchange.__file__)
    code = marshal.dumps(compile(file.read_text(), "<exchange>", "exec"))
    return f"import marshal; space = {{'__name__': 'exchange'}}; exec(marshal.loads({code!r}), space)"


def _common(before: list, now: list) -> int:
    """How many of two lists' first items are the same."""
    length = min(len(before), len(now))
    return next((i for i in range(length) if before[i] != now[i]), length)
