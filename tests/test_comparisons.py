"""Tables of comparisons, from made-up runs: what is compared with what, and when a claim holds."""

import json

import numpy as np
import pytest

from selfexec_jax.problems import Problem, Test
from selfexec_jax.problems.datasets import save_problems
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tools.ablate import BASE, Run
from tests.benchmarks import beyond
from tests.benchmarks import rows as rows_of
from tests.benchmarks.claims import COMPARISONS, KS, RESULTS, ROWS, at_equal_tokens, in_brief, summary
from tests.benchmarks.comparisons import compared, full_table, holds, measured_in, table
from tests.benchmarks.lengths import Answered, fallen, reach, reaches
from tests.benchmarks.lengths import misses as missed_lengths

IDS = [f"heldout-{i}" for i in range(30)]
TEST = (Test("1\n", "1\n"),)
STRATEGIES = ("pass_at_1", "single_turn", "self_rlef", "self_rlef_believed", "self_rlef_executed", "self_rlef_random",
              "fixed", "broken", "broken_believed", "fixed_public", "broken_public",
              "best_at_8_own_tests", "best_at_8_frequent",
              *(f"{kind}_at_{k}{end}" for k in KS for kind, end in
                (("best", "_simulated"), ("best", "_executed"), ("short1", ""))))  # fmt: skip
LEVELS = {BASE: 0.6, "output_prediction_only": 0.7, "no_rl": 0.5}  # of everything; 0.4 for the other runs


def made(folder, name):
    """A run in which every figure lies about its level, what costs more being better."""
    rng, level = np.random.default_rng(len(name)), LEVELS.get(name, 0.4)
    work = Workdir(folder / name)
    work.data.mkdir(parents=True)
    problems = [Problem(i, "Do.", public_tests=TEST, private_tests=TEST, solutions=("pass\n",), source="generator/x",
                        wrong_solutions=("pass\n",), tags=(("edges", "limits")[n % 2], "open" if n < 10 else "trap"))
                for n, i in enumerate(IDS)]  # fmt: skip
    save_problems(work.data / "heldout.jsonl", problems)
    lift = {"self_rlef": 0.2, "self_rlef_believed": 0.25, "self_rlef_executed": 0.3, "broken_believed": -level + 0.01,
            "self_rlef_random": -0.1, "fixed": -level + 0.2,
            "fixed_public": -level + 0.2, "broken": -level + 0.05, "broken_public": -level + 0.05}  # fmt: skip
    rows = []
    for strategy in STRATEGIES:
        by = lift.get(strategy, 0.15 if strategy.startswith("best") else 0.0)
        by *= 0.5 if name in ("no_rl", "untrained_scaffold") and strategy.startswith("self_rlef") else 1.0
        values = level + by + 0.02 * rng.normal(size=30)
        rows.append({"name": strategy, "ids": IDS, "values": values.tolist(), "tokens": [60.0] * 30,
                     "prefilled": [20.0] * 30})  # fmt: skip
    work.write_rows(work.data / "values.jsonl.gz", rows)
    cases = [f"{i}/{kind}/00" for i in IDS for kind in ("narrated_like", "near_miss", "new_form", "own")]
    work.write_rows(work.data / "case_values.jsonl.gz", [
        {"name": f"output_prediction_{model}", "ids": cases,
         "values": [None if n == 0 else level + by + 0.02 * float(rng.normal()) for n in range(len(cases))]}
        for model, by in (("sft", 0.0), ("rl", 0.1))
    ])  # fmt: skip
    correct = (rng.random((30, 16)) < level).astype(float)
    lengths = rng.integers(5, 15, (30, 16)).tolist()
    candidates = {"ids": IDS, "lengths": lengths, "prompts": [10] * 30, "correct": correct.tolist()}
    work.write_rows(work.data / "candidates.jsonl.gz", [candidates])
    (work.data / "eval.json").write_text(json.dumps({"tables": {"outcomes": [{"outcome": "timeout", "recall": 0.5}]}}))
    lines = [{"stage": "rl", "step": n, "validation/predict": level + n / 100} for n in (0, 6)]
    lines += [{"stage": "rl", "step": n} | dict.fromkeys(rows_of.LEARNING, n / 10) for n in range(1, 6)]
    lines.append({"stage": "sft", "step": 1})
    (work.root / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    work.mark_done("eval", {"policy": "sft" if name == "no_rl" else "rl", "K": 16})
    return Run(name, 0, work.root)


def test_claims_are_compared_seed_by_seed(tmp_path):
    runs = {name: made(tmp_path, name) for name in (BASE, *ROWS)}
    rows = compared(runs, COMPARISONS) + at_equal_tokens(runs)
    assert {(r["claim"], r["what"]) for r in rows} >= {(claim, what) for claim, what, *_ in COMPARISONS}
    found = {(r["what"], r["split"]): r for r in rows}
    n = {split: found["best@8 simulated over short1@8", split]["n"] for split in ("fully specified", "all held-out")}
    assert n == {"fully specified": 20, "all held-out": 30}
    assert found["RL over SFT", "every kind"]["n"] == 3 * 30 - 1  # own programs differ, and one did not end well
    assert found["RL over SFT", "not narrated"]["n"] == 2 * 30
    assert found["RL over SFT", "not narrated, own programs too"]["n"] == 3 * 30
    assert abs(found["Self-RLEF's gain after RL less its gain before", "all held-out"]["value"] - 0.1) < 0.02
    # 80 tokens a problem less a prompt of 10 buy seven programs and a bit, of about ten tokens.
    assert found["Self-RLEF over short1@k'", "all held-out"]["k"] in ("7", "8")
    out = table({0: rows, 1: rows})
    found = {(r["what"], r["split"]): holds(r) for r in out}
    assert found["RL over SFT", "every kind"] and found["fixed less broken, all tests", "all held-out"]
    assert found["output prediction alone over joint", "every kind"]
    assert found["Self-RLEF's gain with random feedback", "all held-out"] is True
    assert found["simulation gap at 8", "all held-out"] is None
    assert found["best@16 simulated over pass@k' (a ceiling, no method)", "all held-out"] is None
    assert full_table(out, [0, 1]).count("\n") == len(out) + 1
    short = summary(out)
    best = next(r for r in out if (r["what"], r["split"]) == ("best@8 simulated over short1@8", "all held-out"))
    low, high = (100 * x for x in best["range"])
    line = next(x for x in short.splitlines() if "best@k simulated over short1@k |" in x and "all held-out" in x)
    assert line.split(" | ")[5] == f"{(low + high) / 2:+.1f} ({low:+.1f} to {high:+.1f}, {best['holding']} of 2)"
    differences = short.count(" to ")
    assert differences == len(out)  # each stands somewhere


def test_readme_has_what_was_measured():
    rows = table(measured_in(RESULTS))
    brief = in_brief(rows)
    assert brief.count("\n") == 10 and f"\n\n{brief}\n\n" in (RESULTS.parents[2] / "README.md").read_text()
    assert summary(rows) in (RESULTS / "README.md").read_text()


def test_a_claim_must_hold_in_each_seed():
    row = {"claim": "2", "what": "x", "split": "s", "value": 0.1, "low": 0.05, "high": 0.2, "n": 9, "claimed": True}
    assert holds(table({0: [row], 1: [row]})[0]) is True
    assert holds(table({0: [row], 1: [row | {"low": -0.01}]})[0]) is False


@pytest.mark.parametrize("group", rows_of.GROUPS)
def test_rows_are_compared_with_the_base_that_they_start_from(tmp_path, monkeypatch, group):
    group = rows_of.GROUPS[group]
    asked = []

    def run(path, name, seed, root, changes):
        asked.append((name, seed))
        return made(root, name)

    monkeypatch.setattr(rows_of, "run", run)
    found = json.loads(json.dumps(rows_of.measured(group, 3, tmp_path, [])))
    assert asked == [(group.base, 3), *((name, 3) for name in group.rows)]
    for name in group.rows:
        start = rows_of.row_named(name, rows_of.ROWS).base
        assert start in (group.base, "" if group.base == BASE else None) or start in group.rows
    rows = table({3: found["comparisons"], 4: found["comparisons"]})
    first = next(row for row in rows if len(row["seeds"][3]["levels"]) == 2)
    (one, two), difference = first["seeds"][3]["levels"], first["seeds"][3]["value"]
    assert one - two == pytest.approx(difference) and first["range"] == [difference, difference]
    text = rows_of.markdown(rows)
    assert text.count("\n") == len(rows) + 1 and f"{100 * two:.1f} | {100 * one:.1f}" in text
    solved = [r for r in found["comparisons"] if "output prediction" not in r["what"]]
    assert all(set(r["tokens"]) == {80.0} for r in solved)
    assert found["curves"][BASE] == [[0, 0.4], [6, 0.46]]
    assert found["learning"][BASE]["entropy"] == {"first": 0.1, "last": 0.5, "most": 0.5}
    learning, curves = (dict.fromkeys((3, 4), found[key]) for key in ("learning", "curves"))
    assert "| `base` | 0.1 to 0.5; 0.1 to 0.5; at most 0.5 |" in rows_of.steadiness(learning)
    assert "base: 40.0, then 46.0; 40.0, then 46.0" in rows_of.along(curves)
    rows_of.draw({3: found["curves"], 4: found["curves"]}, "early", tmp_path / "learning.png")
    assert (tmp_path / "learning.png").read_bytes().startswith(b"\x89PNG")
    if group.kept:
        assert found["outcomes"][group.rows[0]][0]["recall"] == 0.5


def test_rows_that_some_seeds_lack_are_shown_of_the_others(tmp_path):
    ends = dict.fromkeys(rows_of.LEARNING, {"first": 1.0, "last": 2.0, "most": 3.0})
    lines = rows_of.steadiness({0: {"a": ends}, 1: {"a": ends, "b": ends}}).splitlines()
    assert [line.count("1 to 2") for line in lines[2:]] == [2 * len(rows_of.LEARNING), len(rows_of.LEARNING)]
    curves = {0: {"a": [(0, 0.1), (6, 0.2)]}, 1: {"a": [(0, 0.3), (6, 0.4)], "b": [(0, 0.5), (6, 0.6)]}}
    assert rows_of.along(curves).splitlines()[1:] == ["a: 10.0, then 20.0; 30.0, then 40.0", "b: 50.0, then 60.0"]
    rows_of.draw(curves, "base", tmp_path / "curves.png")


def test_lengths_are_kept_as_text():
    rng = np.random.default_rng(0)
    right = (np.arange(40)[:, None] < [36, 24, 4]).astype(float)
    kept = Answered(right, 1 - right, rng.integers(0, 600, (40, 3)).astype(float))
    again = Answered.of_text(json.loads(json.dumps(kept.as_text())))
    for name, values in vars(kept).items():
        np.testing.assert_array_equal(getattr(again, name), values)


def test_how_far_a_row_reaches_is_told_of_its_start_of_the_baseline_and_of_a_fixed_share():
    def run(*right, n=40):
        known = (np.arange(n)[:, None] < np.array(right)).astype(float)
        return Answered(known, np.ones((n, 3)) * (np.arange(n) % 2 == 0)[:, None], np.ones((n, 3)))

    sizes, ours, base = [3, 6, 9], {0: run(36, 24, 4), 1: run(40, 30, 20)}, {0: run(32, 8, 0), 2: run(40, 0, 0)}
    found = reach(sizes, ours, base)
    value, low, high = found["right"]["half"]
    both = (36 + 40) / 2, (24 + 30) / 2, (4 + 20) / 2
    assert value == pytest.approx(6 + 3 * (both[1] - both[0] / 2) / (both[1] - both[2])) and low < value < high
    alone = 6 + 3 * (24 - 18) / (24 - 4), 3 + 3 * (32 - 16) / (32 - 8)  # on seed 0, which both have
    assert found["right"]["by seed"] == [pytest.approx(alone[0] / alone[1])]
    times, low, high = found["right"]["times"]
    assert times == pytest.approx(alone[0] / alone[1]) and low < times < high
    assert found["both"]["least"][0] == pytest.approx(3 + 3 * (19 - 16) / (19 - 13.5))  # 0.4 of 40 are 16
    assert reach(sizes, ours, {})["right"]["times"] is None
    rows = {name: {"reach": reach(sizes, runs, base)} for name, runs in (("long_runs_full", base), ("ours", ours))}
    most = {of: rows["ours"]["reach"][of]["times"][0] for of in ("right", "both")}
    assert "| `ours` | 7." in reaches(rows)
    assert missed_lengths(rows) == [f"{of}: {x:.1f} times as far as long_runs_full at most" for of, x in most.items()]
    assert fallen(sizes, np.array([0.3, 0.2, 0.1]), 0.4) == 3 and fallen(sizes, np.ones(3), 0.4) == np.inf
    assert np.isnan(fallen(sizes, np.zeros(3), 0.0))


def test_searches_are_shown_seed_by_seed_with_what_they_miss(tmp_path, capsys):
    def strategy(over, of_tokens=1.0, of_runs=0.0):
        return {"value": [0.8 + over, 0.7, 0.9], "over votes": [over, over - 0.03, over + 0.03], "n": 90,
                "over one vote": [over + 0.02, over - 0.01, over + 0.05],
                "tokens": 1000 * of_tokens, "of tokens": of_tokens, "of runs": of_runs}  # fmt: skip

    bys = ("share of votes", "belief")

    def put(name, seed, search, gap):
        found = {"strategies": {"best_at_8_simulated": strategy(0.0), "search": search, "search_until_50%_sure": search,
                                "search_until_90%_sure": search, "search_executing_from_0.1": search,
                                "search_executing_from_0": search},
                 "gap": [gap, gap - 0.05, gap + 0.05], "fit": {"problems": 200, "tokens": 800_000 + seed},
                 "coverage": [{"by": by, "answered": 0.8, "value": 0.9, "ci_low": 0.85, "ci_high": 0.95} for by in bys],
                 "reliability": [{"by": by, "foretold": 0.5, "value": 0.4} for by in bys],
                 "calibration": [{"probability of": "being right", "by": "belief",
                                  "expected calibration error": 0.01 * (seed + 2)}]}  # fmt: skip
        (tmp_path / f"{name}-seed-{seed}.json").write_text(json.dumps(found))

    for seed in (0, 1):
        put("short", seed, strategy(0.01 * (seed + 1), 0.2), 0.02)
        put("long", seed, strategy(0.06, 0.4, 0.09), 0.1)
    args = ["--results", str(tmp_path), "--check"]
    assert beyond.main(args) == 0
    said = capsys.readouterr().out
    assert "short inputs, n = 90 problems; seeds 0, 1" in said
    over = "+1.0 [-2.0, +4.0]; +2.0 [-1.0, +5.0] | +3.0 [+0.0, +6.0]; +4.0 [+1.0, +7.0]"
    assert f"| search | 81.0, 82.0 | {over} | 200 | 20% | 0.0% |" in said
    assert "being right, by belief: 2.0, 3.0" in said and "so many tokens: 800,000, 800,001" in said
    assert "| 80% answered | belief | 90.0 [85.0, 95.0]; 90.0 [85.0, 95.0] |" in said
    for name in ("spent.png", "trust.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    put("short", 1, strategy(0.01, 0.4), 0.02)  # as good, but for more than a third of the tokens
    put("long", 0, strategy(0.06, 0.4, 0.11), 0.1)  # closed by more than a tenth of the runs
    put("long", 1, strategy(0.07, 0.4, 0.09), 0.07)  # nothing to close
    assert beyond.main(args) == 1
    missed = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1:2] + line.split(": ")[-1:] for line in missed] == [
        ["seed 1", "no search is as good as all votes for 33% of the tokens"],
        ["seed 0", "0.0 of a gap of 10.0 points are closed"], ["seed 1", "7.0 of a gap of 7.0 points are closed"],
    ]  # fmt: skip
