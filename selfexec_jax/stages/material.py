"""What reinforcement learning works on: training problems, and programs for them with what these really give."""

from __future__ import annotations

import collections
import itertools
import random
from collections.abc import Callable

from selfexec_jax.problems import Problem
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.problems.generator import input_size
from selfexec_jax.problems.judge import limits_of
from selfexec_jax.rollout import Engine, Request
from selfexec_jax.sandbox import Run, SandboxPool
from selfexec_jax.self_execution.candidates import program_of
from selfexec_jax.self_execution.simulate import request_seed
from selfexec_jax.stages.outcomes import outcome_by
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tasks import solve


def problems_and_programs(
    config, workdir: Workdir, tokenizer, writer: Callable[[], Engine], pool: SandboxPool
) -> tuple[list, list[dict]]:
    """Training problems, and a row a program: its source and what it gives.

    The model writes its programs once (`writer` gives its engine); they are kept in data/own_programs.jsonl.gz, so that
    a resumed run works on the same ones.
    """
    problems = load_problems(workdir.data / "train.jsonl")
    problems = random.Random(f"{config.seed}/rl").sample(problems, min(config.rl.problems, len(problems)))
    path, hosts = workdir.data / "own_programs.jsonl.gz", workdir.hosts
    if not hosts.any("are there own programs", path.exists()):
        engine = writer()

        def rows_of(problems: list[Problem]) -> list[list[dict]]:
            found = {problem.id: [] for problem in problems}
            for row in run_programs(config, problems, own_programs(config, tokenizer, engine, problems), pool):
                found[row["problem"]].append(row)
            return list(found.values())

        workdir.write_rows(path, itertools.chain.from_iterable(hosts.divide("own programs", problems, rows_of)))
        hosts.wait("own programs are written")
    return problems, workdir.read_rows(path)


def own_programs(config, tokenizer, engine, problems: list[Problem]) -> list[dict[str, int]]:
    """The programs that the model writes for each problem, right or wrong, and how often it writes each."""
    requests = [
        Request(
            tuple(tokenizer.encode_prompt(solve.render(p, config.tasks.template))),
            n=config.rl.own_programs,
            max_new_tokens=config.rl.max_new_tokens,
            seed=request_seed(config.seed, "own", p.id),
        )
        for p in problems
    ]
    answers = engine.generate(requests)
    sources = ([program_of(s, config.tasks.template) for s in samples] for samples in answers)
    return [dict(collections.Counter(s for s in found if s)) for found in sources]


def run_programs(config, problems: list[Problem], sources: list[dict[str, int]], pool: SandboxPool) -> list[dict]:
    """Runs own programs and near misses on the public tests and on long inputs; one row a program."""
    jobs = []
    for problem, own in zip(problems, sources, strict=True):
        long = [t for t in problem.private_tests if input_size(t.input) >= config.rl.long_size]
        for source, count in [*own.items(), *((s, 0) for s in problem.wrong_solutions[-1:] if s not in own)]:
            tests = [*problem.public_tests, *long[: config.rl.long_inputs]]
            limits = limits_of(problem, tests)
            jobs.append((problem, source, count, tests, [pool.submit(Run(source, t.input), limits) for t in tests]))
    rows, outcome = [], outcome_by(config)
    for problem, source, count, tests, futures in jobs:
        done = [f.result() for f in futures]
        outputs = [outcome(problem, e) for e in done]
        n = len(problem.public_tests)
        rows.append(
            {"problem": problem.id, "source": source, "written": count, "public": outputs[:n],
             "long": [[t.input, o] for t, o in zip(tests[n:], outputs[n:], strict=True) if o is not None]}
        )  # fmt: skip
    return rows
