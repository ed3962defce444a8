"""What a run found, as report.json (for programs), report.md (for reviews) and report.html (for reading)."""

import itertools
import json
import math
import os
from pathlib import Path

import numpy as np

from selfexec_jax.evals import figures, html, wording
from selfexec_jax.evals.html import Examples, Heading, Table
from selfexec_jax.evals.looks import label, short_number
from selfexec_jax.evals.measured import bounds

META = ("config", "seed", "machine", "versions", "seconds", "counts", "K", "date")
CURVE_ROWS = 12
EXAMPLES = 5
SECTIONS = {  # title: (figures, tables)
    "Output prediction": (
        ("accuracy", "errors"),
        ("accuracy_by_trace_length", "accuracy_by_loop_rounds", "accuracy_by_largest_value", "first_errors",
         "outcomes", "answers_by_label"),
    ),
    "Verification and repair": (("reliability", "flow"), ("reliability", "calibration", "verifier", "self_rlef_flow")),
    "Beyond the paper": (
        ("searches", "coverage"), ("what_each_brings", "searches", "belief_calibration", "coverage"),
    ),
}
BEYOND = (  # what stands in the first of its tables: of results, one over another
    ("best_at_{K}_believed", "best_at_{K}_simulated"), ("search", "best_at_{K}_simulated"),
    ("search", "best_at_{K}_votes_1"), ("best_at_{K}_halved", "best_at_{K}_simulated"),
    ("best_at_{K}_votes_1", "best_at_{K}_simulated"), ("self_rlef_believed", "self_rlef"),
    ("best_at_{K}_own_tests", "best_at_{K}_simulated"), ("best_at_{K}_own_tests", "best_at_{K}_frequent"),
)

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
    line of `said` that contains these words is marked, else they stand below it. With "view" (of `traces.view.seen`)
    the page has a viewer to step through them.
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
    page = "What the run found", wording.subtitle(report["meta"]), _blocks(report, curves, examples, drawn)
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


# ---- what stands in the report, in order ----

def _blocks(report, curves, examples, drawn):
    def figure(name):
        return [drawn[name]] if name in drawn else []

    blocks = [Heading("Results"), _results(report["results"]), *figure("strategies")]
    if report["comparisons"]:
        blocks += [Heading("Comparisons"), _comparisons(report["comparisons"])]
    if budget := figure("at_k") + figure("budget"):
        blocks += [Heading("Candidates and tokens"), *budget]
    tables = {"what_each_brings": _beyond(report)} | report.get("tables", {})
    tables = {name: rows for name, rows in tables.items() if rows}
    for title, (figures_of, names) in SECTIONS.items():
        inside = [block for name in figures_of for block in figure(name)]
        inside += [_any_table(tables.pop(name), _title(name)) for name in names if name in tables]
        if inside:
            blocks += [Heading(title), *inside]
    for name, rows in tables.items():
        blocks += [Heading(_title(name)), _any_table(rows)]
    learning = figure("labels")
    for stage, title in (("sft", "Supervised fine-tuning"), ("rl", "Reinforcement learning")):
        learning += [*figure(stage), *_curve_table(curves, stage, title)]
    if learning:
        blocks += [Heading("Learning curves"), *learning]
    blocks += [Heading("What the run cost"), _cost(report["meta"]), *figure("time")]
    blocks += [Heading("The run"), *_about(report["meta"])]
    if examples:
        views = [each["view"] for each in examples if "view" in each]
        blocks += [Heading("Examples"), Examples(list(map(html.example, range(1, EXAMPLES + 1), examples)), views)]
    return blocks


def _title(name):
    words = label(name)
    return words[:1].upper() + words[1:]


def _results(results):
    splits, rows = wording.splits(results), []
    for name in wording.names(results):
        found = [results.get(wording.key(name, split)) for split in splits]
        rows.append([label(name), *map(wording.full_cell, found), wording.tokens_per_problem(found[0])])
    return Table(["result", *splits, "tokens a problem"], rows, RESULTS_NOTE)


def _comparisons(comparisons):
    splits, rows = wording.splits(comparisons), []
    for name in wording.names(comparisons):
        found = [comparisons.get(wording.key(name, split)) for split in splits]
        cells = [f"{wording.points(entry)} · n {entry['n']:,}" if entry else "" for entry in found]
        rows.append([label(name), *cells])
    return Table(["comparison", *splits], rows, COMPARISONS_NOTE)


def _beyond(report):
    """Rows on what goes beyond the paper, as far as it was switched on: over what, and what both cost."""
    results, rows = report["results"], []
    for pair in BEYOND:
        ours, other = (name.format(K=report["meta"]["K"]) for name in pair)
        entry = report["comparisons"].get(f"{ours}_over_{other}")
        if entry and {ours, other} <= results.keys():
            verdict = "helps" if entry["low"] > 0 else "harms" if entry["high"] < 0 else "not certain"
            rows.append({
                "what": label(ours), "over": label(other), "points": f"{wording.points(entry)} · n {entry['n']:,}",
                "tokens generated a problem, other": wording.tokens_per_problem(results[other]),
                "tokens generated a problem": wording.tokens_per_problem(results[ours]), "by the interval": verdict,
            })  # fmt: skip
    return rows


def _any_table(rows, title=""):
    """Rows as they are; a share with its interval is one cell, and so are the bounds of a range."""
    shown = []
    for row in rows:
        new = dict(row)
        if "ci_low" in row:
            if "low" in row:
                new = {"range": bounds(row)} | {key: value for key, value in new.items() if key not in ("low", "high")}
            new["share"] = wording.share({"value": row["value"], "low": row["ci_low"], "high": row["ci_high"]})
            new = {key: value for key, value in new.items() if key not in ("value", "ci_low", "ci_high")}
        shown.append(new)
    header = list(dict.fromkeys(key for row in shown for key in row))
    cells = [[wording.in_words(row.get(key, "")) for key in header] for row in shown]
    return Table([label(key) for key in header], cells, title=title)


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
                  for by_stage, shown in ((seconds, wording.duration), (tokens, short_number)))]
        for stage in dict.fromkeys([*seconds, *tokens])
    ]
    total = ["total", wording.duration(sum(seconds.values())), short_number(sum(tokens.values())) if tokens else ""]
    return Table(["stage", "time", "tokens"], [*rows, total])


def _about(meta):
    apart = ("seconds", "tokens", "counts")
    about = [[label(key), wording.in_words(value)] for key, value in meta.items() if key not in apart]
    counts = [[label(name), wording.in_words(value)] for name, value in wording.flat(meta["counts"])]
    tables = Table(["", "value"], about), Table(["what", "count"], counts, title="Counts")
    return [table for table in tables if table.rows]


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
