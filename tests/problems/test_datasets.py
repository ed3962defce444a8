"""Problem files: what is written comes back, and what is malformed is named and left out."""

import gzip
import json
import logging

import pytest

from selfexec_jax.problems import Problem, Test
from selfexec_jax.problems.datasets import ProblemFileError, load_problems, save_problems

PROBLEMS = [
    Problem(
        "a", "Add \u2581 two\nnumbers.", public_tests=(Test("1 2\n", "3\n"),), private_tests=(Test("", "\0é"),),
        solutions=("print(1)\n", "print(2)\n"), wrong_solutions=("x",), source="own", time_limit_s=1.5,
        memory_limit_mb=64, tags=("easy", "open"),
    ),
    Problem("b", "Double.", kind="call", entry_point="twice", private_tests=(Test("2", "4"),), tags=("hard",)),
]  # fmt: skip
GOOD = {"id": "ok", "statement": "s"}


@pytest.fixture
def write(tmp_path):
    def rows(*lines):
        path = tmp_path / "problems.jsonl"
        path.write_text("".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in lines), encoding="utf-8")
        return path

    return rows


def test_our_own_files_come_back(tmp_path):
    path = tmp_path / "own.jsonl"
    save_problems(path, PROBLEMS)
    assert load_problems(path) == load_problems(str(path)) == PROBLEMS
    assert load_problems(path, split="hard") == PROBLEMS[1:]
    assert load_problems(path, split="none") == []
    packed = tmp_path / "own.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert load_problems(packed) == PROBLEMS
    assert {p.name for p in tmp_path.iterdir()} == {"own.jsonl", "own.jsonl.gz"}


TESTS = [{"input": "1", "output": "2"}]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ('{"id": "x", ', "not JSON"),
        ("[1]", "not a JSON object"),
        ({"statement": "s"}, "id"),
        ({"id": "x"}, "statement"),
        (GOOD | {"id": 7}, "id"),
        (GOOD | {"statement": None}, "statement"),
        (GOOD | {"public_tests": {"input": "1"}}, "public_tests"),
        (GOOD | {"private_tests": [{"input": "1"}]}, "private_tests"),
        (GOOD | {"private_tests": [{"input": 1, "output": "1"}]}, "private_tests"),
        (GOOD | {"solutions": "print(1)"}, "solutions"),
        (GOOD | {"solutions": 5}, "solutions"),
        (GOOD | {"wrong_solutions": [1]}, "wrong_solutions"),
        (GOOD | {"tags": "easy"}, "tags"),
        (GOOD | {"kind": "stdin"}, "kind"),
        (GOOD | {"kind": "call"}, "entry_point"),
        (GOOD | {"time_limit_s": "2"}, "time_limit_s"),
        (GOOD | {"memory_limit_mb": None}, "memory_limit_mb"),
        (GOOD | {"memory_limit_mb": 256.0}, "memory_limit_mb"),
        (GOOD | {"difficulty": 3}, "difficulty"),
        (GOOD | {"time_limit_s": float("nan")}, "time_limit_s"),
        (GOOD | {"memory_limit_mb": 0}, "memory_limit_mb"),
        (GOOD | {"source": ["x"]}, "source"),
        (GOOD | {"\x1b]0;mine\x07": 1}, r"\x1b]0;mine\x07"),
        ("[" * 100_000, "recursion"),
        ({"id": "x", "code": 3, "input": "1", "output": "1"}, "code"),
        ({**GOOD, "public_tests_parsed": 1, "tests": TESTS, "solution": ""}, "public_tests_parsed"),
        ({**GOOD, "public_tests_parsed": TESTS, "tests": TESTS, "solution": None}, "solution"),
    ],
)
def test_a_malformed_row_is_left_out_and_named(write, caplog, row, field):
    path = write(GOOD | {"id": "first"}, "", row, GOOD)
    with caplog.at_level(logging.WARNING):
        assert [p.id for p in load_problems(path)] == ["first", "ok"]
    named, counted = (r.getMessage() for r in caplog.records)
    assert str(path) in named and "row 3 " in named and field in named.split("bad field")[1]
    assert "1 of 3 rows left out" in counted


def test_a_good_file_gives_no_warning(write, caplog):
    load_problems(write(GOOD))
    assert not caplog.records


def test_missing_and_useless_files_are_errors(tmp_path, write, monkeypatch):
    with pytest.raises(ProblemFileError, match="nowhere.jsonl: no such problem file"):
        load_problems(tmp_path / "nowhere.jsonl")
    monkeypatch.setenv("SELFEXEC_DATA", str(tmp_path))
    with pytest.raises(ProblemFileError, match="cruxeval.jsonl"):
        load_problems("cruxeval")
    for path in (write(), write("{}", "[]")):
        with pytest.raises(ProblemFileError, match="no row is a problem"):
            load_problems(path)


def test_codecontests_rows(write):
    tests = [{"input": "1\n", "output": "2\n"}, {"input": "3\n", "output": "4\n"}]
    row = {**GOOD, "public_tests_parsed": tests[:1], "tests": tests, "solution": "print(2)", "tags": ["math"]}
    (problem,) = load_problems(write(row))
    assert problem == Problem(
        "ok", "s", public_tests=(Test("1\n", "2\n"),), private_tests=(Test("3\n", "4\n"),),
        solutions=("print(2)",), source="codecontests", tags=("math",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "n", "kind", "entry_point"), [("codecontests_mini", 200, "stdio", None), ("cruxeval", 800, "call", "f")]
)
def test_real_sets(data, caplog, name, n, kind, entry_point):
    problems = load_problems(name)
    assert not caplog.records
    assert len(problems) == len({p.id for p in problems}) == n
    for p in problems:
        assert (p.kind, p.entry_point) == (kind, entry_point)
        assert p.public_tests or p.private_tests
        assert not set(p.public_tests) & set(p.private_tests)
        assert len(p.solutions) == 1 and p.solutions[0].strip()
