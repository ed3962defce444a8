"""What programs gave and whether they are right: judged once, and written down, so that a resumed run sees the same."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from selfexec_jax.hosts import ALONE, Hosts
from selfexec_jax.problems import Problem, Test, Verdict
from selfexec_jax.problems.judge import answer_of, judge
from selfexec_jax.sandbox import Execution


@dataclasses.dataclass(frozen=True)
class Seen:
    """A verdict: its status, what the program gave on each test, whether the sandbox denied it something, and whether
    the tests were private ones."""

    status: str
    outputs: tuple[str | None, ...]
    is_denied: bool
    is_private: bool


_INFRA = Seen("infra_error", (), False, False)


def then(first: Future, function: Callable) -> Future:
    """A future of what a function makes of another's result, or of the error of either; futures in futures are one."""
    found: Future = Future()

    def settle(done: Future) -> None:
        try:
            value = done.result()
            value = function(value) if done is first else value
        except Exception as error:
            found.set_exception(error)
            return
        if isinstance(value, Future) and done is first:
            value.add_done_callback(settle)
        else:
            found.set_result(value)

    first.add_done_callback(settle)
    return found


def together(futures: Sequence[Future]) -> Future[list]:
    """A future of what all of them give, in order, or of the error of the first that has one."""
    found: list = []

    def go_on(value) -> list | Future[list]:
        found.append(value)
        return then(futures[len(found)], go_on) if len(found) < len(futures) else found

    if not futures:
        empty: Future[list] = Future()
        empty.set_result(found)
        return empty
    return then(futures[0], go_on)


class Verdicts:
    """Judges programs in a sandbox pool and keeps a journal of it in `folder`.

    A run that is killed and resumed meets the same programs again; what the sandbox said of them, a timeout on a busy
    machine say, is read and not found out anew (what the infrastructure failed is). A generation lasts from one
    checkpoint to the next, and its verdicts are known until the next one ends. Every host writes its own journal, and
    a resumed run reads all: it may have another number of hosts.
    """

    def __init__(
        self, folder: Path, pool, hosts: Hosts = ALONE,
        outcome: Callable[[Problem, Execution], str | None] = answer_of,
    ):  # fmt: skip
        """outcome: what programs are said to have given (`stages.outcomes`)."""
        self._folder, self._pool, self._hosts, self._outcome = folder, pool, hosts, outcome
        self._known: dict[str, Future[dict | None]] = {}
        self._before: dict[str, Future[dict | None]] = {}  # of the generation before
        self._lock = threading.Lock()
        self._file = None
        folder.mkdir(parents=True, exist_ok=True)
        self.start(0)

    def start(self, generation: int) -> None:
        """Goes on from a checkpoint: with what was written in the generation before it, and since."""
        self._known, self._before = {}, {}
        self._forget(generation - 2)
        mine = f".host-{self._hosts.index}.jsonl"
        for path in sorted(self._folder.glob("*.jsonl"), key=lambda p: (_generation(p), p.name.endswith(mine))):
            if _generation(path) >= generation - 1:
                self._read(path, self._before if _generation(path) < generation else self._known)
        self._open(generation)

    def next_generation(self) -> int:
        """For a checkpoint: what is judged from here on is what a run that resumes from it will need."""
        generation = self._generation + 1
        with self._lock:
            self._known, self._before = {}, self._known
            self._open(generation)
        self._forget(generation - 3)  # the checkpoint before may be the one that is resumed from, or the one before it
        return generation

    def public(self, source: str, problem: Problem) -> Future[Seen]:
        """A program on the public tests, which give feedback."""
        return self._judged("public", source, problem, problem.public_tests)

    def final(self, source: str, problem: Problem) -> Future[Seen]:
        """A program on all tests: the private ones run only where the public ones are passed."""
        if not problem.public_tests:
            return self._judged("private", source, problem, problem.private_tests)

        def go_on(seen: Seen) -> Seen | Future[Seen]:
            if seen.status != "passed" or not problem.private_tests:
                return seen
            return self._judged("private", source, problem, problem.private_tests)

        return then(self.public(source, problem), go_on)

    def remembered(self, names: Sequence[str], ask: Callable[[], Future[dict | None]]) -> Future[dict | None]:
        """What `ask` gives, as JSON, found out once; None, where the infrastructure failed, is asked for again."""
        key = hashlib.blake2b("\0".join(names).encode(), digest_size=12).hexdigest()
        with self._lock:
            found = self._known.get(key) or self._before.get(key)
            if found is not None:
                return found
            found = self._known[key] = Future()

        def note(done: Future[dict | None]) -> None:
            try:
                value = done.result()
                if value is not None:
                    self._write({"key": key, "value": value})
            except Exception as error:
                self._forgotten(key)
                found.set_exception(error)
                return
            if value is None:
                self._forgotten(key)
            found.set_result(value)

        ask().add_done_callback(note)
        return found

    def close(self) -> None:
        self._file.close()

    def _judged(self, kind: str, source: str, problem: Problem, tests: Sequence[Test]) -> Future[Seen]:
        def told(verdict: Verdict) -> dict | None:
            if verdict.status == "infra_error":
                return None
            return {
                "status": verdict.status, "outputs": [self._outcome(problem, e) for e in verdict.executions],
                "is_denied": any(e.denied for e in verdict.executions), "is_private": kind == "private",
            }  # fmt: skip

        ask = lambda: then(judge(source, problem, tests, self._pool), told)  # noqa: E731
        return then(
            self.remembered((kind, problem.id, source), ask),
            lambda found: _INFRA if found is None else Seen(**found | {"outputs": tuple(found["outputs"])}),
        )

    def _forgotten(self, key: str) -> None:
        with self._lock:
            self._known.pop(key, None)
            self._before.pop(key, None)

    def _write(self, row: dict) -> None:
        with self._lock:
            self._file.write(json.dumps(row).encode() + b"\n")

    def _forget(self, generation: int) -> None:
        for path in self._folder.glob("*.jsonl"):
            if _generation(path) < generation:
                path.unlink(missing_ok=True)  # another host may have been faster

    def _read(self, path: Path, known: dict) -> None:
        for line in path.read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue  # cut short by a kill
            known[row["key"]] = done = Future()
            done.set_result(row["value"])

    def _open(self, generation: int) -> None:
        if self._file is not None:
            self._file.close()
        self._generation = generation
        # Unbuffered, and after a line that a kill cut short on a line of its own.
        self._file = open(self._folder / f"{generation}.host-{self._hosts.index}.jsonl", "ab", buffering=0)  # noqa: SIM115
        self._file.write(b"\n")


def _generation(path: Path) -> int:
    return int(path.name.partition(".")[0])
