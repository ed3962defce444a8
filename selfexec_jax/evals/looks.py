"""How figures and numbers of all reports look: colours, type, names in words."""

import re

# Text and axes take this colour, which the page then replaces by its own ink, light or dark.
INK = "#1b1f24"
GREY = "#8a929d"
# Told apart by people who see colours differently. Source: Okabe and Ito 2002, "Color universal design".
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]
SIMULATED, EXECUTED, PLAIN = COLOURS[0], COLOURS[1], GREY

STYLE = {
    "font.size": 10, "font.family": "DejaVu Sans", "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.labelcolor": INK, "axes.edgecolor": GREY, "axes.titlecolor": INK, "axes.titlesize": 11,
    "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 10,
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GREY, "grid.alpha": 0.22, "grid.linewidth": 0.8,
    "xtick.major.size": 0, "ytick.major.size": 0, "legend.frameon": False, "lines.linewidth": 1.8,
    "svg.fonttype": "path", "svg.hashsalt": "selfexec", "figure.dpi": 100,
}


def label(name):
    """A result's name in words: `best_at_8_simulated` becomes "best@8 simulated"."""
    words = re.sub(r"_at_(\d+)", r"@\1", name).replace("_", " ")
    words = re.sub(r"\bself rlef\b", "Self-RLEF", words)
    return re.sub(r"\b(rl|sft)\b", lambda found: found[0].upper(), words)


def short_number(value):
    """A count with three digits at most: 950, 1.2 k, 84 k, 3.1 M."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size * 0.9995:
            scaled = value / size
            return f"{scaled:.1f}".removesuffix(".0") + unit if scaled < 9.95 else f"{scaled:.0f}{unit}"
    return f"{value:.0f}"


def axis_of(axes, title, x, y="", grid="both"):
    """Names the panel and its axes, and leaves grid lines along `grid` alone."""
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if grid != "both":
        axes.grid(axis="x" if grid == "y" else "y", visible=False)


def whiskers(rows, keys=("value", "ci_low", "ci_high")):
    """Values in percent, and the lengths of their intervals downwards and upwards."""
    value, low, high = ([100 * row[key] for row in rows] for key in keys)
    down = [max(v - a, 0) for v, a in zip(value, low, strict=True)]
    up = [max(b - v, 0) for v, b in zip(value, high, strict=True)]
    return value, [down, up]
