"""Results as aligned plain text: of one run, or of several side by side."""

from selfexec_jax.evals import wording
from selfexec_jax.evals.ablations import Values, difference
from selfexec_jax.evals.looks import label
from selfexec_jax.traces.clean import clean

HEADS = {"results": "result", "comparisons": "paired difference, in points"}


def result_table(report):
    """The results and comparisons of `report` as aligned plain text for a terminal."""
    parts = [wording.subtitle(report["meta"])]
    for part, cell in (("results", wording.share), ("comparisons", wording.points)):
        entries = report[part]
        splits = wording.splits(entries)
        rows = [[HEADS[part], *(head for split in splits for head in (split, "n"))]]
        for name in wording.names(entries):
            found = [entries.get(wording.key(name, split)) for split in splits]
            rows.append([label(name)])
            for entry in found:
                rows[-1] += [cell(entry), f"{entry['n']:,}"] if entry else ["", ""]
            if part == "results":
                rows[-1].append(wording.tokens_per_problem(found[0]))
        if part == "results":
            rows[0].append("tokens/problem")
        if len(rows) > 1:
            parts.append(_aligned(rows))
    parts.append("95 % intervals over problems in brackets. * the interval excludes zero.")
    return clean("\n\n".join(parts)) + "\n"


def side_by_side(names, reports, values):
    """Results of several runs over all held-out problems as aligned text, each run's paired difference from the first.

    names: of the runs. values: of each run, by result and problem or case; a result that is missing has no difference.
    """
    rows = [["result", names[0], *(head for name in names[1:] for head in (name, f"over {names[0]}"))]]
    for name in wording.names({n: None for report in reports for n in report["results"]}):
        entries = [report["results"].get(name) for report in reports]
        if sum(entry is not None for entry in entries) < 2:
            continue
        rows.append([label(name), wording.share(entries[0]) if entries[0] else ""])
        for entry, own in zip(entries[1:], values[1:], strict=True):
            rows[-1] += [wording.share(entry) if entry else "", _over(name, own, values[0])]
    heads = [f"{name}: {wording.subtitle(report['meta'])}" for name, report in zip(names, reports, strict=True)]
    notes = "Held-out problems. 95 % intervals; differences in points, paired over the n problems or cases in both."
    return clean("\n\n".join(["\n".join(heads), _aligned(rows), notes])) + "\n"


def _over(name: str, ours: Values, base: Values) -> str:
    if name not in ours or name not in base:
        return ""
    try:
        found = difference([ours], [base], name)
    except ValueError:  # nothing in both
        return ""
    return f"{wording.points(vars(found))} n {found.n:,}"


def _aligned(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )
