"""Runs compared seed by seed, paired over problems or cases, and the table of all seeds.

A comparison is (claim, what is compared, splits, terms, claimed): figures of runs, each added or taken away, and
whether above zero is what is claimed (None: nothing is). Intervals are 95 % bootstrap intervals; a claim holds if it
holds in each seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from selfexec_jax.evals import bootstrap_ci
from selfexec_jax.evals.ablations import problem_of
from selfexec_jax.problems import Problem
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.problems.generator import trapped
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tools.ablate import BASE, Run, values_of

Term = tuple[int, str, str]  # sign, run, figure
Comparison = tuple[str, str, Iterable[str], tuple[Term, ...], bool | None]

ALONE = ("eval.max_fixes=0", "eval.episodes=1")  # an evaluation that repairs nothing
PROBLEMS: dict[str, Callable[[Problem], bool]] = {
    "fully specified": lambda problem: "open" not in problem.tags,
    "all held-out": lambda problem: True,
    "a slow program is a trap": lambda problem: bool(trapped(problem)) and problem.tags[0] == "limits",
    "a crash is a trap": lambda problem: bool(trapped(problem)) and problem.tags[0] == "edges",
}
KINDS = {
    "every kind": ("narrated_like", "near_miss", "new_form"),
    "not narrated": ("near_miss", "new_form"),
    "longer inputs": ("near_miss",),
    "not narrated, own programs too": ("near_miss", "new_form", "own", "own_form"),  # within one run
}


def compared(runs: dict[str, Run], comparisons: Iterable[Comparison]) -> list[dict]:
    """Every comparison for one seed; `runs` has "base" and every run that a term names."""
    values, costs = ({name: of(r) for name, r in runs.items()} for of in (values_of, costs_of))
    rows, heldout = [], heldout_of(runs[BASE])
    for claim, what, splits, terms, claimed in comparisons:
        parts = [values[name][figure] for _, name, figure in terms]
        common = sorted(set.intersection(*map(set, parts)))
        for split in splits:
            if split in PROBLEMS:
                chosen = [i for i in common if i in heldout and PROBLEMS[split](heldout[i])]
            else:
                chosen = [i for i in common if i.split("/")[-2] in KINDS[split]]
            each = np.array([[part[i] for i in chosen] for part in parts])
            signs = np.array([[sign] for sign, *_ in terms])
            problems = [problem_of(terms[0][2], i) for i in chosen]
            row = row_of(claim, what, split, (signs * each).sum(0), claimed, problems)
            tokens = [np.mean([costs[name][figure][i] for i in chosen]) if figure in costs[name] else None
                      for _, name, figure in terms]  # fmt: skip
            rows.append(row | {"levels": each.mean(1).tolist(), "tokens": tokens})
    return rows


def costs_of(run: Run) -> dict[str, dict[str, float]]:
    """Tokens that each strategy generated and read, by problem."""
    rows = Workdir(run.folder).read_rows(run.folder / "data" / "values.jsonl.gz")
    return {r["name"]: dict(zip(r["ids"], np.add(r["tokens"], r["prefilled"]).tolist(), strict=True)) for r in rows}


def heldout_of(run: Run) -> dict[str, Problem]:
    return {p.id: p for p in load_problems(Workdir(run.folder).data / "heldout.jsonl")}


def row_of(
    claim: str, what: str, split: str, differences: np.ndarray, claimed: bool | None,
    problems: list[str] | None = None,
) -> dict:  # fmt: skip
    """problems: whose each difference is, where a problem has several."""
    value, low, high = bootstrap_ci(differences, 0, units=problems)
    return {"claim": claim, "what": what, "split": split, "value": value, "low": low, "high": high,
            "n": len(differences), "claimed": claimed}  # fmt: skip


def measured_in(folder: Path, name: str = "") -> dict:
    """What lies in a folder as NAME`seed-N.json`, by seed."""
    return {
        int(p.stem.rpartition("-")[2]): json.loads(p.read_text()) for p in sorted(folder.glob(f"{name}seed-*.json"))
    }


def table(seeds: dict[int, list[dict]]) -> list[dict]:
    """A row a comparison: each seed's difference, their range, and in how many seeds what is claimed holds (None where
    nothing is)."""
    found: dict[tuple, dict] = {}
    for seed, rows in seeds.items():
        for row in rows:
            key = row["claim"], row["what"], row["split"]
            found.setdefault(key, {"claimed": row["claimed"], "seeds": {}})["seeds"][seed] = row
    out = []
    for (claim, what, split), row in sorted(found.items(), key=lambda item: item[0][0]):
        each = list(row["seeds"].values())
        holding = sum(r["low"] > 0 for r in each) if row["claimed"] else None
        if what == "Self-RLEF's gain with random feedback":
            real = found[claim, "Self-RLEF's gain with real feedback", split]["seeds"]
            holding = sum(r["high"] < 0.5 * real[seed]["value"] for seed, r in row["seeds"].items())
        out.append({"claim": claim, "what": what, "split": split, "holding": holding, "seeds": row["seeds"],
                    "range": [min(r["value"] for r in each), max(r["value"] for r in each)]})  # fmt: skip
    return out


def holds(row: dict) -> bool | None:
    """Whether a claim holds in each seed; None where nothing is claimed."""
    return None if row["holding"] is None else row["holding"] == len(row["seeds"])


def missed(rows: list[dict]) -> list[str]:
    """The claims that do not hold."""
    return [f"{row['claim']}: {row['what']}, {row['split']}" for row in rows if holds(row) is False]


def full_table(rows: list[dict], seeds: list[int]) -> str:
    """Every comparison with each seed's interval."""
    lines = ["| claim | compared | problems | " + " | ".join(f"seed {s}" for s in seeds) + " | range | n | holds |",
             "|" + "---|" * (6 + len(seeds))]  # fmt: skip
    for row in rows:
        cells = []
        for seed in seeds:
            r = row["seeds"].get(seed)
            more = f" k'={r['k']}" if r and "k" in r else ""
            cells.append(f"{interval(r)}{more}" if r else "")
        low, high = row["range"]
        word = {True: "yes", False: "**no**", None: ""}[holds(row)]
        lines.append(f"| {row['claim']} | {row['what']} | {row['split']} | " + " | ".join(cells)
                     + f" | {100 * low:+.1f} to {100 * high:+.1f} | {sizes(row)} | {word} |")  # fmt: skip
    return "\n".join(lines)


def sizes(row: dict) -> str:
    """How many problems or cases were compared: one number where it is the same for all seeds, else seed by seed."""
    each = [r["n"] for r in row["seeds"].values()]
    return ", ".join(map(str, each if len(set(each)) > 1 else each[:1]))


def interval(row: dict) -> str:
    return f"{100 * row['value']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
