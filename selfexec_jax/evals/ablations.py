"""Runs beside their base: paired differences with intervals, as a table and a picture."""

from __future__ import annotations

import dataclasses
import io

import numpy as np

from selfexec_jax.evals.looks import GREY, INK, SIMULATED, STYLE, label
from selfexec_jax.evals.metrics import bootstrap_ci

Values = dict[str, dict[str, float]]  # figure -> problem or case -> value


@dataclasses.dataclass(frozen=True)
class Difference:
    """A run's mean over its base's, pairs of all seeds together, with the difference of each seed."""

    value: float
    low: float
    high: float
    n: int
    by_seed: tuple[float, ...]

    @property
    def text(self) -> str:
        points = f"{100 * self.value:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"
        seeds = ", ".join(f"{100 * v:+.1f}" for v in self.by_seed)
        return f"{points} ({seeds})" if len(self.by_seed) > 1 else points


def problem_of(figure: str, name: str) -> str:
    """The problem of a name under a figure: the problem's own, or that of a case, which is problem/kind/number."""
    return name.rsplit("/", 2)[0] if figure.startswith("output_prediction") else name


def difference(ours: list[Values], bases: list[Values], figure: str, over: str = "") -> Difference:
    """The paired difference of one figure, or of it over another; a Values a seed. Raises ValueError where no pair has
    both."""
    seeds, units = [], []
    for seed, (mine, base) in enumerate(zip(ours, bases, strict=True)):
        a, b = mine[figure], base[over or figure]
        names = sorted(a.keys() & b.keys())
        seeds.append(np.array([a[name] - b[name] for name in names]))
        units += [f"{seed}/{problem_of(figure, name)}" for name in names]
    if not all(len(s) for s in seeds):
        raise ValueError(f"{figure}: no problem stands in both runs")
    pairs = np.concatenate(seeds)
    value, low, high = bootstrap_ci(pairs, 0, units=units)
    return Difference(value, low, high, len(pairs), tuple(float(s.mean()) for s in seeds))


def markdown(title: str, figures: list[str], rows: list[dict]) -> str:
    """A table of rows {"name", "claim", "base", "expected_null", "differences", "facts"}; facts: of what it cost."""
    facts = list(rows[0]["facts"]) if rows else []
    head = ["row", "over", *map(label, figures), *facts, "claim"]
    lines = [f"# {title}", "", "Points over the base with 95 % intervals over problems, paired, all seeds together; in"
             " brackets each seed. Rows marked (null) make no difference by their mathematics.", ""]  # fmt: skip
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        name = row["name"] + (" (null)" if row["expected_null"] else "")
        cells = [row["differences"][f].text if f in row["differences"] else "" for f in figures]
        lines.append("| " + " | ".join([f"`{name}`", f"`{row['base']}`", *cells, *row["facts"].values(), row["claim"]])
                     + " |")  # fmt: skip
    return "\n".join(lines) + "\n"


def plot(figures: list[str], rows: list[dict]) -> bytes:
    """A PNG: a panel a figure, a line a row, its difference with its interval, and a dot a seed."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(2.2 + 2.6 * len(figures), 1.2 + 0.34 * len(rows)), layout="constrained")
        panels = canvas.subplots(1, len(figures), sharey=True, squeeze=False)[0]
        for axes, figure in zip(panels, figures, strict=True):
            axes.axvline(0, color=INK, linewidth=1)
            for y, row in enumerate(rows):
                found = row["differences"].get(figure)
                if found is None:
                    continue
                colour = GREY if found.low <= 0 <= found.high else SIMULATED
                axes.plot([100 * found.low, 100 * found.high], [y, y], color=colour, linewidth=2.4)
                axes.plot([100 * found.value], [y], "o", color=colour, markersize=6)
                axes.plot([100 * v for v in found.by_seed], [y] * len(found.by_seed), "|", color=colour, markersize=9)
            axes.set_title(label(figure), fontsize=9)
            axes.set_xlabel("points over the base")
        panels[0].set_yticks(range(len(rows)), [row["name"] for row in rows])
        panels[0].invert_yaxis()
        canvas.savefig(buffer, format="png", dpi=140, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()

