"""Named benchmarks: what is asked, which problems they hold, how many, and where these come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from selfexec_jax.problems.datasets import ProblemFileError, data_dir, load_problems
from selfexec_jax.problems.types import Problem


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """One set of questions.

    asks: program (that passes the tests), output (of the problem's program on its input), input (that gives its
    output). n: how many there are, checked at load; None where it depends on who made the file. file: its name in
    the folder of real data. hub: the data set on the Hugging Face hub and the files of it.
    """

    asks: str
    n: int | None
    file: str
    hub: tuple[str, tuple[str, ...]] | None = None
    keeps: Callable[[Problem], bool] = lambda problem: True


def _is_stdio(problem: Problem) -> bool:
    return problem.kind == "stdio"


_CRUXEVAL = ("cruxeval-org/cruxeval", ("test.jsonl",))
_LIVECODEBENCH = ("livecodebench/code_generation_lite", tuple(f"test{n}.jsonl" for n in ("", 2, 3, 4, 5, 6)))
BENCHMARKS: dict[str, Benchmark] = {
    # the paper's
    "dmc": Benchmark("program", 282, "dmc", ("deepmind/code_contests", ("data/valid-*", "data/test-*"))),
    "lcb_io": Benchmark("program", 287, "lcb_io", _LIVECODEBENCH, _is_stdio),
    "cruxeval_o": Benchmark("output", 800, "cruxeval.jsonl", _CRUXEVAL),
    "dmc_out": Benchmark("output", None, "dmc_out.jsonl"),
    "lcb_io_out": Benchmark("output", None, "lcb_io_out.jsonl"),
    # others
    "own": Benchmark("program", None, "own.jsonl"),  # whatever the file holds
    "cruxeval_i": Benchmark("input", 800, "cruxeval.jsonl", _CRUXEVAL),
    "lcb": Benchmark("program", None, "livecodebench", _LIVECODEBENCH),
    "lcb_execution": Benchmark("output", 479, "lcb_execution", ("livecodebench/execution-v2", ("test.jsonl",))),
    "lcb_test_output": Benchmark("output", 442, "lcb_test_output", ("livecodebench/test_generation", ("test.jsonl",))),
    "humaneval": Benchmark("program", 164, "HumanEval.jsonl.gz", ("openai/openai_humaneval", ("**/test-*.parquet",))),
    "humaneval_plus": Benchmark("program", 164, "humaneval_plus", ("evalplus/humanevalplus", ("data/test-*.parquet",))),
    "mbpp": Benchmark("program", 974, "mbpp.jsonl", ("google-research-datasets/mbpp", ("full/*.parquet",))),
    "mbpp_plus": Benchmark("program", 378, "mbpp_plus", ("evalplus/mbppplus", ("data/test-*.parquet",))),
}


def load_benchmark(
    name: str, path: str | Path | None = None, window: tuple[str, str] | None = None,
    folder: str | Path | None = None,
) -> list[Problem]:  # fmt: skip
    """The problems of a named benchmark, from where `place_of` says, or the hub (extra `[hf]`).

    window: keeps problems whose date (YYYY-MM-DD) lies in it, both ends included; a set that is cut has no fixed
    count. Raises ProblemFileError for data that cannot be had, or that holds another number of problems.
    """
    benchmark = benchmark_named(name)
    place = place_of(name, path, folder)
    if not path and not place.exists() and benchmark.hub is not None:
        place = _downloaded(benchmark, place)
    problems = [problem for problem in load_problems(place) if benchmark.keeps(problem)]
    if window is not None:
        problems = [problem for problem in problems if window[0] <= _date_of(problem) <= window[1]]
        if not problems:
            raise ProblemFileError(f"{place}: no problem is dated between {window[0]} and {window[1]}")
    elif benchmark.n is not None and len(problems) != benchmark.n:
        raise ProblemFileError(f"{place}: {len(problems)} problems, but {name} has {benchmark.n}")
    return problems


def benchmark_named(name: str) -> Benchmark:
    """The benchmark of that name; ValueError names the choices."""
    if name not in BENCHMARKS:
        raise ValueError(f"unknown benchmark {name!r}; choose from {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def _date_of(problem: Problem) -> str:
    return next((tag[5:] for tag in problem.tags if tag.startswith("date:")), "")


def place_of(name: str, path: str | Path | None = None, folder: str | Path | None = None) -> Path:
    """Where the data of a benchmark is looked for first: `path`, else its file in the folder of real data."""
    return Path(path) if path else Path(folder or data_dir()) / benchmark_named(name).file


def _downloaded(benchmark: Benchmark, place: Path) -> Path:
    """Where its data lies after a download; `place` is where it is missing."""
    try:
        import huggingface_hub
    except ImportError:
        raise ProblemFileError(
            f"{place}: not there; put it there, or install the extra for the hub: pip install 'selfexec_jax[hf]'"
        ) from None
    repository, files = benchmark.hub
    try:
        return Path(huggingface_hub.snapshot_download(repository, repo_type="dataset", allow_patterns=list(files)))
    except (OSError, ValueError, huggingface_hub.errors.HfHubHTTPError) as error:
        raise ProblemFileError(f"{place}: not there, and {repository} cannot be downloaded: {error}") from None
