"""What goes beyond the paper, and the styles of narration, as rows of ablations beside their base:
`python -m tests.benchmarks.rows --workdir runs/rows --groups feedback,endings --seeds 0,1,2`.

Runs the rows of configs/tiny.py that a group needs (stages are shared; the same command resumes, and several may run
beside each other) and writes tests/benchmarks/rows/GROUP-seed-N.json; prints the table of all that lie there, and draws
curves of learning where there are any.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from selfexec_jax.configs.ablations import row_named
from selfexec_jax.configs.tiny import ROWS
from selfexec_jax.evals.looks import COLOURS, STYLE, axis_of
from selfexec_jax.stages.metrics import read_metrics
from selfexec_jax.stages.strategies import BELIEVED
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tools.ablate import BASE, OUTPUTS, Run, resumable, run
from tests.benchmarks.comparisons import ALONE, Comparison, compared, interval, measured_in, missed, sizes, table
from tests.benchmarks.ending import conclude, parser_of

CONFIG = "configs/tiny.py"
RESULTS = Path(__file__).with_name("rows")
BEST, FREQUENT, BY_OWN = "best_at_8_simulated", "best_at_8_frequent", "best_at_8_own_tests"
FIXED, SINGLE = "self_rlef", "single_turn"
VALIDATED = "validation/predict"
LEARNING = ("reward", "entropy", "grad_norm", "truncated", "answer_tokens_mean")  # of RL, by step: is it stable?
WITH_BELIEF = tuple(f"{field}={value}" for field, value in row_named("believed_feedback").change.items())
ALL, CASES = ("all held-out",), ("every kind", "longer inputs")
TRAPS = ("a slow program is a trap", "a crash is a trap")


@dataclasses.dataclass(frozen=True)
class Group:
    """Rows and the one that they start from ("base" in a term), and what is compared."""

    base: str
    comparisons: list[Comparison]
    kept: tuple[str, ...] = ()  # tables of the rows' reports that are kept beside
    evaluated: tuple[str, ...] = ()  # FIELD=VALUE: no candidates or episodes where nothing is said of them

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(name for *_, terms, _ in self.comparisons for _, name, _ in terms if name != BASE))


def over_base(row: str, what: str, splits, figure: str, claimed: bool | None = True) -> Comparison:
    return row, what, splits, ((1, row, figure), (-1, BASE, figure)), claimed


def under_base(row: str, what: str, splits, figure: str) -> Comparison:
    """Of a row whose claim is that it is worse."""
    return row, what, splits, ((1, BASE, figure), (-1, row, figure)), True


def by_belief(claim: str, row: str) -> list[Comparison]:
    """Of one row, what being told of believed failures alone does."""
    return [
        (claim, "Self-RLEF told of believed failures, over all failures", ALL,
         ((1, row, BELIEVED), (-1, row, FIXED)), True),
        (claim, "programs broken, told of believed failures, over all", ALL,
         ((1, row, "broken_believed"), (-1, row, "broken")), None),
    ]  # fmt: skip


GROUPS = {
    "feedback": Group("roomy", [
        *by_belief("believed_feedback", BASE),
        ("believed_feedback", "Self-RLEF with real feedback, over believed failures", ALL,
         ((1, BASE, "self_rlef_executed"), (-1, BASE, BELIEVED)), None),
    ] + [
        comparison
        for row in ("departure_feedback", "narration_feedback")
        for comparison in (
            *by_belief(row, row),
            (row, "what Self-RLEF gains over a single turn", ALL,
             ((1, row, FIXED), (-1, row, SINGLE), (-1, BASE, FIXED), (1, BASE, SINGLE)),
             True if row == "departure_feedback" else None),
            (row, "the same where fix turns are told of believed failures", ALL,
             ((1, row, BELIEVED), (-1, row, SINGLE), (-1, BASE, BELIEVED), (1, BASE, SINGLE)), None),
            over_base(row, "Self-RLEF", ALL, FIXED, None),
            over_base(row, "Self-RLEF with real feedback", ALL, "self_rlef_executed", None),
            over_base(row, "single turn", ALL, SINGLE, None),
        )
    ] + [
        ("departure_step_rewards", f"{what}, over rewards for outputs", split,
         ((1, "departure_step_rewards", figure), (-1, "departure_feedback", figure)), wanted)
        for what, split, figure, wanted in (
            ("Self-RLEF", ALL, FIXED, True),
            ("Self-RLEF told of believed failures", ALL, BELIEVED, None),
            ("single turn", ALL, SINGLE, None),
            ("output prediction", CASES, OUTPUTS, None),
        )
    ], evaluated=("eval.candidates=4", *WITH_BELIEF)),  # an episode each
    "steps": Group("early", [
        over_base(row, "output prediction", CASES, OUTPUTS) for row in ("step_rewards", "first_wrong_credit")
    ], evaluated=("eval.candidates=1", *ALONE)),
    "endings": Group("traps", [
        over_base("traps_foretold", "best@8", ("all held-out", *TRAPS), BEST),
        over_base("traps_foretold", "best@8 executed", TRAPS, "best_at_8_executed", None),
    ], kept=("outcomes", "verifier"), evaluated=ALONE),
    "own_tests": Group("one_public_test", [
        ("own_tests", "best@8 with its own tests over the public one", ALL,
         ((1, "own_tests", BY_OWN), (-1, "own_tests", BEST)), True),
        ("own_tests", "the same over the program that is written most often", ALL,
         ((1, "own_tests", BY_OWN), (-1, "own_tests", FREQUENT)), True),
        ("own_tests", "the same over as many tokens in votes on the public test", ALL,
         ((1, "own_tests", BY_OWN), (-1, "own_tests_as_votes", BEST)), True),
        ("own_tests", "best@8 with its own tests over best@8 of the base", ALL,
         ((1, "own_tests", BY_OWN), (-1, BASE, BEST)), True),
    ], evaluated=ALONE),
    "styles": Group("styles", [
        comparison
        for row in ("full_narration", "brief_narration", "cwm_frames")
        for comparison in (
            under_base(row, "output prediction of compact over it", CASES, OUTPUTS),
            under_base(row, "best@8 of compact over it", ALL, BEST),
        )
    ], evaluated=ALONE),
}  # fmt: skip


@resumable
def main(argv=None) -> int:
    parser = parser_of("rows", __doc__)
    parser.add_argument("--workdir", default="", help="where the runs go; without it, only the table is printed")
    parser.add_argument("--groups", default=",".join(GROUPS), help="which, with commas between them (default all)")
    parser.add_argument("--seeds", default="0,1,2", help="with commas between them")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of every run")
    parser.add_argument("--results", default=str(RESULTS), type=Path, help="where a file a group and seed lies")
    args = parser.parse_args(argv)
    names = args.groups.split(",")
    if args.workdir:
        for name in names:
            for seed in map(int, args.seeds.split(",")):
                found = measured(GROUPS[name], seed, Path(args.workdir), args.set)
                args.results.mkdir(exist_ok=True)
                (args.results / f"{name}-seed-{seed}.json").write_text(json.dumps(found, indent=1) + "\n")
    out = {}
    for name in names:
        seeds = measured_in(args.results, f"{name}-")
        if not seeds:
            continue
        out[name] = table({seed: found["comparisons"] for seed, found in seeds.items()})
        print(f"\n{name}, over `{GROUPS[name].base}`; seeds {', '.join(map(str, seeds))}\n")
        print(markdown(out[name]))
        if learning := {seed: found["learning"] for seed, found in seeds.items() if found.get("learning")}:
            print("\n" + steadiness(learning))
        if curves := {seed: found["curves"] for seed, found in seeds.items() if found["curves"]}:
            print("\n" + along(curves))
            draw(curves, GROUPS[name].base, args.results / f"{name}.png")
    return conclude(args, out, [line for rows in out.values() for line in missed(rows)])


def measured(group: Group, seed: int, root: Path, changes: list[str]) -> dict:
    changes = [*changes, *group.evaluated]
    runs = {BASE: run(CONFIG, group.base, seed, root, changes)}
    runs |= {name: run(CONFIG, name, seed, root, changes) for name in group.rows}
    tables = {name: report_of(r)["tables"] for name, r in runs.items()}
    lines = {name: [line for line in read_metrics(Workdir(r.folder)) if line["stage"] == "rl"]
             for name, r in runs.items()}  # fmt: skip
    curves = {name: [(line["step"], line[VALIDATED]) for line in of if VALIDATED in line] for name, of in lines.items()}
    return {
        "comparisons": compared(runs, group.comparisons),
        **{kept: {name: each[kept] for name, each in tables.items() if kept in each} for kept in group.kept},
        "curves": {name: curve for name, curve in curves.items() if curve},
        "learning": {name: {key: ends_of([line[key] for line in steps]) for key in LEARNING}
                     for name, of in lines.items() if (steps := [line for line in of if "reward" in line])},
    }  # fmt: skip


def ends_of(values: list[float]) -> dict[str, float]:
    """Means over the first and the last fifth of the steps, and the largest value."""
    n = -(-len(values) // 5)
    return {"first": float(np.mean(values[:n])), "last": float(np.mean(values[-n:])), "most": max(values)}


def by_row(seeds: dict[int, dict]) -> dict[str, list]:
    """What each row gave on the seeds on which it was run."""
    names = dict.fromkeys(name for of in seeds.values() for name in of)
    return {name: [of[name] for of in seeds.values() if name in of] for name in names}


def steadiness(learning: dict[int, dict[str, dict]]) -> str:
    """What became of a run's reward, entropy and the rest over RL: first and last fifth, by seed; and the most."""
    names = " | ".join(key.replace("_", " ") for key in LEARNING)
    lines = [f"| RL of | {names} |", "|---" * (1 + len(LEARNING)) + "|"]
    for name, runs in by_row(learning).items():
        cells = []
        for key in LEARNING:
            each = [run[key] for run in runs]
            ends = "; ".join(f"{e['first']:.3g} to {e['last']:.3g}" for e in each)
            cells.append(f"{ends}; at most {max(e['most'] for e in each):.3g}")
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def along(curves: dict[int, dict[str, list]]) -> str:
    """Of each row the mean of its curve after the first checkpoint, by seed: what learns faster has a higher one."""
    lines = []
    for name, runs in by_row(curves).items():
        each = [[100 * value for _, value in run] for run in runs]
        lines.append(f"{name}: " + "; ".join(f"{first:.1f}, then {np.mean(later):.1f}" for first, *later in each))
    return "validated outputs, at first and over all later checkpoints, %:\n" + "\n".join(lines)


def report_of(r: Run) -> dict:
    return json.loads((Workdir(r.folder).data / "eval.json").read_text())


def draw(curves: dict[int, dict[str, list]], base: str, path: Path) -> None:
    """Outputs that are predicted right over the steps of RL: a line a run, the mean over seeds, and each seed's."""
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(5.2, 3.4), layout="constrained")
        axes = canvas.subplots()
        for (name, runs), colour in zip(by_row(curves).items(), COLOURS, strict=False):
            seeds = [np.array(run, float).T for run in runs]
            for steps, values in seeds:
                axes.plot(steps, 100 * values, color=colour, linewidth=0.8, alpha=0.35)
            axes.plot(seeds[0][0], 100 * np.mean([values for _, values in seeds], 0), color=colour, marker="o",
                      markersize=4, label=base if name == BASE else name)  # fmt: skip
        axis_of(axes, "Outputs predicted right, validation", "step of RL", "%")
        axes.legend(fontsize=9)
        canvas.savefig(path, dpi=140, facecolor="white", metadata={"Software": None})


def markdown(rows: list[dict]) -> str:
    """A line a comparison: what was, what became of it, each seed's difference, and what each cost."""
    lines = ["| row | claim | compared | on | from | to | by seed | tokens a problem, from, to | n |", "|" + "---|" * 9]
    for row in rows:
        each = list(row["seeds"].values())
        two = len(each[0]["levels"]) == 2  # one figure less another
        first, second = (f"{100 * np.mean([r['levels'][i] for r in each]):.1f}" if two else "" for i in (1, 0))
        costs = [[r["tokens"][i] for r in each] for i in (1, 0)] if two else [[None]]
        spent = "" if any(None in cost for cost in costs) else ", ".join(f"{np.mean(cost):,.0f}" for cost in costs)
        cells = [f"`{row['claim']}`", row_named(row["claim"], ROWS).claim, row["what"], row["split"], first, second,
                 "; ".join(map(interval, each)), spent, sizes(row)]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
