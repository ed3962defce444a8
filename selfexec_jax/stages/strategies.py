"""What was solved by which strategy, at what cost: figures with intervals, also at equal budgets."""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import NamedTuple

import numpy as np

from selfexec_jax.evals import bootstrap_ci, paired_bootstrap, pass_at_k, rank_score_at_k
from selfexec_jax.problems import Problem
from selfexec_jax.problems.generator import trapped
from selfexec_jax.rollout import Sample
from selfexec_jax.self_execution import Episode, Ranking
from selfexec_jax.self_execution.candidates import frequencies
from selfexec_jax.self_execution.own_tests import OwnTests
from selfexec_jax.self_execution.search import Picked
from selfexec_jax.self_execution.verify import tie_broken
from selfexec_jax.stages.workdir import Workdir

BELIEVED = "self_rlef_believed"  # where a fix turn is told of failures that are believed, and of no others


class Held(NamedTuple):
    """How likely a candidate is held to be right and to pass all public tests, and what share of them it is expected
    to pass."""

    right: float = 0.0
    passes_all: float = 0.0
    share: float = 0.0


@dataclasses.dataclass(frozen=True)
class Decided:
    """What the model chose, N programs a problem of which the first K were simulated, and episodes by their feedback.

    All was chosen without executing anything but `self_rlef_executed` and the searches that execute.
    """

    samples: list[list[Sample]]
    sources: list[list[str | None]]
    rankings: list[Ranking]
    episodes: dict[str, list[list[Episode]]]  # a problem's, from each of its first programs
    own: list[OwnTests] = dataclasses.field(default_factory=list)
    believed: dict[str, list[list[Held]]] = dataclasses.field(default_factory=dict)  # by what: see `Searches.believed`
    searches: dict[str, list[Picked]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Judged:
    """Of programs, problems x how many: whether each is right, and the share of the public tests that it passes."""

    correct: np.ndarray
    public: np.ndarray


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A value a problem, and the tokens that were generated and read for it."""

    values: np.ndarray
    tokens: np.ndarray
    prefilled: np.ndarray

    @property
    def cost(self) -> np.ndarray:
        return self.tokens + self.prefilled


def strategies_of(decided: Decided, judged: dict[str, Judged], K: int) -> dict[str, Strategy]:
    """Every strategy's figure; a problem's prompt is read once, whatever the number of its samples."""
    found: dict[str, Strategy] = {}
    scores = np.array([r.scores for r in decided.rankings])
    lengths = _lengths(decided)[:, :K]
    correct, public = judged[""].correct[:, :K], judged[""].public[:, :K]
    every, prompt = lengths.sum(1), _prompts(decided)

    found["pass_at_1"] = Strategy(correct.mean(1), lengths.mean(1), prompt)
    for k in budgets(K):
        share = k / K
        found[f"pass_at_{k}"] = Strategy(_pass_at(correct, k), share * every, prompt)
        found[f"short1_at_{k}"] = Strategy(ranked(-lengths, correct, k), share * every, prompt)
        simulated, read = _simulating(decided, K, k).T
        found[f"best_at_{k}_simulated"] = Strategy(ranked(scores, correct, k), share * every + simulated, prompt + read)
        found[f"best_at_{k}_executed"] = Strategy(ranked(public, correct, k), share * every, prompt)
    both = found[f"best_at_{K}_simulated"]
    common = np.array([tie_broken(r, frequencies(sources[:K]))
                       for r, sources in zip(decided.rankings, decided.sources, strict=True)])  # fmt: skip
    found[f"best_at_{K}_frequent"] = dataclasses.replace(both, values=ranked(common, correct, K))
    if decided.own:
        by_own = np.array([tie_broken(r, own.scores) for r, own in zip(decided.rankings, decided.own, strict=True)])
        spent = np.array([(own.n_tokens, own.n_prefilled) for own in decided.own]).T
        costs = both.tokens + spent[0], both.prefilled + spent[1]
        found[f"best_at_{K}_own_tests"] = Strategy(ranked(by_own, correct, K), *costs)
    found[f"random_at_{K}"] = Strategy(correct.mean(1), every, prompt)
    E = judged["self_rlef"].correct.shape[1]
    first = lengths[:, :E].mean(1)
    found["single_turn"] = Strategy(correct[:, :E].mean(1), first, prompt)
    for name, episodes in decided.episodes.items():
        generated, prefilled = (
            np.array([np.mean([getattr(e, n) for e in row]) for row in episodes]) for n in ("n_tokens", "n_prefilled")
        )
        found[name] = Strategy(judged[name].correct.mean(1), first + generated, prompt + prefilled)
    flows = [
        ("self_rlef", "", correct[:, :E], judged["self_rlef"].correct),
        ("self_rlef", "_public", public[:, :E] == 1.0, judged["self_rlef"].public == 1.0),
    ]
    if BELIEVED in judged:
        flows.append((BELIEVED, "_believed", correct[:, :E], judged[BELIEVED].correct))
    for name, suffix, before, after in flows:
        fixed, broken = (after * (1.0 - before)).mean(1), ((1.0 - after) * before).mean(1)
        found[f"fixed{suffix}"] = dataclasses.replace(found[name], values=fixed)
        found[f"broken{suffix}"] = dataclasses.replace(found[name], values=broken)
    return found


def summarise(config, report: dict, strategies: dict[str, Strategy], problems: list[Problem], K: int) -> None:
    """Adds every strategy's figure and comparison to the report, for each group of problems."""
    pairs = {
        "self_rlef_over_single_turn": ("self_rlef", "single_turn"),
        "self_rlef_executed_over_single_turn": ("self_rlef_executed", "single_turn"),
        "self_rlef_random_over_single_turn": ("self_rlef_random", "single_turn"),
        "fixed_over_broken": ("fixed", "broken"),
        "fixed_over_broken_public": ("fixed_public", "broken_public"),
    }
    for k in budgets(K):
        best = f"best_at_{k}_simulated"
        pairs |= {f"{best}_over_{other}": (best, other) for other in ("pass_at_1", f"short1_at_{k}")}
        pairs[f"simulation_gap_at_{k}"] = (f"best_at_{k}_executed", best)
    others = [f"best_at_{K}_{how}" for how in ("frequent", "own_tests", "votes_1", "halved", "believed")]
    for name in (*others, "search"):
        if name in strategies:
            pairs[f"{name}_over_best_at_{K}_simulated"] = (name, f"best_at_{K}_simulated")
    for name, other in (("search", f"best_at_{K}_votes_1"), (f"best_at_{K}_own_tests", f"best_at_{K}_frequent")):
        if {name, other} <= strategies.keys():
            pairs[f"{name}_over_{other}"] = (name, other)
    if BELIEVED in strategies:
        pairs[f"{BELIEVED}_over_self_rlef"] = (BELIEVED, "self_rlef")
    for suffix, mask in groups_of(problems).items():
        for name, strategy in strategies.items():
            report["results"][name + suffix] = _result(config, strategy.values[mask], strategy.tokens[mask].sum())
        for name, (a, b) in pairs.items():
            report["comparisons"][name + suffix] = _difference(config, strategies[a].values, strategies[b].values, mask)


def at_equal_tokens(
    config, report: dict, strategies: dict[str, Strategy], decided: Decided, correct: np.ndarray,
    problems: list[Problem], K: int,
) -> None:  # fmt: skip
    """What as many tokens, read and generated, buy without simulating: more programs, of which one is submitted.

    The shortest (short1), a random one, or any that is right, which is a ceiling and no method. Left out without
    `eval.more_candidates`, where there are no more programs to choose from.
    """
    if not config.eval.more_candidates:
        return
    lengths, prompt = _lengths(decided), _prompts(decided)
    rows = []
    for suffix, mask in groups_of(problems).items():
        for name in [*(f"best_at_{k}_simulated" for k in budgets(K)), "self_rlef"]:
            mine, budget = strategies[name].values[mask], strategies[name].cost[mask].mean()
            affordable, k, others = unsimulated(lengths[mask], prompt[mask], correct[mask], budget)
            for other in ("short1", "pass"):
                figure = _result(config, others[other], k * lengths[mask].mean(1).sum())
                report["results"][f"{other}_at_tokens_of_{name}{suffix}"] = figure
            for other in ("short1", "random"):
                difference = _difference(config, mine, others[other], np.ones(len(mine), bool))
                report["comparisons"][f"{name}_over_{other}_at_equal_tokens{suffix}"] = difference
            rows.append({
                "problems": suffix[1:] or "held-out", "strategy": name, "tokens read and generated": round(budget),
                "programs for as many": f"{k}" if affordable == k else f"{k} (all; {affordable} could be paid)",
                "strategy solves": round(float(mine.mean()), 4),
                "shortest of them": round(float(others["short1"].mean()), 4),
                "random one": round(float(others["random"].mean()), 4),
                "any of them (ceiling)": round(float(others["pass"].mean()), 4),
            })  # fmt: skip
    report["tables"]["at_equal_tokens"] = rows


def unsimulated(
    lengths: np.ndarray, prompts: np.ndarray, correct: np.ndarray, budget: float
) -> tuple[int, int, dict[str, np.ndarray]]:
    """What a budget of tokens a problem buys in programs that are not simulated: how many could be paid (rounded up,
    in their favour), how many there are of those, and what is solved by the shortest, by a random one and by any.

    lengths, correct: problems x programs; prompts: problems, tokens that are read once.
    """
    affordable = max(math.ceil((budget - prompts.mean()) / max(lengths.mean(), 1)), 1)
    k = min(affordable, correct.shape[1])
    shortest = ranked(-lengths, correct, k)
    return affordable, k, {"short1": shortest, "random": correct.mean(1), "pass": _pass_at(correct, k)}


def save_values(
    workdir: Workdir, ids: list[str], strategies: dict[str, Strategy], decided: Decided, correct: np.ndarray
) -> None:
    """Every problem's values, and what is to be known of its candidates, for comparisons with other runs."""
    candidates = {"ids": ids, "lengths": _lengths(decided).tolist(), "prompts": _prompts(decided).tolist(),
                  "correct": correct.tolist()}  # fmt: skip
    workdir.write_rows(workdir.data / "candidates.jsonl.gz", [candidates])
    rows = [
        {"name": name, "ids": ids, "values": _rounded(s.values), "tokens": _rounded(s.tokens),
         "prefilled": _rounded(s.prefilled)}
        for name, s in strategies.items()
    ]  # fmt: skip
    workdir.write_rows(workdir.data / "values.jsonl.gz", rows)


def groups_of(problems: list[Problem]) -> dict[str, np.ndarray]:
    """Which problems each suffix covers: none for all held-out ones, then their kinds, then unseen compositions, and
    held-out ones with a trap."""
    is_unseen = np.array([p.id.startswith("unseen") for p in problems])
    is_open = np.array(["open" in p.tags for p in problems])
    if not any(p.source.startswith("generator/") for p in problems):
        return {"": ~is_unseen}
    has_trap = np.array([bool(trapped(p)) for p in problems])
    groups = {"": ~is_unseen, "/specified": ~is_unseen & ~is_open, "/open": ~is_unseen & is_open, "/unseen": is_unseen,
              "/trap": ~is_unseen & has_trap}  # fmt: skip
    return {suffix: mask for suffix, mask in groups.items() if mask.any()}


def _simulating(decided: Decided, K: int, k: int) -> np.ndarray:
    """Tokens generated and read for the simulations of k of the K candidates, problems x 2: their mean over all choices
    of k. A program that was written several times is simulated once."""
    spent = []
    for sources, ranking in zip(decided.sources, decided.rankings, strict=True):
        times, cells = collections.Counter(s for s in sources[:K] if s is not None), {}
        for source, row in zip(sources, ranking.predictions, strict=False):
            cells[source] = [cell for cell in row if cell]
        total = np.zeros(2)
        for source, n in times.items():
            said = [p for cell in cells[source] for p in cell]
            is_among = 1 - math.comb(K - n, k) / math.comb(K, k)
            total += is_among * np.array([sum(p.n_tokens for p in said), sum(p.n_prompt for p in said)])
        spent.append(total)
    return np.array(spent)


def ranked(values: np.ndarray, correct: np.ndarray, k: int) -> np.ndarray:
    """Of every problem, what the candidate with the highest value among k solves; ties are broken by a fair coin."""
    return np.array([rank_score_at_k(list(v), list(c), k) for v, c in zip(values, correct, strict=True)])


def budgets(K: int) -> list[int]:
    """2, 4, 8 and so on, and K itself."""
    ks = [2**i for i in range(1, K.bit_length())]
    return sorted({k for k in ks if k <= K} | {K})


def _pass_at(correct: np.ndarray, k: int) -> np.ndarray:
    return np.array([pass_at_k(correct.shape[1], int(c), k) for c in correct.sum(1)])


def _lengths(decided: Decided) -> np.ndarray:
    return np.array([[len(s.tokens) for s in row] for row in decided.samples])


def _prompts(decided: Decided) -> np.ndarray:
    return np.array([len(row[0].prompt_tokens) for row in decided.samples])


def _result(config, values: np.ndarray, tokens: float) -> dict:
    value, low, high = bootstrap_ci(values, config.seed, config.eval.bootstrap)
    return {"value": value, "low": low, "high": high, "n": len(values), "tokens": int(tokens)}


def _difference(config, a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> dict:
    value, low, high = paired_bootstrap(a[mask], b[mask], config.seed, config.eval.bootstrap)
    return {"value": value, "low": low, "high": high, "n": int(mask.sum())}


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), 5) for v in values]
