"""Rows of LiveCodeBench: code generation, code execution, test output prediction."""

from __future__ import annotations

import base64
import io
import json
import pickle
import zlib

from selfexec_jax.problems.formats.fields import json_in, text
from selfexec_jax.problems.types import Problem, Test

_LIVECODEBENCH_S = 6.0  # as its own judge has it


def code_generation(row: dict) -> Problem:
    name = json_in(row, "metadata").get("func_name")
    public, private = json_in(row, "public_test_cases"), _packed(text(row, "private_test_cases"))
    is_call = any(test.get("testtype") == "functional" for test in [*public, *private])
    starter = row.get("starter_code") or ""
    statement = text(row, "question_content") + (f"\n\n```python\n{starter}\n```" if starter else "")
    make = _of_json if is_call else (lambda test: Test(text(test, "input"), text(test, "output")))
    if is_call and not isinstance(name, str):
        raise KeyError("metadata (func_name of a functional problem)")
    return Problem(
        id=text(row, "question_id"),
        statement=statement,
        kind="call" if is_call else "stdio",
        entry_point=(f"Solution().{name}" if "class Solution" in starter else name) if is_call else None,
        public_tests=tuple(map(make, public)),
        private_tests=tuple(map(make, private)),
        source="livecodebench",
        time_limit_s=_LIVECODEBENCH_S,
        tags=(row.get("platform") or "", row.get("difficulty") or "", "functional" if is_call else "stdin", _date(row)),
    )


_LARGEST = 1 << 30  # bytes of a problem's tests that are unpacked


class _Unpickler(pickle.Unpickler):
    """Reads plain data alone: a name to look up is refused."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"{module}.{name}")


def _inflated(data: bytes) -> bytes:
    inflating = zlib.decompressobj()
    found = inflating.decompress(data, _LARGEST)
    if not inflating.eof:
        raise ValueError(f"cut short, or more than {_LARGEST >> 20} MiB")
    return found


def _packed(text: str) -> list[dict]:
    """Private tests: JSON, or JSON in a pickled text, compressed and in base 64."""
    try:
        found = json.loads(text)
    except ValueError:
        try:
            found = _Unpickler(io.BytesIO(_inflated(base64.b64decode(text)))).load()
            found = json.loads(found) if isinstance(found, str) else found
        except (ValueError, zlib.error, pickle.UnpicklingError, EOFError, IndexError) as error:
            raise KeyError(f"private_test_cases (neither JSON nor packed JSON: {error})") from None
    if not isinstance(found, list) or not all(isinstance(test, dict) for test in found):
        raise KeyError("private_test_cases (a list of tests)")
    return found


def _of_json(test: dict) -> Test:
    """A functional test: one JSON value a line for the arguments, one for the result."""
    args = [repr(json.loads(line)) for line in text(test, "input").split("\n") if line.strip()]
    return Test(", ".join(args), repr(json.loads(text(test, "output"))))


def _date(row: dict) -> str:
    return f"date:{str(row.get('contest_date') or '')[:10]}"


def code_execution(row: dict) -> Problem:
    name, call = text(row, "function_name"), text(row, "input").strip()
    if not (call.startswith(f"{name}(") and call.endswith(")")):
        raise KeyError(f"input (a call of {name})")
    return Problem(
        id=text(row, "id"),
        statement="Return what the function returns.",
        kind="call",
        entry_point=name,
        private_tests=(Test(call[len(name) + 1 : -1], text(row, "output")),),
        solutions=(text(row, "code"),),
        source="livecodebench",
        tags=(row.get("difficulty") or "", _date(row)),
    )


def output_prediction(row: dict) -> Problem:
    tests = tuple(map(_of_json, json_in(row, "test")))
    return Problem(
        id=f"{text(row, 'question_id')}-{row['test_id']}",
        statement=text(row, "question_content"),
        kind="call",
        entry_point=text(row, "function_name"),
        private_tests=tests,
        source="livecodebench",
        tags=(row.get("difficulty") or "", _date(row)),
    )
