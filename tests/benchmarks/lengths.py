"""How long a run can be simulated: `python -m tests.benchmarks.lengths RUN [RUN ...] [--sizes 3,6,9]`.

Programs of held-out problems on inputs of more and more numbers, told as each run tells them. Prints the accuracy
by the size of the input with its interval over programs, the tokens that were generated, and the size at which accuracy
falls to half of what it is on the shortest; and how often the numbers of the input were read right, which everything
after that needs. Runs of one ablation, of several seeds, stand together in a row; what a run
gave lies in RUN/lengths.json and is not measured again.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import sys
from pathlib import Path

import numpy as np

from selfexec_jax.evals import bootstrap_ci
from selfexec_jax.problems.compare import outputs_match
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.sandbox import Run
from selfexec_jax.self_execution import simulate
from selfexec_jax.stages import model as models
from selfexec_jax.stages.asking import asks_of
from selfexec_jax.stages.problems import is_left_to_rl, open_pool
from selfexec_jax.stages.workdir import Workdir, config_of
from tests.benchmarks.ending import conclude, parser_of


def main() -> int:
    parser = parser_of("lengths", __doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories with trained models")
    parser.add_argument("--sizes", default="3,6,9,12,16,20,24,32", help="numbers in an input")
    parser.add_argument("--longest", type=int, default=640, help="tokens of an answer at most")
    parser.add_argument("--programs", type=int, default=150, help="of held-out problems, on one input of each size")
    args = parser.parse_args()
    sizes = [int(n) for n in args.sizes.split(",")]
    rows: dict[str, list[Answered]] = {}
    for run in args.runs:
        rows.setdefault(config_of(run).ablation or "(the config itself)", []).append(answered(run, sizes, args))
    print("| row | seeds | " + " | ".join(f"{n} numbers" for n in sizes) + " | half of the first at |")
    print("|" + "---|" * (len(sizes) + 3))
    found = {}
    for name, runs in rows.items():
        right, read, tokens = (np.concatenate([getattr(r, key) for r in runs]) for key in ("right", "read", "tokens"))
        cells = []
        for i in range(len(sizes)):
            value, low, high = (100 * x for x in bootstrap_ci(right[:, i], 0))
            cells.append(f"{value:.1f} [{low:.1f}, {high:.1f}], input {100 * read[:, i].mean():.0f},"
                         f" {tokens[:, i].mean():.0f} tokens")  # fmt: skip
        half = halved(sizes, right)
        found[name] = {"n": len(right), "seeds": len(runs), "right": right.mean(0).tolist(), "half": half,
                       "read": read.mean(0).tolist(), "tokens": tokens.mean(0).tolist()}  # fmt: skip
        print(f"| {name} | {len(runs)} | {' | '.join(cells)} | " + "{:.1f} [{:.1f}, {:.1f}] |".format(*half))
    return conclude(args, found, [])


@dataclasses.dataclass(frozen=True)
class Answered:
    """Which programs were simulated right, of which the input was read right, and the tokens of each, NxS for S sizes
    of input."""

    right: np.ndarray
    read: np.ndarray
    tokens: np.ndarray


def answered(run: str, sizes: list[int], args) -> Answered:
    kept = Path(run) / "lengths.json"
    asked = {"sizes": sizes, "programs": args.programs, "longest": args.longest}
    if kept.exists() and (found := json.loads(kept.read_text()))["asked"] == asked:
        return Answered(*(np.array(found[key], float) for key in ("right", "read", "tokens")))
    found = accuracies(run, sizes, args.programs, args.longest)
    values = {key: value.tolist() for key, value in vars(found).items()}
    kept.write_text(json.dumps({"asked": asked} | values))
    return found


def accuracies(folder: str, sizes: list[int], n: int, longest: int) -> Answered:
    loaded = models.trained(folder)
    config = loaded.config
    engine = loaded.engine().load(loaded.params(loaded.last()), 0)
    problems = load_problems(Workdir(folder).data / "heldout.jsonl")
    programs = [next((s for s in p.solutions if not is_left_to_rl(config, s)), None) for p in problems]
    programs = [s for s in programs if s][:n]
    largest, right, read, tokens = config.problems.largest_number, [], [], []
    with open_pool(config) as pool:
        for size in sizes:
            rng = random.Random(f"lengths/{size}")
            inputs = [" ".join(str(rng.randint(-largest // 3, largest)) for _ in range(size)) + "\n" for _ in programs]
            cases = list(zip(programs, inputs, strict=True))
            truths = pool.map([Run(*case) for case in cases])
            asking = dataclasses.replace(asks_of(config)["simulate"], max_new_tokens=longest)
            answers = [cell[0] for cell in simulate(engine, loaded.tokenizer, cases, 1, config.seed, asking)]
            right.append([a.output is not None and outputs_match(t.stdout, a.output)
                          for a, t in zip(answers, truths, strict=True)])  # fmt: skip
            spelled = [f"[{','.join(given.split())}]" for given in inputs]
            read.append([one in a.text.replace(" ", "") for one, a in zip(spelled, answers, strict=True)])
            tokens.append([a.n_tokens for a in answers])
            ends = {reason: sum(a.finish_reason == reason for a in answers) for reason in ("length", "too_long")}
            shares = f"{np.mean(right[-1]):.1%}, input {np.mean(read[-1]):.1%}"
            print(folder, size, shares, ends, file=sys.stderr, flush=True)
    return Answered(*(np.array(each, float).T for each in (right, read, tokens)))


def halved(sizes: list[int], right: np.ndarray) -> tuple[float, float, float]:
    """The size at which accuracy falls to half of the first, with its interval over programs; infinite beyond the
    last."""
    rng = np.random.default_rng(0)
    drawn = [_half(sizes, right[rng.integers(0, len(right), len(right))].mean(0)) for _ in range(2000)]
    return _half(sizes, right.mean(0)), *np.quantile(drawn, (0.025, 0.975), method="nearest").tolist()


def _half(sizes: list[int], values: np.ndarray) -> float:
    """Between two sizes in a straight line."""
    half = values[0] / 2
    for (a, x), (b, y) in itertools.pairwise(zip(sizes, values, strict=True)):
        if y <= half:
            return float(a + (b - a) * (x - half) / (x - y))
    return float("inf")


if __name__ == "__main__":
    sys.exit(main())
