"""Make the output-prediction set: `python -m selfexec_jax.tools.predictions --problems P --samples S --out FILE`."""

import argparse
import json
import os
import pathlib
import sys

from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.problems.files import write_whole
from selfexec_jax.problems.predictions import prediction_set
from selfexec_jax.problems.samples import read_samples
from selfexec_jax.sandbox import SandboxPool, SandboxTooWeak
from selfexec_jax.tools.given import complain
from selfexec_jax.traces.clean import clean


def main(argv=None):
    """Judge the samples, keep right ones and write each with every public test; exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m selfexec_jax.tools.predictions", description=__doc__)
    parser.add_argument("--problems", required=True, help="a set's name, a file or a folder")
    parser.add_argument("--samples", required=True, help="programs that models wrote; see problems/samples.py")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="jsonl: problem, model, source, input, output")
    parser.add_argument("--right", type=int, default=4, help="right programs kept of a problem and model (default 4)")
    parser.add_argument("--wrong", type=int, default=0, help="wrong programs kept of a problem and model (default 0)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="programs at once (default: one a core)")
    parser.add_argument("--min-tier", default="uid_chroot", help="weakest protection to accept")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    args = parser.parse_args(argv)
    try:
        problems = load_problems(args.problems)
        samples = read_samples(args.samples, problems)
        with SandboxPool(args.workers, min_tier=args.min_tier) as pool:
            rows, counts = prediction_set(problems, samples, pool, args.right, args.wrong)
        write_whole(args.out, "".join(json.dumps(row) + "\n" for row in rows))
    except (OSError, ValueError, RuntimeError, SandboxTooWeak) as error:
        return complain(error)
    found = {"rows": len(rows), "samples": counts}
    lines = [f"{len(rows)} rows in {args.out}", *(f"  {n} samples: {name}" for name, n in counts.items())]
    print(json.dumps(found, indent=1) if args.json else clean("\n".join(lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
