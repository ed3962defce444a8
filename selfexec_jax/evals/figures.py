"""The figures of a report, drawn once each as PNG (for files and Markdown) and as SVG (for the page).

Which metrics are drawn is decided by their names in metrics.jsonl: a part "loss", a part "reward", "right/" or
"validation" in front (the rest of the name says which task).
"""

import io
import itertools
import math
import re

import numpy as np

from selfexec_jax.evals import believed, measured
from selfexec_jax.evals.html import Figure
from selfexec_jax.evals.looks import COLOURS, EXECUTED, GREY, INK, PLAIN, SIMULATED, STYLE, label, short_number

LOSS = re.compile(r"(.*[/_])?loss([/_].*)?")
RIGHT = re.compile(r"right/.*")
VALIDATION = re.compile(r"validation(/.*)?")
REWARD = re.compile(r"(.*/)?reward([/_](?!std|min|max|var).*)?")

def series(curves, stage, wanted):
    """`{key: (steps, values)}` of one stage, for the keys that match `wanted`, steps ascending.

    A step that was logged twice (a run that was killed and went on) counts once, as logged last.
    """
    found = {}
    for row in curves:
        if row.get("stage") != stage or "step" not in row:
            continue
        for key, value in row.items():
            if key in ("stage", "step") or isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            if wanted.fullmatch(key):
                found.setdefault(key, {})[row["step"]] = value
    return {key: (np.array(sorted(by_step)), np.array([by_step[step] for step in sorted(by_step)], float))
            for key, by_step in found.items()}


def draw(report, curves):
    """Every Figure that `report` and `curves` have the data for, in the order of the report."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    figures = []
    # Canvas without pyplot: nothing global changes, so a notebook that calls this keeps its own backend.
    with matplotlib.rc_context(STYLE):
        for name, title, alt, plot in FIGURES:
            canvas = Canvas(layout="constrained")
            if plot(canvas, report, curves):
                figures.append(Figure(name, title, alt, _png(canvas), _svg(canvas)))
    return figures


def _strategies(canvas, report, _):
    results, k = report["results"], report["meta"]["K"]
    rows = [(name, colour) for name, colour in (
        ("pass_at_1", PLAIN), (f"random_at_{k}", PLAIN), (f"short1_at_{k}", PLAIN),
        (f"best_at_{k}_simulated", SIMULATED), (f"best_at_{k}_executed", EXECUTED), ("single_turn", PLAIN),
        ("self_rlef", SIMULATED), ("self_rlef_believed", SIMULATED), ("self_rlef_executed", EXECUTED),
    ) if name in results]  # fmt: skip
    if not rows:
        return False
    canvas.set_size_inches(8, 1.3 + 0.42 * len(rows))
    axes = canvas.subplots()
    for place, (name, colour) in enumerate(rows):
        entry = results[name]
        value, low, high = (100 * entry[key] for key in ("value", "low", "high"))
        axes.barh(place, value, height=0.62, color=colour)
        axes.plot([low, high], [place, place], color=INK, linewidth=1.3, marker="|", markersize=7)
        axes.annotate(f"{value:.1f}", (max(high, value), place), xytext=(7, 0), textcoords="offset points",
                      va="center_baseline")
    axes.set_yticks(range(len(rows)), [label(name) for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, min(108, 1.13 * max(100 * results[name]["high"] for name, _ in rows) + 1))
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("problems solved, private tests (%)")
    axes.set_title("Solving: what each strategy submits")
    _legend_of_colours(canvas, {colour for _, colour in rows})
    return True


def _budget(canvas, report, _):
    lines = {}
    for name, entry in report["results"].items():
        family = re.sub(r"_at_\d+", "", name)
        # pass@k for k > 1 is left out: it knows the answers, so nobody could submit it at any budget.
        honest = family in BUDGET and (family != "pass" or name == "pass_at_1")
        if honest and entry["n"] and entry["tokens"] > 0:
            lines.setdefault(family, []).append((entry["tokens"] / entry["n"], entry, name))
    if sum(map(len, lines.values())) < 2:
        return False
    canvas.set_size_inches(8, 4.2)
    axes, handles, taken = canvas.subplots(), [], []
    for family in (family for family in BUDGET if family in lines):
        points = sorted(lines[family], key=lambda point: point[0])
        colour, marker = BUDGET[family]
        tokens, value, low, high = (
            np.array(column) for column in zip(*[
                (_beside(taken, x), *(100 * entry[key] for key in ("value", "low", "high")))
                for x, entry, _ in points
            ], strict=True)
        )
        whiskers = [np.maximum(value - low, 0), np.maximum(high - value, 0)]
        handles.append(axes.errorbar(tokens, value, yerr=whiskers, color=colour, marker=marker, markersize=7,
                                     linestyle="-" if len(points) > 1 else "", elinewidth=1, capsize=3)[0])
        handles[-1].set_label(_label_of_points([name for *_, name in points]))
    axes.set_xscale("log")
    _ticks_in_tokens(axes)
    axes.set_xlabel("tokens generated a problem (log scale)")
    axes.set_ylabel("problems solved (%)")
    axes.set_title("What the tokens buy")
    canvas.legend(handles=handles, loc="outside right center", fontsize=9, labelspacing=0.9)
    return True


def _beside(taken, x):
    """`x`, moved by some percent when a point stands there already, so that no whisker hides another."""
    while any(abs(math.log(x / other)) < 0.035 for other in taken):
        x *= 1.04
    taken.append(x)
    return x


def _label_of_points(names):
    if len(names) == 1:
        return label(names[0])
    ks = ", ".join(re.search(r"_at_(\d+)", name)[1] for name in names)
    return label(re.sub(r"_at_\d+", "@k", names[0])) + f"\nk = {ks}"


BUDGET = {  # family of results: colour, marker
    "pass": (GREY, "o"),
    "random": (GREY, "s"),
    "short1": (COLOURS[2], "v"),
    "best_simulated": (SIMULATED, "o"),
    "best_executed": (EXECUTED, "o"),
    "single_turn": (GREY, "D"),
    "self_rlef": (SIMULATED, "^"),
    "self_rlef_executed": (EXECUTED, "^"),
}


def _sft(canvas, _, curves):
    return _panels(canvas, "SFT", curves, (("loss", LOSS),))


def _rl(canvas, _, curves):
    return _panels(canvas, "RL", curves, (("reward", REWARD), ("right", RIGHT), ("validation", VALIDATION)))


def _panels(canvas, stage, curves, kinds):
    panels = [(kind, series(curves, stage.lower(), wanted)) for kind, wanted in kinds]
    panels = [panel for panel in panels if panel[1]]
    if not panels:
        return False
    canvas.set_size_inches(8 if len(panels) == 1 else 3.6 * len(panels), 3.5)
    for axes, (kind, lines) in zip(canvas.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for key, colour in _colours(sorted(lines)).items():
            steps, values = lines[key]
            values, name = values * (100 if kind in PERCENT else 1), _without(key, kind)
            if len(steps) < 40:
                axes.plot(steps, values, color=colour, marker="o", markersize=4, label=name)
            else:  # what was measured stays visible behind its running mean
                axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.9)
                axes.plot(steps, _running_mean(values, len(values) // 20), color=colour, label=name)
        axes.set_title(f"{stage}: {kind}")
        axes.set_xlabel("step")
        axes.set_ylabel({"loss": "loss", "reward": "mean reward"}.get(kind, "right (%)"))
        if kind in PERCENT:
            axes.set_ylim(0, 103)
        if len(lines) > 1:
            axes.legend(fontsize=9)
    return True


PERCENT = ("right", "validation")
TASKS = {"predict": COLOURS[0], "solve": COLOURS[1], "rlef": COLOURS[2]}


def _colours(keys):
    """One colour a metric: its task's, the same in every figure, else one that is left."""
    chosen = {}
    for key in keys:
        own = next((colour for task, colour in TASKS.items() if task in key), None)
        if own and own not in chosen.values():
            chosen[key] = own
    left = itertools.cycle([colour for colour in COLOURS if colour not in chosen.values()] or COLOURS)
    return {key: chosen.get(key) or next(left) for key in keys}


def _without(key, kind):
    """What a metric's name says besides its kind: "validation/predict" is "predict"."""
    rest = re.sub(rf"(^|[/_]){kind}(?=$|[/_])", r"\1", key)
    return label(" ".join(re.split(r"[/_]+", rest)).strip()) or "all"


def _running_mean(values, window):
    window = max(1, window)
    ones = np.convolve(np.isfinite(values).astype(float), np.ones(window), "same")
    return np.convolve(np.nan_to_num(values), np.ones(window), "same") / np.where(ones, ones, np.nan)


def _ticks_in_tokens(axes):
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high / low > 1e3 else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axes.xaxis.set_minor_locator(NullLocator())


def _legend_of_colours(canvas, used):
    from matplotlib.patches import Patch

    meanings = ((PLAIN, "no execution, no simulation"), (SIMULATED, "simulated by the model"),
                (EXECUTED, "really executed (reference)"))
    handles = [Patch(color=colour, label=text) for colour, text in meanings if colour in used]
    canvas.legend(handles=handles, loc="outside lower left", ncols=3, fontsize=9)


def _png(canvas):
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _svg(canvas):
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg"):].replace(INK, "currentColor")


FIGURES = (  # file stem, title, what it shows, how it is drawn
    ("strategies", "Solving by strategy",
     "Share of problems solved by each strategy, with 95 % intervals.", _strategies),
    ("at_k", "Accuracy against the number of candidates",
     ("Share of problems solved by the candidate that each way of choosing takes among k, with 95 % intervals, and by"
      " any of them, which is a ceiling and no method."), measured.at_k),
    ("budget", "Accuracy against tokens",
     ("Share of problems solved against the tokens generated a problem, with 95 % intervals. "
      "Points that would coincide stand side by side."), _budget),
    ("accuracy", "Output prediction by what is run",
     ("Share of outputs predicted right by the length of the real trace, the rounds of loops and the largest number, "
      "with 95 % intervals."), measured.accuracy),
    ("errors", "How simulations go wrong",
     "Share of wrong simulations by how they first part from what happened, with 95 % intervals.", measured.errors),
    ("reliability", "Reliability of verification",
     ("Share of the public tests that candidates really pass against the share that they are foretold to pass, with"
      " 95 % intervals over problems. On the diagonal what is foretold is what happens."),
     measured.reliability),
    ("flow", "What Self-RLEF makes of first programs",
     "Shares of problems whose program was right or wrong before and after the fix turns, by the private tests.",
     measured.flow),
    ("searches", "What belief in simulations saves",
     ("Share of problems solved by a search that stops when it is sure, against the tokens that it reads and generates,"
      " and against the share of the runs that it executes where it is not, beside choosing among all candidates."),
     believed.searches),
    ("coverage", "Knowing when it is right",
     "Share of problems solved of those that are answered, where the least sure ones are left unanswered.",
     believed.coverage),
    ("sft", "Fine-tuning curves",
     "Loss over the steps of supervised fine-tuning.", _sft),
    ("rl", "Reinforcement learning curves",
     "Mean reward, and shares of right answers in training and validation, of each task over the steps of RL.", _rl),
    ("labels", "Answers by label",
     "Shares of the answers of each task in RL by what they were judged to be, over the steps.", measured.labels),
    ("time", "Where the time went",
     "Seconds of each stage, and of a step of RL by phase.", measured.time),
)
