"""The paper's claims, seed by seed: `python -m tests.benchmarks.claims --workdir runs/claims --seeds 0,1,2 [--check]`.

Runs configs/claims.py and the rows that a claim needs (stages are shared; the same command resumes) and writes
tests/benchmarks/claims/seed-N.json with every comparison. Of all seeds that lie there it prints the table of README and
writes claims/README.md, with every seed's interval. Paired over problems or cases; 95 % bootstrap intervals; a claim
holds if it holds in each seed.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np

from selfexec_jax.evals import bootstrap_ci
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.stages.strategies import unsimulated
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tools.ablate import BASE, run, values_of
from tests.benchmarks.ending import conclude, parser_of

CONFIG = "configs/claims.py"
RESULTS = Path(__file__).with_name("claims")
ROWS = ("direct_answers", "output_prediction_only", "single_turn", "no_rl", "untrained_scaffold", "solving_only",
        "simulated_feedback", "random_feedback")  # fmt: skip
# Where nothing is said of best@k there are fewer candidates; the first ones are the same.
FEW = ("eval.candidates=4", "eval.more_candidates=0")
KS = (2, 4, 8, 16)
SPLITS = ("fully specified", "all held-out")
CASES = {"every kind": ("narrated_like", "near_miss", "new_form"), "not narrated": ("near_miss", "new_form")}
OWN = CASES | {"not narrated, own programs too": ("near_miss", "new_form", "own", "own_form")}  # within one run

# (claim, what is compared, splits, terms: (sign, run, figure), whether above zero is what is claimed)
SFT, RL = "output_prediction_sft", "output_prediction_rl"
COMPARISONS = [
    ("1 NLEX improves output prediction", "after SFT, over direct answers", CASES,
     ((1, BASE, SFT), (-1, "direct_answers", SFT)), True),
    ("1 NLEX improves output prediction", "after RL, over direct answers", CASES,
     ((1, BASE, RL), (-1, "direct_answers", RL)), True),
    ("2 RL improves output prediction", "RL over SFT", OWN, ((1, BASE, RL), (-1, BASE, SFT)), True),
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
    ("5 Self-RLEF helps", "over a model trained on single turns", SPLITS,
     ((1, BASE, "self_rlef"), (-1, "single_turn", "pass_at_1")), True),
    ("5 Self-RLEF helps", "over its own first program", SPLITS,
     ((1, BASE, "self_rlef"), (-1, BASE, "single_turn")), True),
    ("5 Self-RLEF helps", "real feedback over simulated (an upper bound)", SPLITS,
     ((1, BASE, "self_rlef_executed"), (-1, BASE, "self_rlef")), True),
    ("6 Before RL the scaffold gains less, or hurts", "gain after RL over gain before", SPLITS,
     ((1, BASE, "self_rlef"), (-1, BASE, "single_turn"), (-1, "no_rl", "self_rlef"), (1, "no_rl", "single_turn")),
     True),
    # SFT shows repairs here, which the paper's does not; its model before RL is one that was shown none.
    ("6 Before RL the scaffold gains less, or hurts", "gain after RL over gain where SFT shows no repairs", SPLITS,
     ((1, BASE, "self_rlef"), (-1, BASE, "single_turn"), (-1, "untrained_scaffold", "self_rlef"),
      (1, "untrained_scaffold", "single_turn")), True),
    ("6 Before RL the scaffold gains less, or hurts", "gain where SFT shows no repairs", SPLITS,
     ((1, "untrained_scaffold", "self_rlef"), (-1, "untrained_scaffold", "single_turn")), None),
    ("6 Before RL the scaffold gains less, or hurts", "gain before RL", SPLITS,
     ((1, "no_rl", "self_rlef"), (-1, "no_rl", "single_turn")), None),
    ("7 More is fixed than broken", "private tests", SPLITS, ((1, BASE, "fixed"), (-1, BASE, "broken")), True),
    ("7 More is fixed than broken", "public tests", SPLITS,
     ((1, BASE, "fixed_public"), (-1, BASE, "broken_public")), True),
    ("8 Random feedback does not help", "gain with random feedback", SPLITS,
     ((1, BASE, "self_rlef_random"), (-1, BASE, "single_turn")), None),
    ("8 Random feedback does not help", "gain with real feedback", SPLITS,
     ((1, BASE, "self_rlef_executed"), (-1, BASE, "single_turn")), None),
    ("Kinds of feedback in training", "simulated over real: Self-RLEF", SPLITS,
     ((1, "simulated_feedback", "self_rlef"), (-1, BASE, "self_rlef")), None),
    ("Kinds of feedback in training", "random over real: Self-RLEF", SPLITS,
     ((1, "random_feedback", "self_rlef"), (-1, BASE, "self_rlef")), None),
]  # fmt: skip
EQUAL = "9 At equal tokens, read and generated"


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
            few = {name: [] if name in (BASE, "solving_only") else FEW for name in (BASE, *ROWS)}
            runs = {n: run(CONFIG, n, seed, Path(args.workdir), [*args.set, *few[n]]) for n in few}
            folder.mkdir(exist_ok=True)
            (folder / f"seed-{seed}.json").write_text(json.dumps(compared(runs), indent=1) + "\n")
    seeds = {int(p.stem[5:]): json.loads(p.read_text()) for p in sorted(folder.glob("seed-*.json"))}
    if not seeds:
        print(f"{folder}: no results yet; give --workdir", file=sys.stderr)
        return 2
    rows = table(seeds)
    print(summary(rows))
    (folder / "README.md").write_text(f"# Every comparison, seed by seed\n\n{full_table(rows, sorted(seeds))}\n")
    missed = [f"{row['claim']}: {row['what']}, {row['split']}" for row in rows if row["holds"] is False]
    return conclude(args, {"claims": rows}, missed)


def compared(runs: dict) -> list[dict]:
    """Every comparison for one seed."""
    values = {name: values_of(r) for name, r in runs.items()}
    heldout = {p.id: p for p in load_problems(runs[BASE].folder / "data" / "heldout.jsonl")}
    ids = {"all held-out": set(heldout), "fully specified": {i for i, p in heldout.items() if "open" not in p.tags}}
    rows = []
    for claim, what, splits, terms, claimed in COMPARISONS:
        for split in splits:
            parts = [values[name][figure] for _, name, figure in terms]
            common = sorted(set.intersection(*map(set, parts)))
            chosen = [i for i in common if (i in ids[split] if split in ids else i.split("/")[-2] in OWN[split])]
            vector = sum(sign * np.array([part[i] for i in chosen])
                         for (sign, *_), part in zip(terms, parts, strict=True))  # fmt: skip
            rows.append(_row(claim, what, split, vector, claimed))
    rows += at_equal_tokens(runs, values, ids)
    return rows


def at_equal_tokens(runs: dict, values: dict, ids: dict) -> list[dict]:
    """best@k and Self-RLEF against as many tokens of programs that are not simulated, of their own model and of the one
    trained on solving alone."""
    rows = []
    strategies = {row["name"]: row for row in _rows(runs[BASE], "values")}
    for name in (*(f"best_at_{k}_simulated" for k in KS), "self_rlef"):
        cost = dict(zip(strategies[name]["ids"], np.add(strategies[name]["tokens"], strategies[name]["prefilled"]),
                        strict=True))  # fmt: skip
        for model in (BASE, "solving_only"):
            (candidates,) = _rows(runs[model], "candidates")
            of = {i: n for n, i in enumerate(candidates["ids"])}
            for split in SPLITS:
                chosen = sorted(ids[split] & set(of) & set(cost))
                at = [of[i] for i in chosen]
                drawn = [np.array(candidates[key], float)[at] for key in ("lengths", "prompts", "correct")]
                affordable, k, others = unsimulated(*drawn, np.mean([cost[i] for i in chosen]))
                mine = np.array([values[BASE][name][i] for i in chosen])
                who = "" if model == BASE else "the solving-only model's "
                for other, found in others.items():
                    words = name.replace("_at_", "@").replace("_", " ").replace("self rlef", "Self-RLEF")
                    ceiling = " (a ceiling, no method)" if other == "pass" else ""
                    what = f"{words} over {who}{other}@k'{ceiling}"
                    row = _row(EQUAL, what, split, mine - found, None if ceiling else True)
                    rows.append(row | {"k": f"{k}" if affordable == k else f"{k} of {affordable}"})
    return rows


def _rows(r, kind: str) -> list[dict]:
    return Workdir(r.folder).read_rows(r.folder / "data" / f"{kind}.jsonl.gz")


def _row(claim: str, what: str, split: str, vector: np.ndarray, claimed: bool | None) -> dict:
    value, low, high = bootstrap_ci(vector, 0)
    return {"claim": claim, "what": what, "split": split, "value": value, "low": low, "high": high, "n": len(vector),
            "claimed": claimed}  # fmt: skip


def table(seeds: dict[int, list[dict]]) -> list[dict]:
    """A row a comparison: each seed's difference, their range, and whether the claim holds in every one."""
    found = {}
    for seed, rows in seeds.items():
        for row in rows:
            key = row["claim"], row["what"], row["split"]
            found.setdefault(key, {"claimed": row["claimed"], "seeds": {}})["seeds"][seed] = row
    out = []
    for (claim, what, split), row in sorted(found.items(), key=lambda item: item[0][0]):
        each = list(row["seeds"].values())
        holds = [r["low"] > 0 for r in each] if row["claimed"] else None
        if what == "gain with random feedback":
            real = found[claim, "gain with real feedback", split]["seeds"]
            holds = [r["high"] < 0.5 * real[seed]["value"] for seed, r in row["seeds"].items()]
        out.append({"claim": claim, "what": what, "split": split, "holds": None if holds is None else all(holds),
                    "holding": None if holds is None else sum(holds), "seeds": row["seeds"],
                    "range": [min(r["value"] for r in each), max(r["value"] for r in each)]})  # fmt: skip
    return out


def summary(rows: list[dict]) -> str:
    """For README: each comparison's mean and range over seeds, and in how many its interval says what is claimed; what
    depends on the number of candidates in a table of its own."""
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
    return f"{text})" if row["holds"] is None else f"{text}, {row['holding']} of {len(values)})"


def full_table(rows: list[dict], seeds: list[int]) -> str:
    lines = ["| claim | compared | problems | " + " | ".join(f"seed {s}" for s in seeds) + " | range | n | holds |",
             "|" + "---|" * (6 + len(seeds))]  # fmt: skip
    for row in rows:
        cells = []
        for seed in seeds:
            r = row["seeds"].get(seed)
            more = f" k'={r['k']}" if r and "k" in r else ""
            cells.append(f"{100 * r['value']:+.1f} [{100 * r['low']:+.1f}, {100 * r['high']:+.1f}]{more}" if r else "")
        n = ", ".join(sorted({str(r["n"]) for r in row["seeds"].values()}))
        low, high = row["range"]
        holds = {True: "yes", False: "**no**", None: ""}[row["holds"]]
        lines.append(f"| {row['claim']} | {row['what']} | {row['split']} | " + " | ".join(cells)
                     + f" | {100 * low:+.1f} to {100 * high:+.1f} | {n} | {holds} |")  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
