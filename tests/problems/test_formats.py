"""Rows with the schemas of the public data sets become the right problems; a field that is bad is named."""

import base64
import json
import pickle
import zlib

import pytest
from upstream import CODECONTESTS, LIVECODEBENCH, STDIN, packed

from selfexec_jax.problems import Test
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.problems.formats import read_row
from selfexec_jax.problems.judge import judge


@pytest.mark.parametrize("as_table", [True, False])
def test_codecontests(as_table):
    row = dict(CODECONTESTS)
    if not as_table:  # jsonl exports have lists of objects
        for name in ("public_tests", "private_tests", "generated_tests"):
            row[name] = [{"input": row[name]["input"][0], "output": row[name]["output"][0]}]
        row["solutions"] = [{"language": "PYTHON3", "solution": "print(1)"}, {"language": "CPP", "solution": "x"}]
    problem = read_row(row)
    assert (problem.id, problem.kind, problem.source) == ("1_A. Sum", "stdio", "codecontests")
    assert problem.public_tests == (Test("1 2\n", "3\n"),)
    assert problem.private_tests == (Test("5 5\n", "10\n"), Test("0 0\n", "0\n"))
    assert (problem.solutions, problem.wrong_solutions) == (("print(1)",), ("print(2)",))
    assert (problem.time_limit_s, problem.memory_limit_mb, problem.tags) == (1.5, 244, ("math",))


def test_livecodebench_generation(pool):
    problem = read_row(LIVECODEBENCH)
    assert (problem.kind, problem.entry_point) == ("call", "Solution().add")
    assert problem.public_tests == (Test("[1, 2], 3", "True"),)
    assert problem.private_tests == (Test("['a'], 4", "None"),)
    assert problem.tags == ("leetcode", "easy", "functional", "date:2024-09-01")
    assert problem.statement.startswith("Add.") and "def add" in problem.statement
    source = "class Solution:\n    def add(self, a, b):\n        return True if a == [1, 2] else None"
    assert judge(source, problem, problem.public_tests + problem.private_tests, pool).result(30).status == "passed"
    typed = source.replace("a, b)", "a: List[int], b: int) -> Optional[bool]")  # names that its judge provides
    assert judge(typed, problem, problem.public_tests, pool).result(30).status == "passed"
    wrong = source.replace("None", "0")
    assert judge(wrong, problem, problem.public_tests + problem.private_tests, pool).result(30).passed == (True, False)
    stdin = read_row(STDIN)
    assert (stdin.kind, stdin.public_tests, stdin.private_tests) == ("stdio", (Test("1", "1"),), ())


class Evil:
    def __reduce__(self):
        return (print, ("the pickle ran code",))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode()}, "private_test_cases"),
        ({"private_test_cases": "?"}, "private_test_cases"),
        ({"private_test_cases": packed([1])}, "private_test_cases"),
        ({"public_test_cases": "["}, "public_test_cases"),
        ({"metadata": "{}"}, "metadata"),
        ({"question_content": None}, "question_content"),
    ],
)
def test_a_bad_livecodebench_row_names_its_field_and_runs_nothing(change, field, capsys):
    with pytest.raises(KeyError, match=field):
        read_row(LIVECODEBENCH | change)
    assert capsys.readouterr().out == ""


def test_livecodebench_outputs():
    common = {"question_id": 7, "contest_id": "w", "contest_date": "2023-05-01", "difficulty": "hard"}
    row = {
        **common,
        "function_name": "f",
        "code": "def f(n): return n",
        "input": "f(n = 3)",
        "output": "3",
        "id": "s_0",
        "problem_id": 7,
        "numsteps": 3,
    }
    problem = read_row(row)
    assert (problem.id, problem.entry_point, problem.private_tests) == ("s_0", "f", (Test("n = 3", "3"),))
    with pytest.raises(KeyError, match="input"):
        read_row(row | {"input": "g(3)"})
    row = {
        **common,
        "question_id": "7",
        "question_content": "Do.",
        "function_name": "f",
        "starter_code": "",
        "test_id": 2,
        "test": '[{"input": "[true]", "output": "[null]", "testtype": "functional"}]',
    }
    assert read_row(row).id == "7-2" and read_row(row).private_tests == (Test("[True]", "[None]"),)


def test_humaneval_and_mbpp_with_more_tests(pool):
    test = "def check(candidate):\n    for x, y in zip([1, 2], [2, 3]):\n        assert abs(candidate(x) - y) < 1e-6\n"
    row = {
        "task_id": "HumanEval/0",
        "prompt": "def f(x):\n",
        "canonical_solution": "    return x + 1\n",
        "test": test,
        "entry_point": "f",
    }
    problem = read_row(row)
    assert problem.kind == "check"
    assert judge(problem.solutions[0], problem, problem.private_tests, pool).result(30).status == "passed"
    alone = read_row(row | {"canonical_solution": "", "test": ""})
    assert (alone.solutions, alone.private_tests) == ((), ())
    row = {
        "task_id": 2,
        "prompt": "Add.",
        "code": "def f(x): return x + 1",
        "test_imports": [],
        "source_file": "x",
        "test_list": ["assert f(1) == 2"],
        "test": "for x in [1, 2]:\n    assert f(x) == x + 1\n",
    }
    problem = read_row(row)
    assert (problem.id, problem.kind) == ("Mbpp/2", "check")
    assert judge("def f(x): return 2", problem, problem.private_tests, pool).result(30).status == "failed"


def test_programs_and_their_outputs():
    row = {
        "problem": "p",
        "model": "m",
        "source": "print(1)",
        "stdin": "7",
        "call": None,
        "output": "1\n",
        "is_right": True,
    }
    problem = read_row(row)
    assert (problem.kind, problem.private_tests, problem.solutions) == ("stdio", (Test("7", "1\n"),), ("print(1)",))
    call = read_row(row | {"stdin": None, "call": "f(1, x=')')", "output": "2"})
    assert (call.kind, call.entry_point, call.private_tests) == ("call", "f", (Test("1, x=')'", "2"),))
    assert problem.id != call.id and problem.id.startswith("p/m/")
    with pytest.raises(KeyError, match="call"):
        read_row(row | {"stdin": None, "call": "f(", "output": "2"})


def test_a_folder_of_files_and_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    rows = [CODECONTESTS, CODECONTESTS | {"name": "2_B"}]
    pyarrow.write_table(pytest.importorskip("pyarrow").Table.from_pylist(rows), tmp_path / "valid-00000.parquet")
    (tmp_path / "more.json").write_text(json.dumps([STDIN]))
    (tmp_path / "README.md").write_text("no data")
    problems = load_problems(tmp_path)
    assert [problem.id for problem in problems] == ["2777", "1_A. Sum", "2_B"]
    assert problems[1] == read_row(CODECONTESTS)
