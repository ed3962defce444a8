"""How long a run can be simulated: `python -m tests.benchmarks.lengths [RUN ...] [--sizes 3,6,9]`.

Programs of held-out problems on inputs of more and more numbers, told as each run tells them. Writes
tests/benchmarks/lengths/ROW-seed-N.json, and of all that lie there prints the accuracy by the size of the input with
its interval over programs, seeds of a row together, the tokens that were generated, and how often the numbers of the
input were read right, since up to two fifths of these outputs are right by a guess. Then how far each row reaches: the
size at which a share falls to half of what it is on the shortest inputs, that of right outputs and that of those which
also read the input right, over what it is of the paper's style on the same seeds, together and by seed; and up to which
size a fixed share of the latter is left. Draws the latter and the tokens. With `--chunk_votes 1,5` each run is measured
with one answer and with what most of five say to every piece of a simulation, which is the whole where it is not told
in pieces. The runs are those of the rows `long_runs*` of configs/tiny.py, with `--config.stages=problems,sft`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from selfexec_jax.evals import bootstrap_ci
from selfexec_jax.evals.looks import COLOURS, INK, STYLE, axis_of
from selfexec_jax.problems.compare import outputs_match
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.sandbox import Run
from selfexec_jax.self_execution import Invocation, simulate
from selfexec_jax.stages import model as models
from selfexec_jax.stages.asking import asks_of
from selfexec_jax.stages.problems import is_left_to_rl, open_pool
from selfexec_jax.stages.workdir import Workdir, config_of
from selfexec_jax.traces import numbered
from tests.benchmarks.ending import conclude, parser_of

RESULTS = Path(__file__).with_name("lengths")
BASELINE, TIMES = "long_runs_full", 2.0  # the paper's style, and how many times as far some row is to reach
LEAST = 0.4  # share of simulations that output and input are to be right in
DRAWS = 2000


def main() -> int:
    parser = parser_of("lengths", __doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run directories with trained models")
    parser.add_argument("--sizes", default="3,6,9,12,16,20,24,32", help="numbers in an input")
    parser.add_argument("--longest", type=int, default=900, help="tokens of an answer at most")
    parser.add_argument("--programs", type=int, default=150, help="of held-out problems, on one input of each size")
    parser.add_argument("--chunk_votes", default="1", help="answers a piece, with commas between them (default 1)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of several answers a piece (default 1)")
    parser.add_argument("--results", default=str(RESULTS), type=Path, help="where a file a row and seed lies")
    args = parser.parse_args()
    args.results.mkdir(exist_ok=True)
    sizes = [int(n) for n in args.sizes.split(",")]
    for run, votes in itertools.product(args.runs, map(int, args.chunk_votes.split(","))):
        config = config_of(run)
        measured = answered(run, sizes, args.programs, args.longest, votes, args.temperature)
        voted = f"-{votes}-votes" if votes > 1 else ""
        path = args.results / f"{config.ablation or config.name}{voted}-seed-{config.seed}.json"
        path.write_text(json.dumps({"sizes": sizes} | measured.as_text()) + "\n")
    rows: dict[str, dict[int, Answered]] = {}
    for path in sorted(args.results.glob("*-seed-*.json")):
        kept = json.loads(path.read_text())
        if kept.pop("sizes") == sizes:
            name, _, seed = path.stem.partition("-seed-")
            rows.setdefault(name, {})[int(seed)] = Answered.of_text(kept)
    print("| row | seeds | " + " | ".join(f"{n} numbers" for n in sizes) + " |")
    print("|" + "---|" * (len(sizes) + 2))
    found, curves = {}, {}
    for name, runs in rows.items():
        columns = ("right", "read", "both", "tokens")
        right, read, both, tokens = (np.concatenate([getattr(r, key) for r in runs.values()]) for key in columns)
        curves[name] = [bootstrap_ci(column, 0) for column in both.T], tokens.mean(0)
        cells = []
        for i in range(len(sizes)):
            value, low, high = (100 * x for x in bootstrap_ci(right[:, i], 0))
            cells.append(f"{value:.1f} [{low:.1f}, {high:.1f}], input {100 * read[:, i].mean():.0f},"
                         f" both {100 * both[:, i].mean():.0f}, {tokens[:, i].mean():.0f} tokens")  # fmt: skip
        found[name] = {"n": len(right), "seeds": list(runs), "reach": reach(sizes, runs, rows.get(BASELINE, {}))} | {
            key: column.mean(0).tolist() for key, column in zip(columns, (right, read, both, tokens), strict=True)
        }
        print(f"| `{name}` | {', '.join(map(str, runs))} | {' | '.join(cells)} |")
    print("\n" + reaches(found))
    draw(sizes, curves, args.results / "lengths.png")
    return conclude(args, found, misses(found))


@dataclasses.dataclass(frozen=True)
class Answered:
    """Which programs were simulated right, of which the input was read right, and the tokens of each, NxS for S sizes
    of input."""

    right: np.ndarray
    read: np.ndarray
    tokens: np.ndarray

    @property
    def both(self) -> np.ndarray:
        return self.right * self.read

    def as_text(self) -> dict[str, list[str]]:
        """A line of each a size."""
        digits = lambda rows: ["".join(str(int(x)) for x in row) for row in rows.T]  # noqa: E731
        words = [" ".join(str(int(x)) for x in row) for row in self.tokens.T]
        return {"right": digits(self.right), "read": digits(self.read), "tokens": words}

    @classmethod
    def of_text(cls, lines: dict[str, list[str]]) -> Answered:
        columns = (lines["right"], lines["read"], [line.split() for line in lines["tokens"]])
        return cls(*(np.array([list(row) for row in column], float).T for column in columns))


def answered(folder: str, sizes: list[int], n: int, longest: int, votes: int, temperature: float) -> Answered:
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
            truths = pool.map(list(map(Run, programs, inputs)))
            room = min(longest, config.sft.row_tokens) if config.tasks.chunk_chars else longest  # a piece fits it
            asking = dataclasses.replace(asks_of(config)["simulate"], max_new_tokens=room, chunk_votes=votes)
            if votes > 1:  # greedy ones are all alike
                asking = dataclasses.replace(asking, temperature=temperature)
            cases = list(map(Invocation, programs, inputs))
            answers = [cell[0] for cell in simulate(engine, loaded.tokenizer, cases, 1, config.seed, asking)]
            right.append([a.output is not None and outputs_match(t.stdout, a.output)
                          for a, t in zip(answers, truths, strict=True)])  # fmt: skip
            spelled = [f"[{','.join(given.split())}]" for given in inputs]
            if config.tasks.style == "numbered":
                spelled = list(map(numbered.listed, spelled))
            read.append([one in a.text.replace(" ", "") for one, a in zip(spelled, answers, strict=True)])
            tokens.append([a.n_tokens for a in answers])
            ends = {reason: sum(a.finish_reason == reason for a in answers) for reason in ("length", "too_long")}
            shares = f"{np.mean(right[-1]):.1%}, input {np.mean(read[-1]):.1%}"
            print(folder, size, shares, ends, file=sys.stderr, flush=True)
    return Answered(*(np.array(each, float).T for each in (right, read, tokens)))


def draw(sizes: list[int], curves: dict[str, tuple[list, np.ndarray]], path: Path) -> None:
    """A line a row: the shares that are right and whose input was read right, with their intervals, and the tokens."""
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(9.6, 3.6), layout="constrained")
        shares, costs = canvas.subplots(1, 2)
        for (name, (intervals, tokens)), colour in zip(curves.items(), itertools.cycle([*COLOURS, INK])):
            value, low, high = 100 * np.array(intervals).T
            shares.plot(sizes, value, color=colour, marker="o", markersize=4, label=name)
            shares.fill_between(sizes, low, high, color=colour, alpha=0.12, linewidth=0)
            costs.plot(sizes, tokens, color=colour, marker="o", markersize=4)
        axis_of(shares, "Output right, input read right", "numbers in the input", "%")
        axis_of(costs, "Tokens of a simulation", "numbers in the input")
        shares.legend(fontsize=8)
        canvas.savefig(path, dpi=140, facecolor="white", metadata={"Software": None})


def reach(sizes: list[int], runs: dict[int, Answered], baseline: dict[int, Answered]) -> dict[str, dict]:
    """How far a row reaches, by what is looked at: the size at which that falls to half of its first share, how many
    times that of the baseline on the same seeds it is, each with its interval over programs (which both tell), and by
    seed; and up to which size output and input are right in a fixed share of the simulations."""
    found, seeds = {}, [seed for seed in runs if seed in baseline]
    half = lambda shares: fallen(sizes, shares, shares[0] / 2)  # noqa: E731
    ratio = lambda ours, theirs: half(ours) / half(theirs)  # noqa: E731
    for of in ("right", "both"):
        ours, theirs = ([getattr(each[s], of) for s in seeds] for each in (runs, baseline))
        found[of] = {
            "half": drawn(half, [getattr(run, of) for run in runs.values()]),
            "times": drawn(ratio, ours, theirs) if seeds else None,
            "by seed": [ratio(a.mean(0), b.mean(0)) for a, b in zip(ours, theirs, strict=True)],
        }
    found["both"]["least"] = drawn(lambda shares: fallen(sizes, shares, LEAST), [run.both for run in runs.values()])
    return found


def drawn(of, *rows: list[np.ndarray]) -> list[float]:
    """A figure of the mean shares by size of each row, and its interval over programs: drawn within each seed, the same
    for all rows."""
    rng = np.random.default_rng(0)

    def once(pick) -> float:
        chosen = [pick(len(seed)) for seed in rows[0]]
        return of(*(np.concatenate([a[i] for a, i in zip(row, chosen, strict=True)]).mean(0) for row in rows))

    draws = [once(lambda n: rng.integers(0, n, n)) for _ in range(DRAWS)]
    return [once(np.arange), *np.quantile(draws, (0.025, 0.975), method="nearest").tolist()]


def fallen(sizes: list[int], values: np.ndarray, level: float) -> float:
    """The size at which a share falls to a level, between two sizes in a straight line; infinite beyond the last, the
    first where it begins below, and nan for a level of nothing."""
    if not level:
        return float("nan")
    if values[0] < level:
        return float(sizes[0])
    for (a, x), (b, y) in itertools.pairwise(zip(sizes, values, strict=True)):
        if y <= level:
            return float(a + (b - a) * (x - level) / (x - y))
    return float("inf")


def reaches(found: dict[str, dict]) -> str:
    """A line a row: where right outputs halve, and those that read the input right, and how many times as far."""
    lines = ["| row | outputs halve at | times the baseline's, by seed | with the input read right | times, by seed |"
             f" {LEAST:.0%} of both up to |", "|" + "---|" * 6]  # fmt: skip
    for name, row in found.items():
        cells = []
        for each in row["reach"].values():
            seeds = ", ".join(f"{x:.1f}" for x in each["by seed"])
            cells += [_interval(each["half"]), f"{_interval(each['times'])} ({seeds})" if each["times"] else ""]
        lines.append(f"| `{name}` | {' | '.join(cells)} | {_interval(row['reach']['both']['least'])} |")
    return "\n".join(lines)


def _interval(figure: list[float]) -> str:
    return "{:.1f} [{:.1f}, {:.1f}]".format(*figure)


def misses(found: dict[str, dict]) -> list[str]:
    """Whether no row reaches so many times as far as the baseline, by right outputs and where inputs are read right."""
    if BASELINE not in found:
        return []
    best = {of: max(row["reach"][of]["times"][0] for row in found.values() if row["reach"][of]["times"])
            for of in ("right", "both")}  # fmt: skip
    return [f"{of}: {times:.1f} times as far as {BASELINE} at most" for of, times in best.items() if times < TIMES]


if __name__ == "__main__":
    sys.exit(main())
