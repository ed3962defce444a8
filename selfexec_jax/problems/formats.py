"""How a row of each public format becomes a `Problem`; a format is told by its fields.

| format | taken from the row |
|---|---|
| our own | the fields of `Problem` |
| CodeContests (deepmind/code_contests, as jsonl or parquet) | `name` id, `description` statement, `public_tests`, `private_tests` + `generated_tests`, Python 3 of `solutions` and `incorrect_solutions`, `time_limit`, `memory_limit_bytes`, `cf_tags` |
| CodeContests, flat jsonl | `id`, `statement`, `public_tests_parsed`, `tests`, `solution`, `tags` |
| LiveCodeBench, code generation | `question_id` id, `question_content` and `starter_code` statement, `public_test_cases`, `private_test_cases`, `metadata.func_name`; tags platform, difficulty, stdin or functional, `date:YYYY-MM-DD` |
| LiveCodeBench, code execution | `id`, `code` the program, `function_name`, `input` the call, `output`; tag date |
| LiveCodeBench, test output prediction | `question_id`-`test_id` id, `question_content` statement, `function_name`, `test`; tag date |
| CRUXEval | `id`, `code` the program, `input`, `output` |
| HumanEval, HumanEval+ | `task_id` id, `prompt` statement, `canonical_solution`, `test`, `entry_point` |
| EvalPlus's releases (HumanEvalPlus.jsonl, MbppPlus.jsonl) | `task_id` id, `prompt` statement, `canonical_solution`, whose results on `base_input` and `plus_input` are what is expected, within `atol` |
| MBPP | `task_id` (id mbpp/N), `text` and `test_list` statement, `code`, `test_setup_code` |
| MBPP+ (evalplus/mbppplus) | as MBPP, `prompt` statement, `test` |
| programs and their outputs (`tools.predictions`) | `problem`, `model`, `source`, `stdin` or `call`, `output` |
"""  # noqa: E501

from __future__ import annotations

import ast
import base64
import dataclasses
import hashlib
import io
import json
import pickle
import re
import zlib
from collections.abc import Callable

from selfexec_jax.problems.asserts import literal_tests
from selfexec_jax.problems.types import SEVERAL_ANSWERS, Problem, Test

_ASSERTS_S = 5.0  # the slowest reference program of MBPP takes four
_HUMANEVAL_S = 3.0  # as its own judge has it
_LIVECODEBENCH_S = 6.0  # as its own judge has it


def read_row(row: object) -> Problem:
    """The problem that a row of any format describes; KeyError names the field that is missing or bad."""
    if not isinstance(row, dict):
        raise KeyError("the whole row (not a JSON object)")
    for fields, reader in FORMATS:
        if fields <= set(row):
            return reader(row)
    raise KeyError("id, statement (or the fields of another format, see problems/formats.py)")


def _tests(rows: list | dict, field: str) -> tuple[Test, ...]:
    """Of a list of {input, output}, or of {input: [...], output: [...]} as tables have it."""
    if isinstance(rows, dict) and rows.keys() >= {"input", "output"}:
        rows = [{"input": one, "output": two} for one, two in zip(rows["input"], rows["output"], strict=True)]
    if not isinstance(rows, list):
        raise KeyError(f"{field} (a list of {{input, output}})")
    tests = []
    for row in rows:
        if not isinstance(row, dict) or not all(isinstance(row.get(k), str) for k in ("input", "output")):
            raise KeyError(f"{field} (each with text `input` and `output`)")
        tests.append(Test(row["input"], row["output"]))
    return tuple(tests)


def _text(row: dict, field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise KeyError(f"{field} (text)")
    return value


def _texts(row: dict, field: str) -> tuple[str, ...]:
    values = row.get(field, [])
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise KeyError(f"{field} (a list of texts)")
    return tuple(values)


def _json(row: dict, field: str):
    try:
        return json.loads(_text(row, field))
    except ValueError:
        raise KeyError(f"{field} (JSON in a text)") from None


def _own(row: dict) -> Problem:
    known = {f.name for f in dataclasses.fields(Problem)}
    extra = sorted(set(row) - known)
    if extra:
        raise KeyError(f"{extra[0]} (no such field)")
    fields = row | {"id": _text(row, "id"), "statement": _text(row, "statement")}
    for name in ("public_tests", "private_tests"):
        fields[name] = _tests(row.get(name, []), name)
    for name in ("solutions", "wrong_solutions", "tags"):
        fields[name] = _texts(row, name)
    for name in ("time_limit_s", "memory_limit_mb"):
        if type(row.get(name, 1)) not in (int, float):
            raise KeyError(f"{name} (a number)")
    if row.get("kind", "stdio") not in ("stdio", "call", "check"):
        raise KeyError("kind (stdio, call or check)")
    if row.get("kind") == "call":
        _text(row, "entry_point")
    return Problem(**fields)


_ANY_ANSWER = re.compile(
    r"(print|output) any\b|any of (them|these|those) (is|are|will be) acc|"
    r"(print|output)[^.]{0,80} in (any|arbitrary|an arbitrary) order",
    re.IGNORECASE,
)


def _accepts(statement: str) -> tuple[str, ...]:
    """The tag of a problem whose statement lets a program choose among right answers."""
    return (SEVERAL_ANSWERS,) if _ANY_ANSWER.search(statement) else ()


def _codecontests_flat(row: dict) -> Problem:
    public = _tests(row.get("public_tests_parsed"), "public_tests_parsed")
    every = _tests(row.get("tests"), "tests")
    return Problem(
        id=_text(row, "id"),
        statement=_text(row, "statement"),
        public_tests=public,
        private_tests=tuple(t for t in every if t not in set(public)),
        solutions=(_text(row, "solution"),),
        source="codecontests",
        tags=(*(row.get("tags") or ()), *_accepts(_text(row, "statement"))),
    )


_PYTHON = (3, "PYTHON3")  # codes of the language in CodeContests


def _codecontests(row: dict) -> Problem:
    statement = _text(row, "description")
    private = [t for name in ("private_tests", "generated_tests") for t in _tests(row.get(name, []), name)]
    limit = row.get("time_limit") or {}
    return Problem(
        id=_text(row, "name"),
        statement=statement,
        public_tests=_tests(row.get("public_tests"), "public_tests"),
        private_tests=tuple(private),
        solutions=_in_python(row, "solutions"),
        wrong_solutions=_in_python(row, "incorrect_solutions"),
        source="codecontests",
        time_limit_s=(limit.get("seconds") or 0) + (limit.get("nanos") or 0) / 1e9 or 2.0,
        memory_limit_mb=(row.get("memory_limit_bytes") or 512 << 20) >> 20,
        tags=(*filter(None, row.get("cf_tags") or ()), *_accepts(statement)),
    )


def _in_python(row: dict, field: str) -> tuple[str, ...]:
    rows = row.get(field) or []
    if isinstance(rows, dict):
        rows = [{"language": a, "solution": b} for a, b in zip(rows["language"], rows["solution"], strict=True)]
    return tuple(_text(one, "solution") for one in rows if one.get("language") in _PYTHON)


def _livecodebench(row: dict) -> Problem:
    name = _json(row, "metadata").get("func_name")
    public, private = _json(row, "public_test_cases"), _packed(_text(row, "private_test_cases"))
    is_call = any(test.get("testtype") == "functional" for test in [*public, *private])
    starter = row.get("starter_code") or ""
    statement = _text(row, "question_content") + (f"\n\n```python\n{starter}\n```" if starter else "")
    make = _of_json if is_call else (lambda test: Test(_text(test, "input"), _text(test, "output")))
    if is_call and not isinstance(name, str):
        raise KeyError("metadata (func_name of a functional problem)")
    return Problem(
        id=_text(row, "question_id"),
        statement=statement,
        kind="call" if is_call else "stdio",
        entry_point=(f"Solution().{name}" if "class Solution" in starter else name) if is_call else None,
        public_tests=tuple(map(make, public)),
        private_tests=tuple(map(make, private)),
        source="livecodebench",
        time_limit_s=_LIVECODEBENCH_S,
        tags=(row.get("platform") or "", row.get("difficulty") or "", "functional" if is_call else "stdin", _date(row)),
    )


class _Unpickler(pickle.Unpickler):
    """Reads plain data alone: a name to look up is refused."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"{module}.{name}")


def _packed(text: str) -> list[dict]:
    """Private tests: JSON, or JSON in a pickled text, compressed and in base 64."""
    try:
        found = json.loads(text)
    except ValueError:
        try:
            found = _Unpickler(io.BytesIO(zlib.decompress(base64.b64decode(text)))).load()
            found = json.loads(found) if isinstance(found, str) else found
        except (ValueError, zlib.error, pickle.UnpicklingError, EOFError, IndexError) as error:
            raise KeyError(f"private_test_cases (neither JSON nor packed JSON: {error})") from None
    if not isinstance(found, list) or not all(isinstance(test, dict) for test in found):
        raise KeyError("private_test_cases (a list of tests)")
    return found


def _of_json(test: dict) -> Test:
    """A functional test: one JSON value a line for the arguments, one for the result."""
    args = [repr(json.loads(line)) for line in _text(test, "input").split("\n") if line.strip()]
    return Test(", ".join(args), repr(json.loads(_text(test, "output"))))


def _date(row: dict) -> str:
    return f"date:{str(row.get('contest_date') or '')[:10]}"


def _livecodebench_execution(row: dict) -> Problem:
    name, call = _text(row, "function_name"), _text(row, "input").strip()
    if not (call.startswith(f"{name}(") and call.endswith(")")):
        raise KeyError(f"input (a call of {name})")
    return Problem(
        id=_text(row, "id"),
        statement="Return what the function returns.",
        kind="call",
        entry_point=name,
        private_tests=(Test(call[len(name) + 1 : -1], _text(row, "output")),),
        solutions=(_text(row, "code"),),
        source="livecodebench",
        tags=(row.get("difficulty") or "", _date(row)),
    )


def _livecodebench_outputs(row: dict) -> Problem:
    tests = tuple(map(_of_json, _json(row, "test")))
    return Problem(
        id=f"{_text(row, 'question_id')}-{row['test_id']}",
        statement=_text(row, "question_content"),
        kind="call",
        entry_point=_text(row, "function_name"),
        private_tests=tests,
        source="livecodebench",
        tags=(row.get("difficulty") or "", _date(row)),
    )


def _cruxeval(row: dict) -> Problem:
    test = Test(_text(row, "input"), _text(row, "output"))
    return Problem(
        id=_text(row, "id"),
        statement="Return what the function returns.",
        kind="call",
        entry_point="f",
        private_tests=(test,),
        solutions=(_text(row, "code"),),
        source="cruxeval",
    )


def _humaneval(row: dict) -> Problem:
    name, test, solution = _text(row, "entry_point"), _text(row, "test"), _text(row, "canonical_solution")
    problem = Problem(
        id=_text(row, "task_id"),
        statement=_text(row, "prompt"),
        entry_point=name,
        solutions=(_text(row, "prompt") + solution,) if solution else (),
        source="humaneval",
        time_limit_s=_HUMANEVAL_S,
    )
    if not test:  # a statement alone, as some copies of CodeContests have it
        return problem
    return _of_asserts(
        problem,
        (f"{test}\n\ncheck({name})\n",),
        literal_tests(test, name),
    )


# EvalPlus's own comparison: equal, or floats of the same shape within the tolerance.
_SAME = """
import copy

def floats(value):
    if isinstance(value, float):
        return True
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(one, float) for one in value)

def close(got, wanted, atol):
    if isinstance(wanted, (list, tuple)):
        return len(got) == len(wanted) and all([close(a, b, atol) for a, b in zip(got, wanted)])
    return got == wanted or abs(got - wanted) <= atol + 1e-07 * abs(wanted)

def check(function, args, atol):
    wanted = reference(*copy.deepcopy(args))
    got = function(*copy.deepcopy(args))
    if atol == 0 and floats(wanted):
        atol = 1e-6
    if atol == 0 or not floats(wanted):
        assert got == wanted
    else:
        assert type(got) == type(wanted) and close(got, wanted, atol)
"""


def _evalplus(row: dict) -> Problem:
    name, source = _text(row, "entry_point"), _text(row, "prompt") + _text(row, "canonical_solution")
    inputs = [*row["base_input"], *(row["plus_input"] or [])]
    try:
        body = [*ast.parse(source).body, ast.parse(f"return {name}").body[0]]
    except SyntaxError:
        raise KeyError("prompt, canonical_solution (together no Python)") from None
    inside = ast.FunctionDef("make", ast.parse("def f(): pass").body[0].args, body, [])
    reference = ast.unparse(ast.fix_missing_locations(ast.Module([inside], [])))
    atol = float(row.get("atol") or 0)
    calls = "\n".join(f"check({name}, {args!r}, {atol})" for args in inputs)
    return Problem(
        id=_text(row, "task_id"),
        statement=_text(row, "prompt"),
        kind="check",
        entry_point=name,
        private_tests=(Test(f"{reference}\nreference = make()\n{_SAME}\n{calls}\n", ""),),
        solutions=(source,),
        source="humaneval" if row["task_id"].startswith("HumanEval") else "mbpp",
        time_limit_s=_ASSERTS_S,
    )


def _mbpp(row: dict) -> Problem:
    asserts = _texts(row, "test_list")
    name = _called(asserts)
    setup = row.get("test_setup_code") or ""
    return _of_asserts(
        Problem(
            id=f"mbpp/{row['task_id']}",
            statement=_text(row, "text") + "\n" + "\n".join(asserts),
            entry_point=name,
            solutions=(_text(row, "code"),),
            source="mbpp",
            time_limit_s=_ASSERTS_S,
        ),
        tuple(f"{setup}\n{line}\n" for line in asserts),
        literal_tests("\n".join(asserts), name),
    )


def _mbpp_plus(row: dict) -> Problem:
    asserts = _texts(row, "test_list")
    return _of_asserts(
        Problem(
            id=f"Mbpp/{row['task_id']}",
            statement=_text(row, "prompt") + "\n" + "\n".join(asserts),
            entry_point=_called(asserts),
            solutions=(_text(row, "code"),),
            source="mbpp",
            time_limit_s=_ASSERTS_S,
        ),
        (_text(row, "test"),),
        None,
    )


def _called(asserts: tuple[str, ...]) -> str:
    found = re.match(r"assert \(*(?:\w+\()*?(\w+)\(", asserts[0]) if asserts else None
    return found[1] if found else "f"


def _of_asserts(problem: Problem, checks: tuple[str, ...], literal: tuple[Test, ...] | None) -> Problem:
    """With tests of kind "call" where all asserts compare literals, else with Python tests."""
    if literal:
        return dataclasses.replace(problem, kind="call", private_tests=literal)
    return dataclasses.replace(problem, kind="check", private_tests=tuple(Test(check, "") for check in checks))


def _program_output(row: dict) -> Problem:
    source, output = _text(row, "source"), _text(row, "output")
    name, args = None, row.get("stdin")
    if isinstance(row.get("call"), str):
        try:
            name = ast.unparse(ast.parse(row["call"], mode="eval").body.func)
        except (SyntaxError, ValueError, AttributeError, RecursionError, MemoryError):
            raise KeyError("call (the source of one call)") from None
        args = row["call"][len(name) + 1 : -1]
    if not isinstance(args, str):
        raise KeyError("stdin, call (text in one of them)")
    digest = hashlib.sha256(f"{source}\0{args}".encode()).hexdigest()[:8]
    return Problem(
        id=f"{_text(row, 'problem')}/{row.get('model') or ''}/{digest}",
        statement="Say what the program gives.",
        kind="stdio" if name is None else "call",
        entry_point=name,
        private_tests=(Test(args, output),),
        solutions=(source,),
        source="outputs",
    )


# The fields that tell a format, and its reader; the first that fits is taken.
FORMATS: tuple[tuple[frozenset, Callable[[dict], Problem]], ...] = (
    (frozenset({"id", "statement", "public_tests_parsed", "tests", "solution"}), _codecontests_flat),
    (frozenset({"name", "description", "public_tests", "private_tests"}), _codecontests),
    (frozenset({"question_id", "question_content", "public_test_cases", "private_test_cases"}), _livecodebench),
    (frozenset({"question_id", "function_name", "code", "input", "output"}), _livecodebench_execution),
    (frozenset({"question_id", "question_content", "function_name", "test", "test_id"}), _livecodebench_outputs),
    (frozenset({"id", "code", "input", "output"}), _cruxeval),
    (frozenset({"task_id", "prompt", "canonical_solution", "entry_point", "base_input", "plus_input"}), _evalplus),
    (frozenset({"task_id", "prompt", "canonical_solution", "test", "entry_point"}), _humaneval),
    (frozenset({"task_id", "prompt", "code", "test_list", "test"}), _mbpp_plus),
    (frozenset({"task_id", "text", "code", "test_list"}), _mbpp),
    (frozenset({"problem", "source", "output"}), _program_output),
    (frozenset({"id", "statement"}), _own),
)
