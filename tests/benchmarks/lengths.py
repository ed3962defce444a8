"""How long a run can be simulated: `python -m tests.benchmarks.lengths RUN [RUN ...] [--sizes 3,6,9]`.

Programs of held-out problems on inputs of more and more numbers, told as each run tells them. Prints the accuracy
by the size of the input with its interval over programs, the tokens that were generated, and the size at which accuracy
falls to half of what it is on the shortest.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import sys

import numpy as np

from selfexec_jax.evals import bootstrap_ci
from selfexec_jax.problems.compare import outputs_match
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.sandbox import Run
from selfexec_jax.self_execution import simulate
from selfexec_jax.stages import model as models
from selfexec_jax.stages.asking import asks_of
from selfexec_jax.stages.problems import is_left_to_rl, open_pool
from selfexec_jax.stages.workdir import Workdir
from tests.benchmarks.ending import conclude, parser_of


def main() -> int:
    parser = parser_of("lengths", __doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories with trained models")
    parser.add_argument("--sizes", default="3,6,9,12,16,20,24,32", help="numbers in an input")
    parser.add_argument("--longest", type=int, default=640, help="tokens of an answer at most")
    parser.add_argument("--programs", type=int, default=150, help="of held-out problems, on one input of each size")
    args = parser.parse_args()
    sizes = [int(n) for n in args.sizes.split(",")]
    found = {run: accuracies(run, sizes, args.programs, args.longest) for run in args.runs}
    print("| run | " + " | ".join(f"{n} numbers" for n in sizes) + " | half of the first at |")
    print("|" + "---|" * (len(sizes) + 2))
    for run, rows in found.items():
        shares = [[f"{100 * r[key]:.1f}" for key in ("value", "low", "high")] for r in rows]
        cells = [f"{v} [{a}, {b}], {r['tokens']:.0f} tokens" for (v, a, b), r in zip(shares, rows, strict=True)]
        print(f"| {run} | " + " | ".join(cells) + f" | {halved(sizes, [r['value'] for r in rows])} |")
    return conclude(args, found, [])


def accuracies(folder: str, sizes: list[int], n: int, longest: int) -> list[dict]:
    loaded = models.trained(folder)
    config = loaded.config
    engine = loaded.engine().load(loaded.params(loaded.last()), 0)
    problems = load_problems(Workdir(folder).data / "heldout.jsonl")
    programs = [next((s for s in p.solutions if not is_left_to_rl(config, s)), None) for p in problems]
    programs = [s for s in programs if s][:n]
    largest, rows = config.problems.largest_number, []
    with open_pool(config) as pool:
        for size in sizes:
            rng = random.Random(f"lengths/{size}")
            inputs = [" ".join(str(rng.randint(-largest // 3, largest)) for _ in range(size)) + "\n" for _ in programs]
            cases = list(zip(programs, inputs, strict=True))
            truths = pool.map([Run(*case) for case in cases])
            asking = dataclasses.replace(asks_of(config)["simulate"], max_new_tokens=longest)
            answers = [cell[0] for cell in simulate(engine, loaded.tokenizer, cases, 1, config.seed, asking)]
            right = [a.output is not None and outputs_match(t.stdout, a.output)
                     for a, t in zip(answers, truths, strict=True)]  # fmt: skip
            value, low, high = bootstrap_ci(np.array(right, float), 0)
            ends = {reason: sum(a.finish_reason == reason for a in answers) for reason in ("length", "too_long")}
            tokens = float(np.mean([a.n_tokens for a in answers]))
            row = {"size": size, "value": value, "low": low, "high": high, "n": len(cases), "tokens": tokens} | ends
            rows.append(row)
            print(folder, row, file=sys.stderr, flush=True)
    return rows


def halved(sizes: list[int], values: list[float]) -> str:
    """The size at which accuracy crosses half of the first, between two sizes in a straight line."""
    half = values[0] / 2
    for (a, x), (b, y) in itertools.pairwise(zip(sizes, values, strict=True)):
        if y < half:
            return f"{a + (b - a) * (x - half) / (x - y):.1f}"
    return f"beyond {sizes[-1]}"


if __name__ == "__main__":
    sys.exit(main())
