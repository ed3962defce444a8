"""Stage 1: problems, their runs, narrations of the runs, and the tokenizer."""

from __future__ import annotations

import collections
import dataclasses
import random

from selfexec_jax.problems import Problem
from selfexec_jax.problems.compare import outputs_match
from selfexec_jax.problems.datasets import NAMES, data_dir, load_problems, save_problems
from selfexec_jax.problems.generator import Rejected, generate, input_size, trapped
from selfexec_jax.problems.judge import judge, run_on
from selfexec_jax.problems.splits import normalised_ast
from selfexec_jax.sandbox import Limits, Run, SandboxPool, TraceBudget
from selfexec_jax.stages.decontaminate import at_hand, decontaminate
from selfexec_jax.stages.origin import origin_of, runs_before
from selfexec_jax.stages.outcomes import outcome_by, recorded
from selfexec_jax.stages.progress import progress
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tasks import fix, solve
from selfexec_jax.text import train_tokenizer
from selfexec_jax.traces import TOO_LONG, check_claims, chunks, narrate, parse_claims

SPLITS = ("train", "heldout", "unseen")


def open_pool(config) -> SandboxPool:
    """A sandbox pool as the config's `sandbox` section asks."""
    s = config.sandbox
    limits = Limits(s.cpu_s, s.wall_s, s.memory_mb, s.stdout_bytes)
    return SandboxPool(workers=s.workers, limits=limits, min_tier=s.min_tier)


def run(config, workdir: Workdir) -> dict:
    """Writes splits, narrations, tokenizer, and what of further data must not be used, to data/; returns the counts."""
    removed = decontaminate(config, workdir)
    splits, rejected = problems_of(config)
    with open_pool(config) as pool:
        check_references(splits["heldout"] + splits["unseen"], pool)
        narrations, statuses = narrate_training(config, splits["train"], pool)
        if config.sft.mix.propose:
            telling = telling_inputs(config, splits["train"], pool)
            workdir.write_rows(workdir.data / "telling_inputs.jsonl.gz", telling)
        real = narrate_real(config, pool)
        tier = pool.capabilities()["tier"]
    for name in SPLITS:
        save_problems(workdir.data / f"{name}.jsonl", splits[name])
    workdir.write_rows(workdir.data / "narrations.jsonl.gz", narrations)
    if not origin_of(config).pretrained:
        texts = _tokenizer_texts(config, splits["train"], narrations)
        train_tokenizer(texts, config.text.vocab_size, workdir.tokenizer)
    return {
        "problems": {name: len(splits[name]) for name in SPLITS},
        "open": {name: sum("open" in p.tags for p in splits[name]) for name in SPLITS},
        "rejected": dataclasses.asdict(rejected),
        "decontaminated": removed,
        "kept_out": at_hand(config) if config.sft.sources else [],
        "narrations": len(narrations),
        "statuses": statuses,
        "real": real,
        "sandbox_tier": tier,
    }


def problems_of(config, n_validation: int = 0) -> tuple[dict[str, list[Problem]], Rejected]:
    """Generated problems; what a run that this one begins with trained on, near misses too, is held out nowhere."""
    learned = set()
    for before in runs_before(config).values():
        if before.problems != config.problems:  # the same ones are apart already
            for problem in generate(before.problems, before.seed)[0]["train"]:
                learned |= set(map(normalised_ast, (*problem.solutions, *problem.wrong_solutions)))
    return generate(config.problems, config.seed, n_validation, sorted(learned))


def check_references(problems: list[Problem], pool: SandboxPool) -> None:
    """Runs every evaluation problem's reference program on all its tests; a wrong one is an error."""
    futures = [judge(p.solutions[0], p, p.public_tests + p.private_tests, pool) for p in problems]
    for problem, future in zip(problems, progress(futures, "checking references"), strict=True):
        status = future.result().status
        if status != "passed":
            raise RuntimeError(f"{problem.id}: the reference program does not pass the generator's tests ({status})")


def is_left_to_rl(config, source: str) -> bool:
    """Whether a program is of a form that SFT does not narrate."""
    return any(mark in source for mark in config.sft.left_to_rl)


def narrate_training(config, problems: list[Problem], pool: SandboxPool) -> tuple[list[dict], dict]:
    """Traced and narrated runs of right programs on short inputs and of near misses on the public tests."""
    rng = random.Random(f"{config.seed}/narrations")
    jobs = []
    for problem in problems:
        tests = problem.public_tests + problem.private_tests
        short = [t for t in tests if input_size(t.input) <= config.sft.narrated_size]
        for test in rng.sample(short, min(config.sft.narrated_tests, len(short))):
            jobs.append((problem, rng.choice(problem.solutions), test, True))
        if trapped(problem):  # inputs that only the right program gets through
            jobs += [(problem, rng.choice(problem.solutions), test, True) for test in problem.public_tests]
        jobs += [(problem, problem.wrong_solutions[0], test, False) for test in problem.public_tests]
    futures = recorded(config, pool, [(problem, Run(source, test.input)) for problem, source, test, _ in jobs])
    rows, statuses, outcome_of = [], collections.Counter(), outcome_by(config)
    for (problem, source, test, is_right), future in zip(jobs, progress(futures, "narrating"), strict=True):
        execution = future.result()
        statuses[execution.status] += 1
        outcome = outcome_of(problem, execution)
        is_told = execution.trace is not None and execution.trace.stop in (None, TOO_LONG)
        if outcome is None or not is_told:
            continue
        if is_right and not outputs_match(test.output, execution.stdout):
            raise RuntimeError(f"{problem.id}: the reference program and the generator disagree on {test.input!r}")
        narration = narrate(execution.trace, style=config.tasks.style)
        if execution.trace.stop is None and not outputs_match(execution.stdout, narration.output, "exact"):
            statuses["output not fully traced"] += 1
            continue
        row = {"problem": problem.id, "source": source, "stdin": test.input, "text": narration.text,
               "output": outcome, "is_right": is_right, "is_left_to_rl": is_left_to_rl(config, source)}
        if config.tasks.chunk_chars:
            pieces = chunks(execution.trace, source, config.tasks.style, config.tasks.chunk_chars)
            row["chunks"] = [dataclasses.astuple(piece) for piece in pieces]
        rows.append(row)
    return rows, dict(statuses)


def telling_inputs(config, problems: list[Problem], pool: SandboxPool) -> list[dict]:
    """Inputs that a near miss fails on, no longer than those that are narrated: what proposing is learned from."""
    jobs = []
    for problem in problems:
        tests = [t for t in problem.private_tests if input_size(t.input) <= config.sft.narrated_size]
        if tests:
            jobs.append((problem, tests, [judge(wrong, problem, tests, pool) for wrong in problem.wrong_solutions]))
    rows = []
    for problem, tests, futures in progress(jobs, "telling near misses apart"):
        verdicts = [future.result() for future in futures]
        passed = [verdict.passed for verdict in verdicts if verdict.status in ("passed", "failed")]
        rows += [{"problem": problem.id, "input": test.input}
                 for i, test in enumerate(tests) if not all(each[i] for each in passed)]  # fmt: skip
    return rows


def narrate_real(config, pool: SandboxPool) -> dict:
    """Runs, traces, narrates and checks real programs where they are to be had; statuses by set."""
    found = {}
    directory = data_dir(config.problems.real_data)
    for name, file in NAMES.items():
        if not (directory / file).is_file():
            continue
        runs = []
        for problem in load_problems(directory / file):
            test = (problem.public_tests + problem.private_tests)[0]
            runs.append(run_on(problem.solutions[0], problem, test.input, TraceBudget()))
        counts = collections.Counter()
        futures = [pool.submit(r) for r in runs]
        for future in progress(futures, f"narrating {name}"):
            execution = future.result()
            status = execution.status
            if execution.trace is not None and status == "ok":
                narration = narrate(execution.trace, style="full")
                check = check_claims(parse_claims(narration.text, style="full"), execution.trace, style="full")
                status = "narrated and checked" if check.ok else "narrated, check failed"
            counts[status] += 1
        found[name] = dict(counts)
    return found


def _tokenizer_texts(config, problems: list[Problem], narrations: list[dict]) -> list[str]:
    """A sample of everything the model reads and writes, from the training split alone."""
    texts = [row["text"] for row in narrations[::4]] + [row["source"] for row in narrations[::8]]
    for problem in problems[::2]:
        texts.append(solve.render(problem, config.tasks.template)[0]["content"])
        feedback = [fix.Feedback(t, t.output) for t in problem.public_tests]
        texts.append(fix.render(problem, problem.solutions[0], feedback, config.tasks.template)[0]["content"])
    return texts
