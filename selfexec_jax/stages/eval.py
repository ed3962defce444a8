"""Stage 4: everything the report says, measured on held-out problems.

First the model decides (candidates, simulations, rankings, repairs) while no sandbox exists; then the
sandbox is opened and says what was right.
"""

from __future__ import annotations

import collections
import dataclasses
import random

import numpy as np

from selfexec_jax.evals import bootstrap_ci, paired_bootstrap, rank_score_at_k
from selfexec_jax.problems import Problem
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.problems.judge import judge
from selfexec_jax.rollout import Request, Sample
from selfexec_jax.sandbox import Run, SandboxPool, TraceBudget
from selfexec_jax.self_execution import Asking, Episode, Ranking, fix, simulate, verify
from selfexec_jax.self_execution.fix import simulated_feedback
from selfexec_jax.self_execution.simulate import request_seed
from selfexec_jax.stages import model as models
from selfexec_jax.stages.problems import open_pool
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tasks import predict, solve
from selfexec_jax.tasks.fix import Feedback
from selfexec_jax.traces import check_claims, parse_claims

Values = dict[str, np.ndarray]  # a figure's name -> one value a problem (or case)


@dataclasses.dataclass(frozen=True)
class Decided:
    """What the model chose without executing anything."""

    samples: list[list[Sample]]  # candidates a problem
    sources: list[list[str | None]]
    rankings: list[Ranking]
    episodes: list[Episode]


@dataclasses.dataclass(frozen=True)
class Case:
    """One output to predict: `kind` says what sort of program and input it is."""

    kind: str
    problem: Problem
    source: str
    stdin: str


def run(config, workdir: Workdir) -> dict:
    """Writes data/eval.json: results, comparisons, tables and examples; returns the counts."""
    loaded = models.load(config, workdir)
    policy = "rl" if config.rl.steps and loaded.has("rl") else "sft"
    engine = loaded.engine().load(loaded.params(policy), 0)
    problems = load_problems(workdir.data / "heldout.jsonl") + load_problems(workdir.data / "unseen.jsonl")
    asks = _asking(config)

    decided = decide(config, engine, loaded.tokenizer, problems, asks)
    cases = prediction_cases(config, problems, decided)
    answers = {policy: predictions(config, engine, loaded.tokenizer, cases)}
    if policy == "rl":
        engine.load(loaded.params("sft"), 1)
        answers["sft"] = predictions(config, engine, loaded.tokenizer, cases)
        engine.load(loaded.params("rl"), 2)

    with open_pool(config) as pool:
        runs_before_choice = pool.n_runs
        correct, public = judge_candidates(problems, decided, pool)
        executed = fix(
            engine, loaded.tokenizer, [(p, s[0]) for p, s in zip(problems, decided.sources, strict=True)],
            real_feedback(pool), config.eval.max_fixes, config.seed, asks["solve"],
        )  # fmt: skip
        final = judge_sources(problems, [e.submitted for e in decided.episodes], pool)
        final_executed = judge_sources(problems, [e.submitted for e in executed], pool)
        truths = pool.map([Run(c.source, c.stdin, trace=TraceBudget()) for c in cases])

    K = config.eval.candidates
    figures, tokens = strategy_figures(decided, executed, correct, public, final, final_executed, K)
    report = {"results": {}, "comparisons": {}, "tables": {}}
    _summarise(config, report, figures, tokens, problems, K)
    graded = {name: grade_cases(cases, found, truths) for name, found in answers.items()}
    _summarise_predictions(config, report, workdir, cases, graded, answers, truths, policy)
    report["tables"]["verifier"] = verifier_table(decided, public)
    report["examples"] = make_examples(cases, answers[policy], truths, config.tasks.style)
    report["runs_before_choice"] = runs_before_choice
    workdir.write_json(workdir.data / "eval.json", report)
    return {"problems": len(problems), "cases": len(cases), "policy": policy, "K": K,
            "tokens": int(sum(tokens.values()))}  # fmt: skip


def _asking(config) -> dict[str, Asking]:
    e = config.eval
    return {
        "solve": Asking(config.tasks.template, e.temperature, e.top_p, e.max_new_tokens),
        "simulate": Asking(config.tasks.template, e.simulate_temperature, e.top_p, e.max_new_tokens),
    }


# ---- deciding, without execution ---------------------------------------------------------------------
def decide(config, engine, tokenizer, problems: list[Problem], asks: dict[str, Asking]) -> Decided:
    """Candidates, their simulated rankings, and Self-RLEF episodes from each first candidate."""
    ask, template = asks["solve"], config.tasks.template
    requests = [
        Request(
            tuple(tokenizer.encode_prompt(solve.render(p, template))), n=config.eval.candidates,
            max_new_tokens=ask.max_new_tokens, temperature=ask.temperature, top_p=ask.top_p,
            seed=request_seed(config.seed, "candidates", p.id),
        )
        for p in problems
    ]  # fmt: skip
    samples = engine.generate(requests)
    sources = [
        [None if s.finish_reason == "length" else solve.extract(s.text, template) for s in row] for row in samples
    ]
    items = list(zip(problems, sources, strict=True))
    rankings = verify(engine, tokenizer, items, config.eval.votes, config.seed, asks["simulate"])
    feedback = simulated_feedback(engine, tokenizer, config.seed, asks["simulate"], config.eval.votes)
    first = [(p, row[0]) for p, row in zip(problems, sources, strict=True)]
    episodes = fix(engine, tokenizer, first, feedback, config.eval.max_fixes, config.seed, ask)
    return Decided(samples, sources, rankings, episodes)


def prediction_cases(config, problems: list[Problem], decided: Decided) -> list[Case]:
    """`narrated_like`: right programs on short inputs. `own` and `near_miss`: on inputs longer than narrated."""
    cases = []
    for problem, sources in zip(problems, decided.sources, strict=True):
        test = problem.public_tests[0]
        cases.append(Case("narrated_like", problem, problem.solutions[0], test.input))
        long = [t.input for t in problem.private_tests if len(t.input.split()) >= config.rl.long_size]
        if not long:
            continue
        cases.append(Case("near_miss", problem, problem.wrong_solutions[0], long[0]))
        if sources[0]:
            cases.append(Case("own", problem, sources[0], long[-1]))
    return cases


def predictions(config, engine, tokenizer, cases: list[Case]) -> list[list]:
    """Simulated runs at temperature 1 over the whole vocabulary, several a case, seeded alike for every model."""
    asking = Asking(config.tasks.template, 1.0, 1.0, config.rl.max_new_tokens)
    pairs = [(c.source, c.stdin) for c in cases]
    return simulate(engine, tokenizer, pairs, config.eval.prediction_samples, config.seed + 1, asking)


# ---- judging, after the choice ---------------------------------------------------------------------------
def judge_candidates(problems: list[Problem], decided: Decided, pool: SandboxPool) -> tuple[np.ndarray, np.ndarray]:
    """(whether each candidate is right, share of public tests that it passes), problems x candidates."""
    verdicts = {}
    for problem, sources in zip(problems, decided.sources, strict=True):
        for source in {s for s in sources if s}:
            tests = problem.public_tests + problem.private_tests
            verdicts[problem.id, source] = judge(source, problem, tests, pool)
    shape = (len(problems), len(decided.sources[0]))
    correct, public = np.zeros(shape), np.zeros(shape)
    for i, (problem, sources) in enumerate(zip(problems, decided.sources, strict=True)):
        for j, source in enumerate(sources):
            if source:
                verdict = verdicts[problem.id, source].result()
                correct[i, j] = verdict.status == "passed"
                public[i, j] = np.mean(verdict.passed[: len(problem.public_tests)])
    return correct, public


def judge_sources(problems: list[Problem], sources: list[str | None], pool: SandboxPool) -> np.ndarray:
    futures = [
        judge(source, p, p.public_tests + p.private_tests, pool) if source else None
        for p, source in zip(problems, sources, strict=True)
    ]
    return np.array([float(f is not None and f.result().status == "passed") for f in futures])


def real_feedback(pool: SandboxPool):
    """The feedback source that executes: the upper bound beside the simulated one."""

    def ask(pairs: list[tuple[Problem, str]]) -> list[tuple[list[Feedback], int]]:
        futures = [[(t, pool.submit(Run(source, t.input))) for t in p.public_tests] for p, source in pairs]
        answers = []
        for row in futures:
            done = [(t, f.result()) for t, f in row]
            answers.append(([Feedback(t, e.stdout if e.status == "ok" else None) for t, e in done], 0))
        return answers

    return ask


# ---- figures ---------------------------------------------------------------------------------------------
def strategy_figures(decided, executed, correct, public, final, final_executed, K: int) -> tuple[Values, dict]:
    """One value a problem for every strategy, and the tokens each strategy generated over all problems."""
    scores = np.array([r.scores for r in decided.rankings])
    lengths = np.array([[len(s.tokens) for s in row] for row in decided.samples])
    simulated = np.array([r.n_tokens for r in decided.rankings])

    def ranked(values: np.ndarray, k: int) -> np.ndarray:
        return np.array([rank_score_at_k(list(v), list(c), k) for v, c in zip(values, correct, strict=True)])

    first = lengths[:, 0].sum()
    figures = {"pass_at_1": correct.mean(1), f"pass_at_{K}": correct.max(1), f"random_at_{K}": correct.mean(1)}
    tokens = {"pass_at_1": lengths.mean(1).sum(), f"pass_at_{K}": lengths.sum(), f"random_at_{K}": lengths.sum()}
    figures[f"short1_at_{K}"], tokens[f"short1_at_{K}"] = ranked(-lengths, K), lengths.sum()
    k = 2
    while k <= K:
        share = k / K
        figures[f"best_at_{k}_simulated"] = ranked(scores, k)
        tokens[f"best_at_{k}_simulated"] = share * (lengths.sum() + simulated.sum())
        figures[f"best_at_{k}_executed"] = ranked(public, k)
        tokens[f"best_at_{k}_executed"] = share * lengths.sum()
        k *= 2
    figures["single_turn"], tokens["single_turn"] = correct[:, 0], first
    figures["self_rlef"] = final
    tokens["self_rlef"] = first + sum(e.n_tokens for e in decided.episodes)
    figures["self_rlef_executed"] = final_executed
    tokens["self_rlef_executed"] = first + sum(e.n_tokens for e in executed)
    figures["fixed"] = final * (1 - correct[:, 0])
    figures["broken"] = (1 - final) * correct[:, 0]
    tokens["fixed"] = tokens["broken"] = tokens["self_rlef"]
    return figures, tokens


def _groups(problems: list[Problem]) -> dict[str, np.ndarray]:
    """Which problems each suffix covers: none for all held-out ones, then their kinds, then unseen compositions."""
    is_unseen = np.array([p.id.startswith("unseen") for p in problems])
    is_open = np.array(["open" in p.tags for p in problems])
    groups = {"": ~is_unseen, "/specified": ~is_unseen & ~is_open, "/open": ~is_unseen & is_open, "/unseen": is_unseen}
    return {suffix: mask for suffix, mask in groups.items() if mask.any()}


def _summarise(config, report: dict, figures: Values, tokens: dict, problems: list[Problem], K: int) -> None:
    seed, resamples = config.seed, config.eval.bootstrap
    pairs = {
        f"best_at_{K}_simulated_over_pass_at_1": (f"best_at_{K}_simulated", "pass_at_1"),
        f"best_at_{K}_simulated_over_short1_at_{K}": (f"best_at_{K}_simulated", f"short1_at_{K}"),
        f"simulation_gap_at_{K}": (f"best_at_{K}_executed", f"best_at_{K}_simulated"),
        "self_rlef_over_single_turn": ("self_rlef", "single_turn"),
        "fixed_over_broken": ("fixed", "broken"),
    }
    for suffix, mask in _groups(problems).items():
        n, share = int(mask.sum()), float(mask.mean())
        for name, values in figures.items():
            value, low, high = bootstrap_ci(values[mask], seed, resamples)
            report["results"][name + suffix] = {
                "value": value, "low": low, "high": high, "n": n, "tokens": int(tokens[name] * share)
            }  # fmt: skip
        for name, (a, b) in pairs.items():
            value, low, high = paired_bootstrap(figures[a][mask], figures[b][mask], seed, resamples)
            report["comparisons"][name + suffix] = {"value": value, "low": low, "high": high, "n": n}


def grade_cases(cases: list[Case], answers: list[list], truths: list) -> np.ndarray:
    """Share of a case's samples that are right; nan where the program itself did not end well."""
    graded = []
    for row, truth in zip(answers, truths, strict=True):
        if truth.status != "ok":
            graded.append(np.nan)
            continue
        labels = [predict.grade(a.text, truth.stdout, "stdio", a.finish_reason).label for a in row]
        graded.append(np.mean([label == "ok" for label in labels]))
    return np.array(graded)


def _summarise_predictions(config, report, workdir, cases, graded: Values, answers, truths, policy: str) -> None:
    """Output prediction before and after RL, by kind of case, beside the family's most frequent output."""
    seed, resamples = config.seed, config.eval.bootstrap
    kinds = np.array([c.kind for c in cases])
    ended = ~np.isnan(graded[policy])
    is_unseen = np.array([c.problem.id.startswith("unseen") for c in cases])
    is_shifted = kinds != "narrated_like"
    usual = _usual_outputs(workdir)
    guess = np.array([float(usual.get(c.problem.tags[0]) == t.stdout) for c, t in zip(cases, truths, strict=True)])
    masks = {
        "": ~is_shifted & ~is_unseen, "/unseen": ~is_shifted & is_unseen, "_shifted": is_shifted,
        "_own": kinds == "own", "_near_miss": kinds == "near_miss", "_shifted/unseen": is_shifted & is_unseen,
    }  # fmt: skip
    for suffix, mask in masks.items():
        mask = mask & ended
        if not mask.any():
            continue
        named = {f"output_prediction_{m}": (graded[m], answers[m]) for m in graded} | {"usual_output": (guess, None)}
        for name, (values, found) in named.items():
            value, low, high = bootstrap_ci(values[mask], seed, resamples)
            cost = sum(a.n_tokens for i in np.flatnonzero(mask) for a in found[i]) if found else 0
            report["results"][name + suffix] = {
                "value": value, "low": low, "high": high, "n": int(mask.sum()), "tokens": int(cost)
            }  # fmt: skip
    if "rl" in graded:
        shifts = {"": is_shifted, "_own": kinds == "own", "_near_miss": kinds == "near_miss",
                  "_narrated_like": ~is_shifted, "/unseen": is_shifted & is_unseen}  # fmt: skip
        for suffix, mask in shifts.items():
            mask = mask & ended
            if not mask.any():
                continue
            value, low, high = paired_bootstrap(graded["rl"][mask], graded["sft"][mask], seed, resamples)
            report["comparisons"][f"output_prediction_rl_over_sft{suffix}"] = {
                "value": value, "low": low, "high": high, "n": int(mask.sum())
            }  # fmt: skip
    report["tables"]["accuracy_by_trace_length"] = _by_length(graded[policy], truths, ended, seed, resamples)
    labels = collections.Counter(
        predict.grade(a.text, t.stdout, "stdio", a.finish_reason).label
        for row, t in zip(answers[policy], truths, strict=True) if t.status == "ok" for a in row
    )  # fmt: skip
    report["tables"]["answers_by_label"] = [{"label": k, "n": n} for k, n in sorted(labels.items())]


def _usual_outputs(workdir: Workdir) -> dict[str, str]:
    """Each family's most frequent output in training."""
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for p in load_problems(workdir.data / "train.jsonl"):
        counts[p.tags[0]].update(t.output for t in p.public_tests + p.private_tests)
    return {family: c.most_common(1)[0][0] for family, c in counts.items()}


def _by_length(values: np.ndarray, truths: list, ended: np.ndarray, seed: int, resamples: int) -> list[dict]:
    """Accuracy in six equally filled bins of trace length, in events."""
    lengths = np.array([len(t.trace.events) if t.trace else 0 for t in truths])
    edges = np.unique(np.quantile(lengths[ended], np.linspace(0, 1, 7)).astype(int))
    rows = []
    for i, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        mask = ended & (lengths >= low) & (lengths <= high if i == len(edges) - 2 else lengths < high)
        if mask.any():
            value, ci_low, ci_high = bootstrap_ci(values[mask], seed, resamples)
            rows.append({"low": int(low), "high": int(high), "n": int(mask.sum()), "value": value,
                         "ci_low": ci_low, "ci_high": ci_high})  # fmt: skip
    return rows


def verifier_table(decided: Decided, public: np.ndarray) -> list[dict]:
    """How often a predicted pass of all public tests is one, over all candidates."""
    claimed = np.array([[s == 1.0 for s in r.scores] for r in decided.rankings])
    real = public == 1.0
    names = {
        (True, True): "true pass",
        (True, False): "false pass",
        (False, True): "missed pass",
        (False, False): "true fail",
    }
    return [
        {"predicted and real": names[c, r], "n": int(((claimed == c) & (real == r)).sum()),
         "share": round(float(((claimed == c) & (real == r)).mean()), 4)}
        for c, r in names
    ]  # fmt: skip


def make_examples(cases: list[Case], answers: list[list], truths: list, style: str) -> list[dict]:
    """Five whole examples: simulations right and wrong, of own programs and of near misses."""
    rng = random.Random(0)
    order = rng.sample(range(len(cases)), len(cases))
    wanted = [("own", True), ("near_miss", True), ("own", False), ("near_miss", False), ("narrated_like", True)]
    examples = []
    for kind, is_right in wanted:
        for i in order:
            case, answer, truth = cases[i], answers[i][0], truths[i]
            if case.kind != kind or truth.status != "ok" or truth.trace is None:
                continue
            label = predict.grade(answer.text, truth.stdout, "stdio", answer.finish_reason).label
            if (label == "ok") != is_right:
                continue
            said, _, _ = answer.text.rpartition("\n")
            check = check_claims(parse_claims(said, style=style), truth.trace, style=style)
            examples.append({
                "statement": case.problem.statement, "program": case.source, "stdin": case.stdin, "said": answer.text,
                "answer": answer.output, "truth": truth.stdout, "verdict": f"{kind}: {label}",
                **({"first_error": f"{check.first_error.reason} at line {check.first_error.line} of the program"}
                   if check.first_error and style != "direct" else {}),
            })  # fmt: skip
            break
    return examples
