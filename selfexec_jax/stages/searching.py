"""Candidates by belief, and searches that spend where it matters, beside the ranking by votes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from selfexec_jax.evals.believed import TOKENS
from selfexec_jax.evals.metrics import bootstrap_ci, expected_calibration_error
from selfexec_jax.problems import Problem
from selfexec_jax.problems.compare import answers_match
from selfexec_jax.self_execution import Asking, Invocation, simulate
from selfexec_jax.self_execution.belief import Belief, passing_all
from selfexec_jax.self_execution.search import Execute, Means, Picked, Simulate, Spending, Write, search
from selfexec_jax.self_execution.simulate import Prediction
from selfexec_jax.stages.belief import doubt_of, programs_of
from selfexec_jax.stages.strategies import Decided, Held, Judged, Strategy, ranked

BELIEVED, FIRST_VOTE = "believed", "believed_of_votes_1"
SURE = (0.5, 0.8, 0.9, 0.95, 0.98)  # what `belief.sure` is compared with
_LEVELS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)  # shares of the problems that are answered


class Searches:
    """Searches among the candidates that were written, with the simulations that were made and more of them."""

    def __init__(
        self, config, engine, tokenizer, problems: Sequence[Problem], decided: Decided, belief: Belief, asking: Asking
    ):
        self._config, self._engine, self._tokenizer, self._asking = config, engine, tokenizer, asking
        self._problems, self._decided, self._belief, self._doubt = problems, decided, belief, doubt_of(config)
        self._samples = {p.id: row for p, row in zip(problems, decided.samples, strict=True)}
        self._known: dict[tuple, Prediction] = {}
        for p, sources, ranking in zip(problems, decided.sources, decided.rankings, strict=True):
            for source, row in zip(sources, ranking.predictions, strict=False):
                for test, cell in enumerate(row):
                    for vote, said in enumerate(cell):  # each read its prompt, as votes come one by one
                        again = dataclasses.replace(said, n_prompt=said.n_prompt + (said.n_first if vote else 0))
                        self._known.setdefault((p.id, source, test, vote), again)

    def believed(self, belief: Belief | None = None, votes: int | None = None) -> list[list[Held]]:
        """What is held of every candidate, by problem; by another belief, or of the first votes alone."""
        K, found = self._config.eval.candidates, []
        for p, sources, ranking in zip(self._problems, self._decided.sources, self._decided.rankings, strict=True):
            programs = programs_of(p, sources, ranking, self._doubt, K)
            right, passes = (belief or self._belief)([
                dataclasses.replace(seen, cells=[cell[:votes] for cell in seen.cells]) for seen in programs.values()
            ])
            share = passes.mean(-1) if passes.size else np.ones(len(right))
            of = dict(zip(programs, map(Held, *map(np.ndarray.tolist, (right, passing_all(right, passes), share))),
                          strict=True))  # fmt: skip
            found.append([of.get(source, Held()) for source in sources[:K]])
        return found

    def search(self, sure: float, least_gain: float | None = None, execute=None) -> list[Picked]:
        knobs = self._config.belief
        spending = Spending(
            self._config.eval.candidates, knobs.first, knobs.search_votes, sure, least_gain, knobs.abstain
        )
        means = Means(self._written, self._simulated, execute)
        return search(self._problems, means, self._belief, self._doubt, spending, self._config.tasks.template)

    def _written(self, wanted: list[Write]) -> list[list]:
        return [self._samples[w.problem.id][w.begin : w.end] for w in wanted]

    def _simulated(self, wanted: list[Simulate]) -> list[Prediction]:
        """What was simulated before; what was not is simulated now, each vote by itself."""
        missing = [w for w in wanted if _key(w) not in self._known]
        for vote in sorted({w.vote for w in missing}):
            some = [w for w in missing if w.vote == vote]
            cases = [Invocation.of(w.source, w.problem, w.problem.public_tests[w.test]) for w in some]
            seed = self._config.seed + 1000 + vote  # another draw than the votes that were made together
            cells = simulate(self._engine, self._tokenizer, cases, 1, seed, self._asking)
            self._known |= {_key(w): cell[0] for w, cell in zip(some, cells, strict=True)}
        return [self._known[_key(w)] for w in wanted]


def _key(want: Simulate) -> tuple:
    return want.problem.id, want.source, want.test, want.vote


def executing(outputs_of):
    """Runs that a search asks for; `outputs_of` gives what programs give on all public tests, by (problem, source)."""

    known: dict[tuple[str, str], list[str | None]] = {}  # searches ask for other tests of the same programs

    def execute(wanted: list[Execute]) -> list[bool]:
        new = {(w.problem.id, w.source): (w.problem, w.source) for w in wanted}
        new = {key: pair for key, pair in new.items() if key not in known}
        known.update(zip(new, outputs_of(list(new.values())) if new else [], strict=True))
        return [answers_match(w.problem.kind, w.problem.public_tests[w.test].output,
                              known[w.problem.id, w.source][w.test]) for w in wanted]  # fmt: skip

    return execute


# ---- figures -------------------------------------------------------------------------------------------------
def strategies_of(decided: Decided, judged: Judged, strategies: dict[str, Strategy], K: int) -> dict[str, Strategy]:
    """What is solved by the candidate that is likeliest to be right, by the one that is expected to pass most tests,
    and by each search."""
    correct, voted = judged.correct[:, :K], strategies[f"best_at_{K}_simulated"]
    found = {f"best_at_{K}_expected": dataclasses.replace(voted, values=ranked(held(decided)[2], correct, K))}
    for name in decided.believed:
        spent = strategies.get(f"best_at_{K}_votes_1", voted) if name == FIRST_VOTE else voted
        value = ranked(held(decided, name)[0], correct, K)
        found[f"best_at_{K}_{name}"] = dataclasses.replace(spent, values=value)
    for name, picked in decided.searches.items():
        values = [_correct(p.source, sources, row) for p, sources, row in
                  zip(picked, decided.sources, judged.correct, strict=True)]  # fmt: skip
        tokens, prefilled = (np.array([getattr(p, key) for p in picked], float) for key in ("n_tokens", "n_prefilled"))
        found[name] = Strategy(np.array(values), tokens, prefilled)
    return found


def held(decided: Decided, name: str = BELIEVED) -> np.ndarray:
    """What is held of the candidates, 3 x problems x candidates: right, passes all, share."""
    return np.moveaxis(np.array(decided.believed[name]), -1, 0)


def _words(name: str) -> str:
    return name.replace("believed", "belief").replace("_of_votes_1", ", of one vote").replace("_", " ")


def _correct(source: str | None, sources: Sequence[str | None], correct: np.ndarray) -> float:
    return 0.0 if source is None else float(correct[list(sources).index(source)])


def tables(
    decided: Decided, judged: Judged, strategies: dict[str, Strategy], K: int, seed: int, resamples: int,
    refit: Callable[[np.ndarray], np.ndarray],
) -> dict[str, list[dict]]:  # fmt: skip
    """For the report: calibration before and after, accuracy by coverage, and what searches spend and solve. `refit`:
    which probability a share of votes means."""
    scores = np.array([r.scores for r in decided.rankings])
    right, passes, _ = held(decided)
    correct, public = judged.correct[:, :K], judged.public[:, :K] == 1.0
    error = lambda p, truth: expected_calibration_error(p.ravel(), truth.ravel().astype(float))  # noqa: E731
    calibration = [
        {"probability of": what, "by": by, "expected calibration error": round(error(p, truth), 4),
         "candidates": p.size}
        for what, by, p, truth in (
            ("passing all public tests", "share of votes", scores, public),
            ("passing all public tests", "belief", passes, public),
            ("being right", "share of votes", scores, correct),
            ("being right", "share of votes, refitted", refit(scores), correct),
            *(("being right", _words(name), held(decided, name)[0], correct) for name in decided.believed),
        )
    ]
    coverage, drawn = [], np.random.default_rng(seed).permutation(len(correct))  # the order of who are alike
    for by, of in (("share of votes", scores), ("belief", right)):
        solved, order = ranked(of, correct, K), np.lexsort((drawn, -of.max(1)))
        for share in _LEVELS:
            answered = order[: max(round(share * len(order)), 1)]
            value, low, high = bootstrap_ci(solved[answered], seed, resamples)
            coverage.append({"by": by, "answered": share, "n": len(answered), "value": value,
                             "ci_low": low, "ci_high": high})  # fmt: skip
    return {"belief_calibration": calibration, "coverage": coverage,
            "searches": _searches(decided, judged, strategies, K, seed, resamples)}  # fmt: skip


def _searches(decided: Decided, judged: Judged, strategies, K: int, seed: int, resamples: int) -> list[dict]:
    n_tests = np.array([len(row[0]) if (row := r.predictions) else 0 for r in decided.rankings])
    n_programs = [len({s for s in sources[:K] if s}) for sources in decided.sources]
    runs, rows = np.mean(n_programs * n_tests), []
    named = {f"best@{K}, {how}": (f"best_at_{K}_{name}", None)
             for how, name in (("one vote", "votes_1"), ("halving", "halved"), ("all votes", "simulated"),
                               ("belief of one vote", FIRST_VOTE), ("belief", BELIEVED))
             if f"best_at_{K}_{name}" in strategies}  # fmt: skip
    named |= {name.replace("_", " "): (name, picked) for name, picked in decided.searches.items()}
    named[f"best@{K}, all executed"] = (f"best_at_{K}_executed", None)
    for words, (name, picked) in named.items():
        strategy = strategies[name]
        value, low, high = bootstrap_ci(strategy.values, seed, resamples)
        is_answered = np.array([picked is None or picked[i].source is not None for i in range(len(strategy.values))])
        executed = np.mean([p.n_executions for p in picked]) if picked else (runs if name.endswith("executed") else 0.0)
        rows.append({
            "strategy": words, "value": value, "ci_low": low, "ci_high": high, "n": len(strategy.values),
            TOKENS: round(float(strategy.cost.mean())),
            "candidates": round(float(np.mean([p.n_candidates for p in picked])), 2) if picked else K,
            "answered": round(float(is_answered.mean()), 4),
            "right of the answered": round(float(strategy.values[is_answered].mean()), 4) if is_answered.any() else "",
            "runs executed": round(float(executed), 3),
            "of all runs": round(float(executed / runs), 4) if runs else 0.0,
        })  # fmt: skip
    return rows
