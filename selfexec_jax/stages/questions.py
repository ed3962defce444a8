"""What an evaluation asks: problems to solve, and outputs to predict; generated ones, or a named benchmark's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from selfexec_jax.problems import Problem
from selfexec_jax.problems.benchmarks import benchmark_named, load_benchmark
from selfexec_jax.problems.datasets import data_dir, load_problems
from selfexec_jax.problems.generator import input_size, trapped
from selfexec_jax.stages.problems import is_left_to_rl
from selfexec_jax.stages.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Case:
    """One output to predict: `kind` says what sort of program and input it is; `expected`, where a benchmark says."""

    kind: str
    problem: Problem
    source: str
    input: str
    expected: str | None = None

    @property
    def given(self) -> str:
        return self.problem.given(self.input)


LIKE_TRAINING = ("narrated_like", "benchmark")  # kinds that are asked as verification asks


def problems_and_cases(config, workdir: Workdir) -> tuple[list[Problem], list[Case]]:
    """Problems to solve, and cases that do not depend on what was written for them.

    Generated ones of the run, or those of `eval.benchmark`, where one that asks for outputs has cases alone. Raises
    ProblemFileError for data that cannot be had.
    """
    name = config.eval.benchmark
    if not name:
        sizes = {"heldout": config.problems.n_heldout, "unseen": config.problems.n_unseen}
        return [p for split, n in sizes.items() if n for p in load_problems(workdir.data / f"{split}.jsonl")], []
    problems = load_benchmark(name, config.eval.benchmark_data, folder=data_dir(config.problems.real_data))
    if benchmark_named(name).asks == "program":
        return problems, []
    return [], [
        Case("benchmark", p, p.solutions[0], p.private_tests[0].input, p.private_tests[0].output) for p in problems
    ]


def cases_of(config, problems: Sequence[Problem], written: Sequence[Sequence[str | None]]) -> list[Case]:
    """Outputs to predict, of programs written for problems: the candidates of the model, or the problem's own.

    Of generated problems: `narrated_like`, right programs of narrated forms, and traps, on short inputs. What SFT did
    not narrate: `own` and `near_miss` programs on longer inputs, and the model's own (`own_form`) and other programs of
    a `new_form` on short ones. All but own programs are the same for every model. Of a benchmark's: `own` programs on
    the first public test.
    """
    cases = []
    for problem, sources in zip(problems, written, strict=True):
        if config.eval.benchmark:
            if sources[0] and problem.public_tests:
                cases.append(Case("own", problem, sources[0], problem.public_tests[0].input))
            continue
        short = problem.public_tests[0].input
        known = [s for s in problem.solutions if not is_left_to_rl(config, s)]
        new = [s for s in (*problem.solutions, *problem.wrong_solutions) if is_left_to_rl(config, s)]
        cases += [Case("narrated_like", problem, s, short) for s in known[:1]]
        cases += [Case("new_form", problem, s, short) for s in new[:1]]
        own = [s for s in sources if s and is_left_to_rl(config, s)]
        cases += [Case("own_form", problem, s, short) for s in own[:1]]
        cases += [Case("narrated_like", problem, s, t.input) for s in trapped(problem) for t in problem.public_tests]
        long = [t.input for t in problem.private_tests if input_size(t.input) >= config.rl.long_size]
        if not long:
            continue
        cases.append(Case("near_miss", problem, problem.wrong_solutions[0], long[0]))
        if sources[0]:
            cases.append(Case("own", problem, sources[0], long[-1]))
    return cases
