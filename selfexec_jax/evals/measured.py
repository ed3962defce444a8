"""Figures of what a report measured: choosing among k, output prediction, verification, repairs, answers, time.

Each draws on a canvas of matplotlib and returns whether there was anything to draw: (canvas, report, curves) -> bool.
"""

import re

import numpy as np

from selfexec_jax.evals.looks import COLOURS, EXECUTED, GREY, INK, SIMULATED, axis_of, label, short_number, whiskers

_RESULT = ("value", "low", "high")
_AT_K = (  # family, colour, marker, line, name
    ("pass", GREY, "", ":", "any of them (ceiling)"),
    ("best_executed", EXECUTED, "s", "-", "best by execution"),
    ("best_simulated", SIMULATED, "o", "-", "best by simulation"),
    ("short1", COLOURS[2], "v", "-", "the shortest"),
)
_BINS = {
    "accuracy_by_trace_length": "length of the real trace (events)",
    "accuracy_by_loop_rounds": "rounds of loops",
    "accuracy_by_largest_value": "largest number",
}
_JUDGED = {"ok": COLOURS[2], "passed": COLOURS[2], "wrong": COLOURS[1], "failed": COLOURS[1]}  # outputs, programs
_OTHERS = (GREY, COLOURS[3], COLOURS[4], COLOURS[5], COLOURS[0])
_PHASES = ("sampling_s", "scoring_s", "waiting_s", "gathering_s", "updating_s")


def at_k(canvas, report, _):
    results, lines = report["results"], []
    for family, *looks in _AT_K:
        at = {}
        for name in results:
            found = re.fullmatch(r"(\w+?)_at_(\d+)(_\w+)?", name)
            if found and found[1] + (found[3] or "") == family:
                at[int(found[2])] = results[name]
        if family != "pass" and "pass_at_1" in results and at:
            at[1] = results["pass_at_1"]
        if len(at) > 1:
            lines.append((sorted(at), [at[k] for k in sorted(at)], *looks))
    if not lines:
        return False
    canvas.set_size_inches(8, 4)
    axes = canvas.subplots()
    for n, (ks, rows, colour, marker, line, name) in enumerate(lines):
        value, spread = whiskers(rows, _RESULT)
        places = [k * 1.03 ** (n - 1) for k in ks]  # so that no whisker hides another
        axes.errorbar(places, value, yerr=spread, color=colour, marker=marker, linestyle=line, elinewidth=1, capsize=3,
                      label=name)
    if "pass_at_1" in results:
        axes.axhline(100 * results["pass_at_1"]["value"], color=GREY, linewidth=1.2, label="a random one")
    ks = sorted({k for each, *_ in lines for k in each})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ks, [str(k) for k in ks])
    axis_of(axes, "Choosing among k candidates", "candidates", "problems solved (%)")
    canvas.legend(loc="outside right center", fontsize=9)
    return True


def accuracy(canvas, report, _):
    found = [(rows, words) for name, words in _BINS.items() if (rows := report.get("tables", {}).get(name))]
    if not found:
        return False
    canvas.set_size_inches(max(5.5, 4.2 * len(found)), 3.7)
    panels = canvas.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for axes, (rows, words) in zip(panels, found, strict=True):
        value, spread = whiskers(rows)
        places = np.arange(len(rows))
        axes.errorbar(places, value, yerr=spread, color=SIMULATED, marker="o", elinewidth=1.2, capsize=4)
        axes.set_xticks(places, [f"{bounds(row)}\nn {row['n']:,}" for row in rows], fontsize=8)
        axes.set_xlim(-0.5, len(rows) - 0.5)
        axes.set_ylim(-3, 103)  # room for the whisker caps at both ends
        axis_of(axes, "", words, grid="y")
    panels[0].set_title("Output prediction")
    panels[0].set_ylabel("outputs predicted (%)")
    return True


def bounds(row):
    """The bounds of a row of a table by size in words; `high` None means no upper bound."""
    low, high = row["low"], row.get("high")
    if high is None or not np.isfinite(high):
        return f"≥ {low:,}"
    return "–".join(f"{n:,}" if n < 10_000 else short_number(n) for n in dict.fromkeys((low, high)))


def errors(canvas, report, _):
    rows = report.get("tables", {}).get("first_errors") or []
    if not rows:
        return False
    canvas.set_size_inches(8, 1.1 + 0.36 * len(rows))
    axes = canvas.subplots()
    value, spread = whiskers(rows)
    axes.barh(range(len(rows)), value, height=0.62, color=SIMULATED, xerr=spread,
              error_kw={"ecolor": INK, "elinewidth": 1.2, "capsize": 3})
    axes.set_yticks(range(len(rows)), [f"{row['error']} (n {row['n']:,})" for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axis_of(axes, "How wrong simulations first part from the run", "of wrong simulations (%)", grid="x")
    return True


def reliability(canvas, report, _):
    rows, whole = (report.get("tables", {}).get(name) or [] for name in ("reliability", "calibration"))
    if not rows:
        return False
    canvas.set_size_inches(5.4, 4.4)
    axes = canvas.subplots()
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle="--")
    error = {row["by"]: f", ECE {100 * row['expected calibration error']:.1f} points" for row in whole}
    ways = dict.fromkeys(row["by"] for row in rows)
    for by, colour, mark in zip(ways, (SIMULATED, COLOURS[2]), "os", strict=False):
        chosen = [row for row in rows if row["by"] == by]
        value, spread = whiskers(chosen)
        scores = [100 * row["foretold"] for row in chosen]
        axes.errorbar(scores, value, yerr=spread, color=colour, marker=mark, elinewidth=1.2, capsize=4,
                      label=f"{by}{error.get(by, '')}")  # fmt: skip
        if len(ways) > 1:
            continue  # numbers of both would lie on each other
        for x, y, row in zip(scores, value, chosen, strict=True):
            right = x > 90
            axes.annotate(f"n {row['candidates']:,}", (x, y), xytext=(-7 if right else 7, -14), fontsize=8,
                          textcoords="offset points", ha="right" if right else "left")
    axes.set_xlim(-3, 103)
    axes.set_ylim(-3, 103)
    axis_of(axes, "Reliability", "public tests foretold to pass (%)", "public tests really passed (%)")
    axes.legend(fontsize=8, loc="upper left")
    return True


def flow(canvas, report, _):
    rows = report.get("tables", {}).get("self_rlef_flow") or []
    if not rows:
        return False
    share = {(row["before"], row["after"]): 100 * row["value"] for row in rows}
    colour = {("right", "right"): COLOURS[2], ("wrong", "right"): COLOURS[0], ("right", "wrong"): COLOURS[1],
              ("wrong", "wrong"): GREY}
    name = {("right", "right"): "stays right", ("wrong", "right"): "fixed", ("right", "wrong"): "broken",
            ("wrong", "wrong"): "stays wrong"}
    canvas.set_size_inches(6.4, 4)
    axes = canvas.subplots()
    left = _stacked([(pair, share[pair]) for pair in colour], by=0)
    right = _stacked([(pair, share[pair]) for pair in colour], by=1)
    x = np.linspace(0, 1, 40)
    bend = 3 * x**2 - 2 * x**3
    for pair in colour:
        (a, b), (c, d) = left[pair], right[pair]
        axes.fill_between(x, a + (c - a) * bend, b + (d - b) * bend, color=colour[pair], alpha=0.75, linewidth=0,
                          label=f"{name[pair]} {share[pair]:.1f} %")
    axes.set_xticks([0, 1], ["first program", "after Self-RLEF"])
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(0, 103)
    axis_of(axes, "Fixed and broken", "", "problems, right below, wrong above (%)", grid="y")
    canvas.legend(loc="outside right center", fontsize=9)
    return True


def _stacked(parts, by):
    """Where each part lies in a column: what is right at that end first, wrong above."""
    at, places = 0.0, {}
    for pair, size in sorted(parts, key=lambda part: (part[0][by] != "right", part[0][1 - by] != "right")):
        places[pair] = (at, at + size)
        at += size
    return places


def labels(canvas, _, curves):
    lines = [row for row in curves if row.get("stage") == "rl" and row.get("step", 0) > 0]
    found = {}
    for row in lines:
        for key in row:
            if parts := re.fullmatch(r"label/(\w+)/(\w+)", key):
                found.setdefault(parts[1], set()).add(parts[2])
    if not found:
        return False
    rest = sorted(set().union(*found.values()) - set(_JUDGED))
    names = [*_JUDGED, *rest]
    colours = _JUDGED | {name: _OTHERS[i % len(_OTHERS)] for i, name in enumerate(rest)}
    canvas.set_size_inches(max(4.6, 3.4 * len(found)), 3.4)
    panels = canvas.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for axes, (task, has) in zip(panels, sorted(found.items()), strict=True):
        chosen = [row for row in lines if any(f"label/{task}/{name}" in row for name in has)]
        order = [name for name in names if name in has]
        shares = [[100 * row.get(f"label/{task}/{name}", 0.0) for row in chosen] for name in order]
        axes.stackplot([row["step"] for row in chosen], shares, colors=[colours[n] for n in order], alpha=0.8)
        axes.set_ylim(0, 103)
        axis_of(axes, task, "step")
    panels[0].set_ylabel("answers (%)")
    from matplotlib.patches import Patch

    handles = [Patch(color=colours[n], label=label(n)) for n in names if any(n in has for has in found.values())]
    canvas.legend(handles=handles, loc="outside right center", fontsize=9)
    return True


def time(canvas, report, curves):
    stages = {stage: seconds for stage, seconds in report["meta"]["seconds"].items() if seconds}
    phases = {phase: [row[phase] for row in curves if row.get("stage") == "rl" and phase in row] for phase in _PHASES}
    phases = {phase.removesuffix("_s"): float(np.mean(values)) for phase, values in phases.items() if values}
    if not stages:
        return False
    panels = [("Stages", stages)] + ([("A step of RL, mean", phases)] if phases else [])
    canvas.set_size_inches(8, 1.3 + 0.3 * max(len(each) for _, each in panels))
    for axes, (title, parts) in zip(canvas.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        axes.barh(range(len(parts)), list(parts.values()), height=0.62, color=COLOURS[0])
        axes.set_yticks(range(len(parts)), parts)
        axes.set_ylim(len(parts) - 0.4, -0.6)
        axis_of(axes, title, "seconds", grid="x")
    return True
