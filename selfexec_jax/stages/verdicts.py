"""What programs gave and whether they are right: judged once, and written down, so that a resumed run sees the same."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from selfexec_jax.problems import Problem, Test, Verdict
from selfexec_jax.problems.judge import answer_of, judge


@dataclasses.dataclass(frozen=True)
class Seen:
    """A verdict: its status, what the program gave on each test, whether the sandbox denied it something, and whether
    the tests were private ones."""

    status: str
    outputs: tuple[str | None, ...]
    is_denied: bool
    is_private: bool


class Verdicts:
    """Judges programs in a sandbox pool and keeps a journal of it in `folder`.

    A run that is killed and resumed meets the same programs again; what the sandbox said of them, a timeout on a busy
    machine say, is read and not found out anew. A generation lasts from one checkpoint to the next, and its verdicts
    are known until the next one ends.
    """

    def __init__(self, folder: Path, pool):
        self._folder, self._pool = folder, pool
        self._known: dict[str, Future[Seen]] = {}
        self._before: dict[str, Future[Seen]] = {}  # of the generation before
        self._lock = threading.Lock()
        self._file = None
        folder.mkdir(parents=True, exist_ok=True)
        self.start(0)

    def start(self, generation: int) -> None:
        """Goes on from a checkpoint: with what was written in the generation before it, and since."""
        self._known, self._before = {}, {}
        self._forget(generation - 1)
        for path in self._folder.glob("*.jsonl"):
            self._read(path, self._before if int(path.stem) < generation else self._known)
        self._open(generation)

    def next_generation(self) -> int:
        """For a checkpoint: what is judged from here on is what a run that resumes from it will need."""
        generation = self._generation + 1
        with self._lock:
            self._known, self._before = {}, self._known
            self._open(generation)
        self._forget(generation - 2)  # the checkpoint before may be the one that is resumed from
        return generation

    def public(self, source: str, problem: Problem) -> Future[Seen]:
        """A program on the public tests, which give feedback."""
        return self._judged("public", source, problem, problem.public_tests)

    def final(self, source: str, problem: Problem) -> Future[Seen]:
        """A program on all tests: the private ones run only where the public ones are passed."""
        found: Future[Seen] = Future()

        def go_on(public: Future[Seen]) -> None:
            seen = public.result()
            if seen.status != "passed" or not problem.private_tests:
                found.set_result(seen)
                return
            private = self._judged("private", source, problem, problem.private_tests)
            private.add_done_callback(lambda f: found.set_result(f.result()))

        self.public(source, problem).add_done_callback(go_on)
        return found

    def close(self) -> None:
        self._file.close()

    def _judged(self, kind: str, source: str, problem: Problem, tests: Sequence[Test]) -> Future[Seen]:
        key = hashlib.blake2b("\0".join([kind, problem.id, source]).encode(), digest_size=12).hexdigest()
        with self._lock:
            seen = self._known.get(key) or self._before.get(key)
            if seen is not None:
                return seen
            seen = self._known[key] = Future()

        def note(verdict: Future[Verdict]) -> None:
            v = verdict.result()
            outputs = tuple(answer_of(problem, e) for e in v.executions)
            found = Seen(v.status, outputs, any(e.denied for e in v.executions), kind == "private")
            if v.status == "infra_error":  # not the program's doing: asked again, another time
                with self._lock:
                    self._known.pop(key, self._before.pop(key, None))
            else:
                self._write(key, found)
            seen.set_result(found)

        judge(source, problem, tests, self._pool).add_done_callback(note)
        return seen

    def _write(self, key: str, seen: Seen) -> None:
        line = json.dumps({"key": key} | dataclasses.asdict(seen)) + "\n"
        with self._lock:
            self._file.write(line.encode())

    def _forget(self, generation: int) -> None:
        for path in self._folder.glob("*.jsonl"):
            if int(path.stem) < generation:
                path.unlink()

    def _read(self, path: Path, known: dict) -> None:
        for line in path.read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue  # cut short by a kill
            done: Future[Seen] = Future()
            known[row.pop("key")] = done
            done.set_result(Seen(**row | {"outputs": tuple(row["outputs"])}))

    def _open(self, generation: int) -> None:
        if self._file is not None:
            self._file.close()
        self._generation = generation
        # Unbuffered, and after a line that a kill cut short on a line of its own.
        self._file = open(self._folder / f"{generation}.jsonl", "ab", buffering=0)  # noqa: SIM115
        self._file.write(b"\n")
