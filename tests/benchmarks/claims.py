"""The paper's claims, seed by seed: `python -m tests.benchmarks.claims --workdir runs/claims --seeds 0,1,2 [--check]`.

Runs configs/claims.py and the rows that a claim needs (stages are shared; the same command resumes) and writes
tests/benchmarks/claims/seed-N.json with every comparison. Of all seeds that lie there it prints the table of README, a
line a claim, and writes claims/README.md, with every comparison over seeds and every seed's interval. Paired over
problems or cases; 95 % bootstrap intervals; a claim holds if it holds in each seed.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np

from selfexec_jax.stages.strategies import unsimulated
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tools.ablate import BASE, Run, resumable, run
from tests.benchmarks.comparisons import (
    ALONE,
    PROBLEMS,
    compared,
    full_table,
    heldout_of,
    holds,
    measured_in,
    missed,
    row_of,
    table,
)
from tests.benchmarks.ending import conclude, parser_of

CONFIG = "configs/claims.py"
RESULTS = Path(__file__).with_name("claims")
ROWS = ("direct_answers", "output_prediction_only", "single_turn", "no_rl", "untrained_scaffold", "solving_only",
        "simulated_feedback", "random_feedback")  # fmt: skip
# Where nothing is said of best@k there are fewer candidates; the first ones are the same. Nor are episodes made for
# nothing, and half as many where they are only compared with the base's (seed 0 has as many).
FEW = ("eval.candidates=4", "eval.more_candidates=0")
REPAIRING = (*FEW, "eval.episodes=2")
EVALUATED = {BASE: (), "solving_only": ALONE} | {
    name: (*FEW, *ALONE) for name in ("direct_answers", "output_prediction_only", "single_turn")
}
KS = (2, 4, 8, 16)
SPLITS = ("fully specified", "all held-out")
CASES = ("every kind", "not narrated")

SFT, RL = "output_prediction_sft", "output_prediction_rl"
COMPARISONS = [
    ("1 NLEX improves output prediction", "after SFT, over direct answers", CASES,
     ((1, BASE, SFT), (-1, "direct_answers", SFT)), True),
    ("1 NLEX improves output prediction", "after RL, over direct answers", CASES,
     ((1, BASE, RL), (-1, "direct_answers", RL)), True),
    ("2 RL improves output prediction", "RL over SFT", (*CASES, "not narrated, own programs too"),
     ((1, BASE, RL), (-1, BASE, SFT)), True),
    ("3 Joint training costs some output prediction", "output prediction alone over joint", CASES,
     ((1, "output_prediction_only", RL), (-1, BASE, RL)), True),
    *(
        comparison
        for k in KS
        for comparison in (
            ("4 Verification helps", f"best@{k} simulated over pass@1 and random@{k}", SPLITS,
             ((1, BASE, f"best_at_{k}_simulated"), (-1, BASE, "pass_at_1")), True),
            ("4 Verification helps", f"best@{k} simulated over short1@{k}", SPLITS,
             ((1, BASE, f"best_at_{k}_simulated"), (-1, BASE, f"short1_at_{k}")), True),
            ("4 Verification helps", f"simulation gap at {k}", SPLITS,
             ((1, BASE, f"best_at_{k}_executed"), (-1, BASE, f"best_at_{k}_simulated")), None),
        )
    ),
    ("5 Self-RLEF helps", "Self-RLEF over pass@1 of a model whose RL had single turns alone", SPLITS,
     ((1, BASE, "self_rlef"), (-1, "single_turn", "pass_at_1")), True),
    ("5 Self-RLEF helps", "Self-RLEF over its own first program", SPLITS,
     ((1, BASE, "self_rlef"), (-1, BASE, "single_turn")), True),
    ("5 Self-RLEF helps", "Self-RLEF with real feedback over simulated (an upper bound)", SPLITS,
     ((1, BASE, "self_rlef_executed"), (-1, BASE, "self_rlef")), True),
    ("6 Before RL the scaffold gains less, or hurts", "Self-RLEF's gain after RL less its gain before", SPLITS,
     ((1, BASE, "self_rlef"), (-1, BASE, "single_turn"), (-1, "no_rl", "self_rlef"), (1, "no_rl", "single_turn")),
     True),
    # SFT shows repairs here, which the paper's does not; its model before RL is one that was shown none.
    ("6 Before RL the scaffold gains less, or hurts", "Self-RLEF's gain less that without RL and repairs in SFT",
     SPLITS, ((1, BASE, "self_rlef"), (-1, BASE, "single_turn"), (-1, "untrained_scaffold", "self_rlef"),
      (1, "untrained_scaffold", "single_turn")), True),
    ("6 Before RL the scaffold gains less, or hurts", "Self-RLEF's gain without RL and repairs in SFT", SPLITS,
     ((1, "untrained_scaffold", "self_rlef"), (-1, "untrained_scaffold", "single_turn")), None),
    ("6 Before RL the scaffold gains less, or hurts", "Self-RLEF's gain before RL", SPLITS,
     ((1, "no_rl", "self_rlef"), (-1, "no_rl", "single_turn")), None),
    ("7 More is fixed than broken", "fixed less broken, all tests", SPLITS,
     ((1, BASE, "fixed"), (-1, BASE, "broken")), True),
    ("7 More is fixed than broken", "fixed less broken, public tests", SPLITS,
     ((1, BASE, "fixed_public"), (-1, BASE, "broken_public")), True),
    ("8 Random feedback does not help", "Self-RLEF's gain with random feedback", SPLITS,
     ((1, BASE, "self_rlef_random"), (-1, BASE, "single_turn")), None),
    ("8 Random feedback does not help", "Self-RLEF's gain with real feedback", SPLITS,
     ((1, BASE, "self_rlef_executed"), (-1, BASE, "single_turn")), None),
    ("Kinds of feedback in training", "Self-RLEF after RL on simulated feedback over real", SPLITS,
     ((1, "simulated_feedback", "self_rlef"), (-1, BASE, "self_rlef")), None),
    ("Kinds of feedback in training", "Self-RLEF after RL on random feedback over real", SPLITS,
     ((1, "random_feedback", "self_rlef"), (-1, BASE, "self_rlef")), None),
]  # fmt: skip
EQUAL = "9 At equal tokens, read and generated"
# What each claim says, and the comparison that stands for it.
HEADLINES = [
    ("1 NLEX improves output prediction", "SFT on narrated executions (NLEX) helps to predict outputs",
     "after RL, over direct answers", "not narrated"),
    ("2 RL improves output prediction", "RL improves output prediction further",
     "RL over SFT", "not narrated, own programs too"),
    ("3 Joint training costs some output prediction", "RL on solving as well costs some output prediction",
     "output prediction alone over joint", "every kind"),
    ("4 Verification helps", "choosing among k programs by simulated tests solves more",
     "best@8 simulated over pass@1 and random@8", "all held-out"),
    ("5 Self-RLEF helps", "repairing on simulated feedback solves more",
     "Self-RLEF over its own first program", "all held-out"),
    ("6 Before RL the scaffold gains less, or hurts", "before RL, repairing gains less or hurts",
     "Self-RLEF's gain after RL less its gain before", "all held-out"),
    ("7 More is fixed than broken", "repairs fix more programs than they break",
     "fixed less broken, all tests", "all held-out"),
    ("8 Random feedback does not help", "random feedback does not help",
     "Self-RLEF's gain with random feedback", "all held-out"),
    (EQUAL, "as many tokens are better spent on simulating than on further programs",
     "best@8 simulated over random@k'", "all held-out"),
]  # fmt: skip
PAGE = """# The paper's claims, comparison by comparison

`python -m tests.benchmarks.claims` writes this page; the words are those of README. Cells are differences in
percentage points: the mean over seeds and, in brackets, the range over seeds and in how many of them the 95 % interval
(paired, over problems or cases) lies above zero; for random feedback, in how many its upper end lies below half of what
real feedback gains. A comparison with no such number is there to compare with, and claims nothing.

Right is what passes all tests of a problem. Seed 0's models were trained before the code handled outcomes other than
output. Runs that are only compared with the base run make four episodes a problem in seed 0 and two in later seeds (in
seed 1, random feedback one, and the model without RL and repairs in SFT four).

"""


@resumable
def main(argv=None) -> int:
    parser = parser_of("claims", __doc__)
    parser.add_argument("--workdir", default="", help="where the runs go; without it, only the table is printed")
    parser.add_argument("--seeds", default="0,1,2", help="with commas between them")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of every run")
    parser.add_argument("--results", default=str(RESULTS), help="where a file a seed lies")
    args = parser.parse_args(argv)
    folder = Path(args.results)
    if args.workdir:
        for seed in map(int, args.seeds.split(",")):
            runs = {
                name: run(CONFIG, name, seed, Path(args.workdir), [*args.set, *EVALUATED.get(name, REPAIRING)])
                for name in (BASE, *ROWS)
            }
            folder.mkdir(exist_ok=True)
            found = compared(runs, COMPARISONS) + at_equal_tokens(runs)
            (folder / f"seed-{seed}.json").write_text(json.dumps(found, indent=1) + "\n")
    seeds = measured_in(folder)
    if not seeds:
        print(f"{folder}: no results yet; give --workdir", file=sys.stderr)
        return 2
    rows = table(seeds)
    print(in_brief(rows))
    pages = PAGE + summary(rows), "## Every comparison, seed by seed", full_table(rows, sorted(seeds))
    (folder / "README.md").write_text("\n\n".join(pages) + "\n")
    return conclude(args, {"claims": rows}, missed(rows))


def at_equal_tokens(runs: dict[str, Run]) -> list[dict]:
    """best@k and Self-RLEF against as many tokens of programs that are not simulated, of their own model and of the one
    trained on solving alone."""
    rows, heldout = [], heldout_of(runs[BASE])
    strategies = {row["name"]: row for row in _rows(runs[BASE], "values")}
    for name in (*(f"best_at_{k}_simulated" for k in KS), "self_rlef"):
        columns = (strategies[name][key] for key in ("ids", "values", "tokens", "prefilled"))
        mine = {i: (value, made + read) for i, value, made, read in zip(*columns, strict=True)}
        for model in (BASE, "solving_only"):
            (candidates,) = _rows(runs[model], "candidates")
            of = {i: n for n, i in enumerate(candidates["ids"])}
            for split in SPLITS:
                chosen = sorted(i for i in mine if i in of and i in heldout and PROBLEMS[split](heldout[i]))
                at = [of[i] for i in chosen]
                drawn = [np.array(candidates[key], float)[at] for key in ("lengths", "prompts", "correct")]
                values, cost = np.array([mine[i] for i in chosen]).T
                affordable, k, others = unsimulated(*drawn, cost.mean())
                who = "" if model == BASE else "the solving-only model's "
                for other, found in others.items():
                    words = name.replace("_at_", "@").replace("_", " ").replace("self rlef", "Self-RLEF")
                    ceiling = " (a ceiling, no method)" if other == "pass" else ""
                    what = f"{words} over {who}{other}@k'{ceiling}"
                    row = row_of(EQUAL, what, split, values - found, None if ceiling else True)
                    rows.append(row | {"k": f"{k}" if affordable == k else f"{k} of {affordable}"})
    return rows


def _rows(r, kind: str) -> list[dict]:
    return Workdir(r.folder).read_rows(r.folder / "data" / f"{kind}.jsonl.gz")


def in_brief(rows: list[dict]) -> str:
    """A line a claim: the comparison that stands for it, and whether all, some or none of its comparisons hold."""
    lines = ["| | claim | compared | on | difference | |", "|---|---|---|---|---|---|"]
    for claim, words, what, split in HEADLINES:
        verdicts = {holds(row) for row in rows if row["claim"] == claim} - {None}
        verdict = {(True,): "holds", (False,): "not seen"}.get(tuple(verdicts), "holds in part")
        (row,) = (r for r in rows if (r["claim"], r["what"], r["split"]) == (claim, what, split))
        lines.append(f"| {claim[0]} | {words} | {what} | {split} | {_cell(row)} | {verdict} |")
    return "\n".join(lines)


def summary(rows: list[dict]) -> str:
    """Each comparison's mean and range over seeds, and in how many its interval says what is claimed; what depends on
    the number of candidates in a table of its own."""
    plain: dict[tuple, dict] = {}
    by_k: dict[tuple, dict] = {}
    for row in rows:
        number = re.search(r"(?:best@|gap at )(\d+)", row["what"])
        if number:
            what = re.sub(rf"(@|at ){number[1]}\b", r"\1k", row["what"])
            by_k.setdefault((row["claim"], what, row["split"]), {})[int(number[1])] = _cell(row)
        else:
            plain.setdefault((row["claim"], row["what"]), {})[row["split"]] = _cell(row)
    lines = ["| claim | compared | difference |", "|---|---|---|"]
    for (claim, what), cells in plain.items():
        lines.append(f"| {claim} | {what} | " + "; ".join(f"{split} {cell}" for split, cell in cells.items()) + " |")
    lines += ["", "| claim | compared | problems | " + " | ".join(f"k = {k}" for k in KS) + " |", "|---" * 7 + "|"]
    for (claim, what, split), cells in by_k.items():
        lines.append(f"| {claim} | {what} | {split} | " + " | ".join(cells.get(k, "") for k in KS) + " |")
    return "\n".join(lines)


def _cell(row: dict) -> str:
    values = [100 * r["value"] for r in row["seeds"].values()]
    text = f"{np.mean(values):+.1f} ({min(values):+.1f} to {max(values):+.1f}"
    return f"{text})" if row["holding"] is None else f"{text}, {row['holding']} of {len(values)})"


if __name__ == "__main__":
    sys.exit(main())
