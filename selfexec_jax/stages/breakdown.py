"""Where output prediction succeeds and fails: by what a run is like, and by how a simulation first goes wrong."""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Sequence

import numpy as np

from selfexec_jax.evals import bootstrap_ci
from selfexec_jax.problems.endings import ending_name
from selfexec_jax.sandbox import Execution
from selfexec_jax.tasks import predict
from selfexec_jax.traces import check_claims, parse_claims, steps
from selfexec_jax.traces.steps import Bind, Branch, Op

N_BINS = 6
_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_NUMBER = re.compile(r"(?<![\w.])\d+")  # of a float its whole part


def accuracy_by(
    values: np.ndarray, truths: Sequence[Execution], problems: np.ndarray, seed: int, resamples: int
) -> dict[str, list[dict]]:
    """Tables of the accuracy in equally filled bins of the length of a run's trace in events, of the rounds of its
    loops, and of the largest number in it. values, problems: each case's share of right answers, and whose it is."""
    tables = {}
    for name, measured in _MEASURES.items():
        sizes = np.array([measured(truth) for truth in truths])
        tables[f"accuracy_by_{name}"] = _binned(values, sizes, problems, seed, resamples)
    return tables


def outcomes(
    wanted: Sequence[str | None], answers: Sequence[Sequence], problems: Sequence[str], seed: int, resamples: int
) -> list[dict]:
    """Precision and recall of the first answers, by what comes of a run: an output, an exception or a timeout.

    wanted: of each case, None where it is not known; problems: whose it is. `n`: cases that end so, `foretold`: answers
    that say so; a figure without any case is left out.
    """
    known = [(_kind(want), _kind(row[0].output)) for want, row in zip(wanted, answers, strict=True) if want is not None]
    whose = np.array([problem for want, problem in zip(wanted, problems, strict=True) if want is not None])
    rows = []
    for name in sorted({kind for pair in known for kind in pair if kind}):
        is_so, is_said = (np.array([pair[i] == name for pair in known], float) for i in (0, 1))
        row = {"outcome": name, "n": int(is_so.sum()), "foretold": int(is_said.sum())}
        for figure, values, of in (("recall", is_said, is_so), ("precision", is_so, is_said)):
            if of.any():
                value, low, high = bootstrap_ci(values[of > 0], seed, resamples, units=whose[of > 0])
                row |= {figure: round(value, 4), f"{figure} interval": f"{low:.3f} to {high:.3f}"}
        rows.append(row)
    return rows


def _kind(given: str | None) -> str | None:
    return None if given is None else ending_name(given) or "output"


def first_errors(wrong: Sequence[Sequence[tuple]], style: str, seed: int, resamples: int) -> list[dict]:
    """How wrong simulations first part from what happened; of each case its (answer, execution) pairs. Shares are means
    over cases with wrong simulations, n is of simulations."""
    if style == "direct":
        return []
    found = [[_first_error(answer.text, truth, style) for answer, truth in row] for row in wrong if row]
    rows = []
    for kind, n in collections.Counter(kind for row in found for kind in row).most_common():
        shares = np.array([row.count(kind) / len(row) for row in found])
        value, low, high = bootstrap_ci(shares, seed, resamples)
        rows.append({"error": kind, "n": n, "value": value, "ci_low": low, "ci_high": high})
    return rows


def _first_error(text: str, truth: Execution, style: str) -> str:
    if truth.trace is None:
        return "not traced"
    said = predict.narration_of(text)
    error = check_claims(parse_claims(said, style=style), truth.trace, style=style).first_error
    return error.reason if error else "told right, answered wrong"


def _binned(values: np.ndarray, sizes: np.ndarray, problems: np.ndarray, seed: int, resamples: int) -> list[dict]:
    distinct = np.unique(sizes)
    if len(distinct) <= N_BINS:
        bins = [(size, size) for size in distinct]
    else:
        edges = np.unique(np.quantile(sizes, np.linspace(0, 1, N_BINS + 1)).astype(int))
        bins = [(low, high - 1) for low, high in zip(edges[:-1], [*edges[1:-1], edges[-1] + 1], strict=True)]
    rows = []
    for low, high in bins:
        mask = (sizes >= low) & (sizes <= high)
        if mask.any():
            value, ci_low, ci_high = bootstrap_ci(values[mask], seed, resamples, units=problems[mask])
            rows.append({"low": int(low), "high": int(high), "n": int(mask.sum()), "value": value,
                         "ci_low": ci_low, "ci_high": ci_high})  # fmt: skip
    return rows


def _length(truth: Execution) -> int:
    return len(truth.trace.events) if truth.trace else 0


def _rounds(truth: Execution) -> int:
    happened = steps(truth.trace) if truth.trace else []
    return sum(
        (isinstance(step, Bind) and step.how in ("loop", "comp"))
        or (isinstance(step, Branch) and step.of == "while" and step.taken)
        for step in happened
    )


def _largest(truth: Execution) -> int:
    """The largest number, whatever its sign, that an operation gave or a name was given; what is in strings is none."""
    told = [step.value for step in (steps(truth.trace) if truth.trace else []) if isinstance(step, (Bind, Op))]
    return max((min(int(n[:16]), 10**15) for text in told for n in _NUMBER.findall(_STRING.sub("", text))), default=0)


_MEASURES: dict[str, Callable[[Execution], int]] = {
    "trace_length": _length, "loop_rounds": _rounds, "largest_value": _largest,
}  # fmt: skip
