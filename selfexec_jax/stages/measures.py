"""What the evaluation measures: from answers and verdicts to figures with intervals, tables and examples."""

from __future__ import annotations

import collections
import itertools
import random

import numpy as np

from selfexec_jax.evals import bootstrap_ci, paired_bootstrap
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.problems.endings import shown
from selfexec_jax.sandbox import Execution
from selfexec_jax.self_execution.simulate import request_seed
from selfexec_jax.stages import breakdown
from selfexec_jax.stages.outcomes import outcome_by
from selfexec_jax.stages.questions import LIKE_TRAINING, Case
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tasks import predict
from selfexec_jax.traces import check_claims, parse_claims, view

N_EXAMPLES = 20
SHIFTED = ("own", "near_miss", "new_form", "own_form")  # the kinds of cases that SFT did not narrate
Values = dict[str, np.ndarray]  # a figure's name -> one value a problem (or case)


def wanted_of(config, case: Case, execution: Execution) -> str | None:
    """What an answer is to say: as the benchmark has it, else what came of the program; None where nothing is wanted,
    since it did not end well and how it ends is not asked."""
    return case.expected if case.expected is not None else outcome_by(config)(case.problem, execution)


def grade_cases(cases: list[Case], answers: list[list], wanted: list[str | None]) -> np.ndarray:
    """Share of a case's samples that are right; nan where nothing is wanted."""
    graded = []
    for case, row, truth in zip(cases, answers, wanted, strict=True):
        labels = labels_of(case, row, truth)
        graded.append(np.mean([label == "ok" for label in labels]) if labels else np.nan)
    return np.array(graded)


def save_case_values(workdir: Workdir, cases: list[Case], graded: Values) -> None:
    """Every case's share of right answers, for comparisons with other runs: data/case_values.jsonl.gz.

    A case is known by its problem, its kind, its program and its input; None where nothing is wanted.
    """
    ids = [f"{c.problem.id}/{c.kind}/{request_seed(0, c.source, c.input):012x}" for c in cases]
    rows = [
        {"name": f"output_prediction_{model}", "ids": ids,
         "values": [None if np.isnan(v) else round(float(v), 5) for v in values]}
        for model, values in graded.items()
    ]  # fmt: skip
    workdir.write_rows(workdir.data / "case_values.jsonl.gz", rows)


def labels_of(case: Case, row: list, wanted: str | None) -> list[str]:
    """The label of each answer; none where nothing is wanted."""
    if wanted is None:
        return []
    return [predict.grade(a.text, wanted, case.problem.kind, a.finish_reason).label for a in row]


def summarise_predictions(config, report, workdir, cases, graded: Values, answers, truths, wanted, policy: str) -> None:
    """Output prediction before and after RL, by kind of case, beside the family's most frequent output."""
    seed, resamples = config.seed, config.eval.bootstrap
    kinds, problems = (np.array([of(c) for c in cases]) for of in (lambda c: c.kind, lambda c: c.problem.id))
    ended = ~np.isnan(graded[policy])
    is_unseen = np.array([c.problem.id.startswith("unseen") for c in cases])
    is_shifted = ~np.isin(kinds, LIKE_TRAINING)
    masks = {
        "": ~is_shifted & ~is_unseen,
        "/unseen": ~is_shifted & is_unseen,
        "_shifted": is_shifted,
        "_shifted/unseen": is_shifted & is_unseen,
    } | {f"_{kind}": kinds == kind for kind in SHIFTED}
    for suffix, mask in masks.items():
        mask = mask & ended
        if not mask.any():
            continue
        named = {f"output_prediction_{m}": (graded[m], answers[m]) for m in graded}
        if not config.eval.benchmark:
            named["usual_output"] = (_usual_guess(workdir, cases, wanted), None)
        for name, (values, found) in named.items():
            value, low, high = bootstrap_ci(values[mask], seed, resamples, units=problems[mask])
            cost = sum(a.n_tokens for i in np.flatnonzero(mask) for a in found[i]) if found else 0
            report["results"][name + suffix] = {
                "value": value, "low": low, "high": high, "n": int(mask.sum()), "tokens": int(cost)
            }  # fmt: skip
    if "rl" in graded:
        # The headline is the form that SFT never narrated: there RL has something to teach.
        shifts = {"": np.isin(kinds, ("new_form", "own_form", "benchmark")), "_shifted": is_shifted}
        shifts["_narrated_like"] = kinds == "narrated_like"
        shifts |= {f"_{kind}": kinds == kind for kind in SHIFTED}
        for suffix, mask in shifts.items():
            mask = mask & ended
            if not mask.any():
                continue
            pair = graded["rl"][mask], graded["sft"][mask]
            value, low, high = paired_bootstrap(*pair, seed, resamples, units=problems[mask])
            report["comparisons"][f"output_prediction_rl_over_sft{suffix}"] = {
                "value": value, "low": low, "high": high, "n": int(mask.sum())
            }  # fmt: skip
    ended_truths = [truths[i] for i in np.flatnonzero(ended)]
    report["tables"] |= breakdown.accuracy_by(graded[policy][ended], ended_truths, problems[ended], seed, resamples)
    report["tables"]["first_errors"] = breakdown.first_errors(
        [[(answer, truth) for answer, label in zip(row, labels_of(case, row, want), strict=False) if label == "wrong"]
         for case, row, truth, want in zip(cases, answers[policy], truths, wanted, strict=True)],
        config.tasks.style, seed, resamples,
    )  # fmt: skip
    if config.tasks.outcomes:
        report["tables"]["outcomes"] = breakdown.outcomes(wanted, answers[policy], problems, seed, resamples)
    labels = collections.Counter(
        label for each in zip(cases, answers[policy], wanted, strict=True) for label in labels_of(*each)
    )
    report["tables"]["answers_by_label"] = [{"label": k, "n": n} for k, n in sorted(labels.items())]


def _usual_guess(workdir: Workdir, cases: list[Case], wanted: list[str | None]) -> np.ndarray:
    """Whether each case's output is the most frequent one that its family had in training."""
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for p in load_problems(workdir.data / "train.jsonl"):
        counts[p.tags[0]].update(t.output for t in p.public_tests + p.private_tests)
    usual = {family: c.most_common(1)[0][0] for family, c in counts.items()}
    return np.array([float(usual.get(c.problem.tags[0]) == text) for c, text in zip(cases, wanted, strict=True)])


def choose_examples(cases: list[Case], answers: list[list], truths: list, wanted: list[str | None]) -> list[int]:
    """Cases to look at, N_EXAMPLES at most: of every kind, simulated right and wrong in turns, drawn at random."""
    order = random.Random(0).sample(range(len(cases)), len(cases))
    found: dict[tuple, list[int]] = collections.defaultdict(list)
    for i in order:
        if wanted[i] is not None and truths[i].trace is not None:
            (label,) = labels_of(cases[i], answers[i][:1], wanted[i])
            found[label == "ok", cases[i].kind].append(i)
    kinds = sorted({kind for _, kind in found})
    piles = [found[is_right, kind] for kind in kinds for is_right in (True, False)]
    return [i for row in itertools.zip_longest(*piles) for i in row if i is not None][:N_EXAMPLES]


def make_examples(
    config, cases: list[Case], answers: list[list], truths: list, wanted: list[str | None], chosen: list[int],
    executions: list[Execution],
) -> list[dict]:  # fmt: skip
    """The chosen cases, whole, each with the first divergence, and with a view of its run to step through where the
    style tells step by step. executions: of the chosen, traced for that."""
    style, examples = config.tasks.style, []
    for i, execution in zip(chosen, executions, strict=True):
        case, answer, truth = cases[i], answers[i][0], truths[i]
        (label,) = labels_of(case, [answer], wanted[i])
        said, error = predict.narration_of(answer.text), None
        if style != "direct":
            error = check_claims(parse_claims(said, style=style), truth.trace, style=style).first_error
        example = {
            "statement": case.problem.statement, "program": case.source, "input": case.given, "said": answer.text,
            "answer": shown(answer.output), "truth": shown(wanted[i]), "verdict": f"{case.kind}: {label}",
            **({"first_error": f"{error.reason} at line {error.line} of the program"} if error else {}),
        }  # fmt: skip
        if style in view.STYLES and execution.trace is not None:
            notes = [("problem", case.problem.statement), ("input", case.given),
                     ("foretold", example["answer"] or "nothing"), ("really", example["truth"])]  # fmt: skip
            title = f"{len(examples) + 1}. {example['verdict']}".replace("_", " ")
            example["view"] = view.seen(execution, title, said, style, notes)
        examples.append(example)
    return examples
