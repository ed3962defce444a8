"""What a run found, as report.json (for programs), report.md (for reviews) and report.html (for reading)."""

import itertools
import json
import math
import os
import re
from pathlib import Path

import numpy as np

from selfexec_jax.evals import figures, html
from selfexec_jax.evals.figures import label, length_range, short_number
from selfexec_jax.evals.html import Heading, Table
from selfexec_jax.traces.clean import clean

META = ("config", "seed", "machine", "versions", "seconds", "counts", "K", "date")
SPLITS = ("specified", "open", "unseen")
ORDER = (
    "output_prediction_sft", "output_prediction_rl", "pass_at_K", "random_at_K", "short1_at_K",
    "best_at_K_simulated", "best_at_K_executed", "single_turn", "self_rlef", "self_rlef_executed", "self_rlef_random",
    "fixed", "broken", "fixed_public", "broken_public",
    "output_prediction_rl_over_sft", "best_at_K_simulated_over_pass_at_K", "best_at_K_simulated_over_short1_at_K",
    "simulation_gap_at_K", "self_rlef_over_single_turn", "self_rlef_executed_over_single_turn",
    "self_rlef_random_over_single_turn", "fixed_over_broken", "fixed_over_broken_public",
)
CURVE_ROWS = 12
EXAMPLES = 5
HEADS = {"results": "result", "comparisons": "paired difference, in points"}

RESULTS_NOTE = (
    "Each cell: the share with its 95 % interval (bootstrap over problems) · n · tokens generated for all n. "
    "pass@k for k > 1 knows the private tests: a ceiling, not a strategy. Fixed and broken are shares of all "
    "problems. An interval without width only says that all problems agreed."
)
COMPARISONS_NOTE = (
    "Paired over the same problems: the difference in percentage points with its 95 % interval · n. "
    "* marks an interval that excludes zero."
)


def write_report(workdir, report, curves=(), examples=()):
    """Write report.json, report.md, report.html and figures/*.png into `workdir`; returns the page's path.

    `report`: {"meta", "results", "comparisons", "tables"}, values as shares in 0..1, "tokens" the total that
    was generated for the n problems of a result. meta holds at least the keys of META ("seconds", and
    "tokens" where known, by stage). tables is optional: "accuracy_by_trace_length" is a list of {"low",
    "high", "n", "value", "ci_low", "ci_high"}, any other name a list of flat dicts that is shown as it is.
    `curves`: the dicts of metrics.jsonl, {"stage": "sft" | "rl", "step", key: number}.
    `examples`: dicts {"statement", "program", "input", "said", "answer", "truth", "verdict"} and perhaps
    "first_error": the 0-based line of `said` that first departs from what happened, or words on it; the first
    line of `said` that contains these words is marked, else they stand below it.
    Each file is replaced whole and report.json last, so that it never describes files that are not there.
    ValueError names the field of `report` that is missing or not a number.
    """
    _check(report)
    data = json.dumps(report, indent=1, default=_plain, allow_nan=False) + "\n"
    folder = Path(workdir) / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {figure.name: figure for figure in figures.draw(report, curves)}
    for name, *_ in figures.FIGURES:
        if name in drawn:
            _replace(folder / f"{name}.png", drawn[name].png)
        else:  # an earlier report of this run may have drawn it
            (folder / f"{name}.png").unlink(missing_ok=True)
    page = "What the run found", _subtitle(report["meta"]), _blocks(report, curves, examples, drawn)
    _replace(Path(workdir) / "report.md", html.markdown(*page).encode())
    _replace(Path(workdir) / "report.html", html.page(*page).encode())
    _replace(Path(workdir) / "report.json", data.encode())
    return Path(workdir) / "report.html"


def load_report(workdir):
    """The dict of `workdir`/report.json; FileNotFoundError or ValueError, of one line, when unreadable."""
    path = Path(workdir) / "report.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no report here; run the stages eval and report with this --workdir")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        _check(report)
    except ValueError as error:
        raise ValueError(f"{path}: not a report ({error}); run the stage report again") from None
    return report


def result_table(report):
    """The results and comparisons of `report` as aligned plain text for a terminal."""
    parts = [_subtitle(report["meta"])]
    for part, cell in (("results", _share), ("comparisons", _points)):
        entries = report[part]
        splits = _splits(entries)
        rows = [[HEADS[part], *(head for split in splits for head in (split, "n"))]]
        for name in _names(entries):
            found = [entries.get(_key(name, split)) for split in splits]
            rows.append([label(name)])
            for entry in found:
                rows[-1] += [cell(entry), f"{entry['n']:,}"] if entry else ["", ""]
            if part == "results":
                rows[-1].append(_tokens_per_problem(found[0]))
        if part == "results":
            rows[0].append("tokens/problem")
        if len(rows) > 1:
            parts.append(_aligned(rows))
    parts.append("95 % intervals over problems in brackets. * the interval excludes zero.")
    return clean("\n\n".join(parts)) + "\n"


def _aligned(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )


# ---- what stands in the report, in order ----

def _blocks(report, curves, examples, drawn):
    def figure(name):
        return [drawn[name]] if name in drawn else []

    blocks = [Heading("Results"), _results(report["results"]), *figure("strategies")]
    if report["comparisons"]:
        blocks += [Heading("Comparisons"), _comparisons(report["comparisons"])]
    blocks += figure("budget")
    for name, rows in report.get("tables", {}).items():
        if rows and name == "accuracy_by_trace_length":
            blocks += [Heading("Accuracy against trace length"), _by_length(rows), *figure("trace_length")]
        elif rows:
            blocks += [Heading(label(name).capitalize()), _any_table(rows)]
    learning = []
    for stage, title in (("sft", "Supervised fine-tuning"), ("rl", "Reinforcement learning")):
        learning += [*figure(stage), *_curve_table(curves, stage, title)]
    if learning:
        blocks += [Heading("Learning curves"), *learning]
    blocks += [Heading("What the run cost"), _cost(report["meta"])]
    blocks += [Heading("The run"), *_about(report["meta"])]
    if examples:
        blocks += [Heading("Examples"), *map(html.example, range(1, EXAMPLES + 1), examples)]
    return blocks


def _results(results):
    splits, rows = _splits(results), []
    for name in _names(results):
        found = [results.get(_key(name, split)) for split in splits]
        rows.append([label(name), *map(_full_cell, found), _tokens_per_problem(found[0])])
    return Table(["result", *splits, "tokens a problem"], rows, RESULTS_NOTE)


def _comparisons(comparisons):
    splits, rows = _splits(comparisons), []
    for name in _names(comparisons):
        found = [comparisons.get(_key(name, split)) for split in splits]
        cells = [f"{_points(entry)} · n {entry['n']:,}" if entry else "" for entry in found]
        rows.append([label(name), *cells])
    return Table(["comparison", *splits], rows, COMPARISONS_NOTE)


def _by_length(rows):
    cells = []
    for row in rows:
        share = _share({"value": row["value"], "low": row["ci_low"], "high": row["ci_high"]})
        cells.append([length_range(row), share, f"{row['n']:,}"])
    note = "Outputs predicted right, by the length of the program's real trace."
    return Table(["trace length (events)", "outputs predicted", "n"], cells, note)


def _any_table(rows):
    header = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_value(row.get(key, "")) for key in header] for row in rows]
    return Table([label(key) for key in header], cells)


def _curve_table(curves, stage, title):
    columns = {}
    for wanted in (figures.LOSS, figures.REWARD, figures.RIGHT, figures.VALIDATION):
        columns.update(sorted(figures.series(curves, stage, wanted).items()))
    if not columns:
        return []
    steps = np.unique(np.concatenate([steps for steps, _ in columns.values()]))
    ends = steps[np.linspace(0, len(steps) - 1, min(CURVE_ROWS, len(steps))).round().astype(int)]
    rows = []
    for start, end in itertools.pairwise([-math.inf, *ends]):
        inside = [values[(at > start) & (at <= end)] for at, values in columns.values()]
        rows.append([f"{int(end):,}", *(f"{values.mean():.4g}" if len(values) else "" for values in inside)])
    return [Table(["step", *columns], rows, "Each row: the mean over the steps since the row above.", title)]


def _cost(meta):
    seconds, tokens = meta["seconds"], meta.get("tokens") or {}
    rows = [
        [stage, *(shown(by_stage[stage]) if stage in by_stage else ""
                  for by_stage, shown in ((seconds, _duration), (tokens, short_number)))]
        for stage in dict.fromkeys([*seconds, *tokens])
    ]
    total = ["total", _duration(sum(seconds.values())), short_number(sum(tokens.values())) if tokens else ""]
    return Table(["stage", "time", "tokens"], [*rows, total])


def _about(meta):
    apart = ("seconds", "tokens", "counts")
    about = [[label(key), _value(value)] for key, value in meta.items() if key not in apart]
    counts = [[label(name), _value(value)] for name, value in _flat(meta["counts"])]
    tables = Table(["", "value"], about), Table(["what", "count"], counts, title="Counts")
    return [table for table in tables if table.rows]


# ---- names, cells and numbers ----

def _names(entries):
    """Result names without their splits, in the order of a report: known families first, k ascending."""
    def place(name):
        family = re.sub(r"_at_\d+", "_at_K", name)
        ks = [int(k) for k in re.findall(r"_at_(\d+)", name)]
        return (ORDER.index(family) if family in ORDER else len(ORDER), *ks)

    return sorted(dict.fromkeys(name.partition("/")[0] for name in entries), key=place)


def _splits(entries):
    found = dict.fromkeys(name.partition("/")[2] for name in entries)
    return ["all", *(s for s in SPLITS if s in found), *(s for s in found if s and s not in SPLITS)]


def _key(name, split):
    return name if split == "all" else f"{name}/{split}"


def _share(entry):
    return f"{100 * entry['value']:.1f} % [{100 * entry['low']:.1f}, {100 * entry['high']:.1f}]"


def _full_cell(entry):
    if not entry:
        return ""
    return f"{_share(entry)} · n {entry['n']:,} · {short_number(entry['tokens'])} tokens"


def _points(entry):
    # Adding 0.0 turns the -0.0 that rounding leaves into 0.0.
    value, low, high = (round(100 * entry[key], 1) + 0.0 for key in ("value", "low", "high"))
    mark = " *" if entry["low"] > 0 or entry["high"] < 0 else ""
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]{mark}"


def _tokens_per_problem(entry):
    return short_number(entry["tokens"] / entry["n"]) if entry and entry["n"] else ""


def _subtitle(meta):
    return f"Config {meta['config']}, seed {meta['seed']}, K = {meta['K']}, {meta['date']}"


def _duration(seconds):
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _value(value):
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(inner)}" for key, inner in _flat(value))
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flat(tree, prefix=""):
    """The leaves of nested dicts as (path in words, value)."""
    for key, value in tree.items():
        name = f"{prefix}: {key}" if prefix else str(key)
        if isinstance(value, dict):
            yield from _flat(value, name)
        else:
            yield name, value


# ---- checking and writing ----

def _check(report):
    complaint = next(_complaints(report), None)
    if complaint:
        raise ValueError(complaint)


def _complaints(report):
    for part, fields in (("meta", ()), ("results", ("value", "low", "high", "n", "tokens")),
                         ("comparisons", ("value", "low", "high", "n"))):
        if not isinstance(report, dict) or not isinstance(report.get(part), dict):
            yield f"report[{part!r}] is missing or not a dict"
            return
        for name, entry in report[part].items() if fields else ():
            for field in fields:
                number = entry.get(field) if isinstance(entry, dict) else None
                if not isinstance(number, (int, float, np.number)) or not math.isfinite(number):
                    yield f"report[{part!r}][{name!r}][{field!r}] must be a finite number, got {number!r}"
    yield from (f"report['meta'] lacks {key!r}" for key in META if key not in report["meta"])


def _plain(value):
    """Numbers and arrays of numpy as JSON can hold them."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"a report holds plain data, not {type(value).__name__}")


def _replace(path, data):
    """Put `data` at `path` whole or not at all."""
    # One fixed name: what a killed process left is overwritten by the next, not collected.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
