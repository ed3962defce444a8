"""Figures of what belief in simulations brings: what a search spends and solves, and what is left unanswered."""

from __future__ import annotations

import itertools

from selfexec_jax.evals.looks import COLOURS, EXECUTED, GREY, SIMULATED, axis_of, whiskers

TOKENS = "tokens read and generated, a problem"


def searches(canvas, report, _):
    rows = report.get("tables", {}).get("searches") or []
    if not rows:
        return False
    canvas.set_size_inches(9, 3.9)
    by_tokens, by_runs = canvas.subplots(1, 2, sharey=True)
    until = [row for row in rows if row["strategy"].startswith("search until")]
    executing = [row for row in rows if row["strategy"] == "search" or row["strategy"].startswith("search executing")]
    ends = [row for row in rows if not row["strategy"].startswith("search")]
    panels = (by_tokens, TOKENS, until, 1), (by_runs, "of all runs", executing, 100)
    for axes, key, chosen, scale in panels:
        chosen = sorted(chosen, key=lambda row: row[key])
        value, spread = whiskers(chosen)
        axes.errorbar([scale * row[key] for row in chosen], value, yerr=spread, color=SIMULATED, marker="o",
                      elinewidth=1.2, capsize=4, label="search")  # fmt: skip
    looks = itertools.cycle(zip((*COLOURS[2:], GREY), "s^vPX", strict=True))
    for row in ends:
        value, spread = whiskers([row])
        is_executed = row["of all runs"] > 0
        axes, x = (by_runs, 100 * row["of all runs"]) if is_executed else (by_tokens, row[TOKENS])
        colour, mark = (EXECUTED, "D") if is_executed else next(looks)
        axes.errorbar([x], value, yerr=spread, color=colour, marker=mark, elinewidth=1.2, capsize=4, linestyle="none",
                      label=row["strategy"])  # fmt: skip
    axis_of(by_tokens, "Tokens", TOKENS, "problems solved (%)")
    axis_of(by_runs, "Executions", "of the candidates' public tests executed (%)")
    by_runs.set_xscale("symlog", linthresh=1)
    by_runs.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    pairs = [axes.get_legend_handles_labels() for axes in (by_tokens, by_runs)]
    named = {name: handle for handles, names in pairs for handle, name in zip(handles, names, strict=True)}
    canvas.legend(named.values(), named.keys(), loc="outside lower center", ncols=4, fontsize=9)
    return True


def coverage(canvas, report, _):
    rows = report.get("tables", {}).get("coverage") or []
    if not rows:
        return False
    canvas.set_size_inches(5.4, 3.9)
    axes = canvas.subplots()
    for by, colour, mark in (("share of votes", GREY, "s"), ("belief", SIMULATED, "o")):
        chosen = [row for row in rows if row["by"] == by]
        value, spread = whiskers(chosen)
        axes.errorbar([100 * row["answered"] for row in chosen], value, yerr=spread, color=colour, marker=mark,
                      elinewidth=1.2, capsize=4, label=f"surest first by {by}")  # fmt: skip
    axis_of(axes, "What is left unanswered", "of the problems answered (%)", "of those solved (%)")
    axes.legend(fontsize=8, loc="lower left")
    return True
