"""Named benchmarks: their counts are checked, what is not at hand is fetched or missed in one line."""

import json
import sys
import types

import pytest
from upstream import LIVECODEBENCH, STDIN

from selfexec_jax.problems.benchmarks import BENCHMARKS, load_benchmark
from selfexec_jax.problems.datasets import ProblemFileError, load_problems


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def of_livecodebench(n_stdin, n_functional):
    rows = [
        STDIN | {"question_id": f"s{i}", "contest_date": f"2024-{i % 12 + 1:02}-01T00:00:00"} for i in range(n_stdin)
    ]
    return rows + [LIVECODEBENCH | {"question_id": f"f{i}"} for i in range(n_functional)]


def test_the_count_of_a_benchmark_is_checked(tmp_path):
    file = write(tmp_path / "lcb.jsonl", of_livecodebench(287, 5))
    assert len(load_benchmark("lcb_io", file)) == 287
    assert len(load_benchmark("lcb", file)) == 292
    short = write(tmp_path / "short.jsonl", of_livecodebench(286, 5))
    with pytest.raises(ProblemFileError, match="short.jsonl: 286 problems, but lcb_io has 287"):
        load_benchmark("lcb_io", short)


def test_a_window_of_dates(tmp_path):
    file = write(tmp_path / "lcb.jsonl", of_livecodebench(24, 0))
    assert len(load_benchmark("lcb_io", file, window=("2024-03-01", "2024-04-30"))) == 4
    with pytest.raises(ProblemFileError, match="dated between"):
        load_benchmark("lcb_io", file, window=("2025-01-01", "2025-02-01"))
    with pytest.raises(ValueError, match="unknown benchmark 'lcb_oi'; choose from dmc, lcb_io"):
        load_benchmark("lcb_oi")


def test_what_is_not_at_hand_comes_from_the_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFEXEC_DATA", str(tmp_path / "empty"))
    asked = []

    def snapshot_download(repository, repo_type, allow_patterns):
        asked.append((repository, repo_type, allow_patterns))
        write(tmp_path / "hub" / "test.jsonl", of_livecodebench(287, 1))
        return str(tmp_path / "hub")

    hub = types.ModuleType("huggingface_hub")
    hub.snapshot_download, hub.errors = snapshot_download, types.SimpleNamespace(HfHubHTTPError=ConnectionError)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert len(load_benchmark("lcb_io")) == 287
    assert asked[0][:2] == ("livecodebench/code_generation_lite", "dataset") and "test6.jsonl" in asked[0][2]

    def refused(*_, **__):
        raise ConnectionError("no network")

    hub.snapshot_download = refused
    with pytest.raises(
        ProblemFileError, match="lcb_io: not there, and livecodebench.* cannot be downloaded: no network"
    ):
        load_benchmark("lcb_io")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ProblemFileError, match=r"pip install 'selfexec_jax\[hf\]'"):
        load_benchmark("lcb_io")
    with pytest.raises(ProblemFileError, match="dmc_out.jsonl: no such problem file"):
        load_benchmark("dmc_out")


@pytest.mark.parametrize("name", ["cruxeval_o", "cruxeval_i", "humaneval", "mbpp"])
def test_benchmarks_that_are_at_hand(data, name):
    assert len(load_benchmark(name)) == BENCHMARKS[name].n


def test_statements_alone_are_problems_too(data):
    problems = load_problems(data / "codecontests_test_165.jsonl")
    assert len(problems) == 165 and not any(problem.solutions for problem in problems)
