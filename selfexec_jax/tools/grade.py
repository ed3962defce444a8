"""Judge any model's answers: `python -m selfexec_jax.tools.grade --benchmark NAME --samples FILE [--data FILE]`."""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import sys

import tqdm

from selfexec_jax.evals.grading import Graded, figures, grade, labels, numbered
from selfexec_jax.problems.benchmarks import BENCHMARKS, benchmark_named, load_benchmark
from selfexec_jax.problems.files import read_log
from selfexec_jax.problems.samples import Sample, read_samples
from selfexec_jax.sandbox import SandboxPool, SandboxTooWeak
from selfexec_jax.tools.given import complain
from selfexec_jax.traces.clean import clean

_SAMPLES = (
    "answers: jsonl of problem and text, or of EvalPlus's task_id and solution, or LiveCodeBench's custom output; a "
    "program may stand in a fenced block"
)


def main(argv=None):
    """Grade and print the table; exit code 2 for bad input, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m selfexec_jax.tools.grade", description=__doc__)
    parser.add_argument("--benchmark", required=True, help=f"one of {', '.join(BENCHMARKS)}")
    parser.add_argument("--samples", required=True, type=pathlib.Path, help=_SAMPLES)
    parser.add_argument("--data", help="file or folder of the problems (default: where real data is, else the hub)")
    parser.add_argument("--window", metavar="FROM:TO", help="problems of these dates alone, as YYYY-MM-DD:YYYY-MM-DD")
    parser.add_argument("--out", type=pathlib.Path, help="verdicts (default: SAMPLES.NAME.verdicts.jsonl)")
    parser.add_argument("--k", default="1", help="comma-separated k of pass@k (default 1)")
    parser.add_argument("--rule", help="how answers are compared (default: as the benchmark has it)")
    parser.add_argument("--in-process", action="store_true", help="let odd tests share a process with the program")
    parser.add_argument("--seed", type=int, default=0, help="of the intervals (default 0)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="programs at once (default: one a core)")
    parser.add_argument("--min-tier", default="uid_chroot", help="weakest protection to accept")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args(argv)
    out = args.out or args.samples.with_name(f"{args.samples.name}.{args.benchmark}.verdicts.jsonl")
    try:
        ks = [int(k) for k in args.k.split(",")]
        window = _window(args.window)
        benchmark = benchmark_named(args.benchmark)
        problems = load_benchmark(args.benchmark, args.data, window)
        samples = read_samples(args.samples, problems)
        graded = _grade_all(args, benchmark, problems, samples, out)
        found = {
            "benchmark": args.benchmark, "problems": len(problems), "samples": len(samples),
            "labels": labels(problems, graded), "figures": figures(problems, graded, ks, args.seed),
        }  # fmt: skip
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    except (OSError, ValueError, RuntimeError, SandboxTooWeak) as error:
        return complain(error)
    print(json.dumps(found, indent=1) if args.json else _in_words(found, out))
    return 0


def _window(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    first, colon, last = text.partition(":")
    if not colon:
        raise ValueError(f"--window: {text!r} is not FROM:TO")
    return first, last or "9999"


def _grade_all(args, benchmark, problems, samples: list[Sample], out: pathlib.Path) -> list[Graded]:
    """Grades what the file of verdicts lacks, and adds it there; in the order of the samples."""
    wanted = [(index, sample, _digest(args, sample)) for index, sample in numbered(samples)]
    known = _known(out)
    left = [each for each in wanted if (each[1].problem, each[0], each[2]) not in known]
    by_place = {(sample.problem, index): digest for index, sample, digest in left}
    needs_pool = left and benchmark.asks != "output"
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(SandboxPool(args.workers, min_tier=args.min_tier)) if needs_pool else None
        file = stack.enter_context(open(out, "a", encoding="utf-8"))
        todo = [(index, sample) for index, sample, _ in left]
        found = grade(benchmark.asks, problems, todo, pool, args.rule, args.in_process)
        for one in tqdm.tqdm(found, total=len(todo), unit="sample", disable=None):
            digest = by_place[one.problem, one.index]
            known[one.problem, one.index, digest] = one
            if one.label != "infra_error":  # to be tried again the next time
                file.write(json.dumps(dataclasses.asdict(one) | {"digest": digest}) + "\n")
    return [known[sample.problem, index, digest] for index, sample, digest in wanted]


def _digest(args, sample: Sample) -> str:
    """What a verdict depends on besides the benchmark's data."""
    asked = [args.benchmark, args.data, args.rule, args.in_process, sample.text, sample.finish_reason]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def _known(out: pathlib.Path) -> dict:
    """The verdicts of an earlier run, by problem, index and digest."""
    found = {}
    for number, row in enumerate(read_log(out, "a verdict"), 1):
        digest = row.pop("digest", None)
        try:
            found[row["problem"], row["index"], digest] = Graded(**row)
        except (KeyError, TypeError):
            raise ValueError(f"{out}:{number}: not a verdict; name another file or remove this one") from None
    return found


def _in_words(found: dict, out: pathlib.Path) -> str:
    lines = [f"{found['benchmark']}: {found['samples']} samples of {found['problems']} problems"]
    if missing := sum(found["labels"].values()) - found["samples"]:
        lines[0] += f"; {missing} that problems lack beside others count as unanswered"
    lines += ["", "| figure | % | 95 % interval | n |", "|---|---|---|---|"]
    for name, each in found["figures"].items():
        interval = f"[{100 * each['low']:.2f}, {100 * each['high']:.2f}]"
        lines.append(f"| {name} | {100 * each['value']:.2f} | {interval} | {each['n']} |")
    lines += ["", "| label | samples |", "|---|---|"]
    lines += [f"| {label} | {n} |" for label, n in found["labels"].items()]
    return clean("\n".join([*lines, "", f"verdicts: {out}"]))


if __name__ == "__main__":
    sys.exit(main())
