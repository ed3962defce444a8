"""Stage between RL and evaluation: how far simulations are to be believed, fitted on problems that nothing else uses.

The model writes programs for the validation problems and simulates them; then they are executed, and the probabilities
of `self_execution/belief.py` are fitted to what turned out.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from selfexec_jax.problems import Problem
from selfexec_jax.problems.compare import answers_match
from selfexec_jax.self_execution import verify
from selfexec_jax.self_execution.belief import WITHOUT, Belief, Doubt, Seen, fit_without, seen_of
from selfexec_jax.self_execution.candidates import candidates, program_of
from selfexec_jax.self_execution.fix import Believed
from selfexec_jax.self_execution.simulate import Prediction
from selfexec_jax.self_execution.verify import Ranking
from selfexec_jax.stages.asking import asks_of, who_answers
from selfexec_jax.stages.problems import check_references, open_pool, problems_of
from selfexec_jax.stages.strategies import budgets
from selfexec_jax.stages.verdicts import Verdicts
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tasks import predict
from selfexec_jax.traces import contradictions

FILE = "belief.json"
BESIDE = "belief_beside.json"  # what it is compared with: beliefs that look at less, and refitted shares of votes
VOTES = "share of votes"


def run(config, workdir: Workdir) -> dict:
    """Leaves data/belief.json; nothing where no problems are asked for. Returns what it was fitted on, and its cost."""
    knobs, asks = config.belief, asks_of(config)
    if workdir.hosts.is_first:
        for name in (FILE, BESIDE):
            (workdir.data / name).unlink(missing_ok=True)  # of a model that was trained further
    if not knobs.problems:
        return {"skipped": "belief.problems=0"}
    problems = problems_of(config, knobs.problems)[0]["validation"]
    engine, tokenizer, _, _ = who_answers(config, workdir)
    samples = candidates(engine, tokenizer, problems, knobs.candidates, config.seed, asks["solve"])
    written = [[program_of(sample, config.tasks.template) for sample in row] for row in samples]
    rankings = verify(engine, tokenizer, list(zip(problems, written, strict=True)), knobs.votes, config.seed,
                      asks["simulate"])  # fmt: skip
    if not workdir.hosts.is_first:
        return {}
    doubt = doubt_of(config)
    groups = [
        (problem, source, seen)
        for problem, sources, ranking in zip(problems, written, rankings, strict=True)
        for n in sorted({1, *budgets(knobs.candidates)})  # as a search sees them, few at first
        for source, seen in programs_of(problem, sources, ranking, doubt, n).items()
    ]
    with open_pool(config) as pool:
        check_references(problems, pool)
        verdicts = Verdicts(workdir.data / "belief_verdicts", pool)
        try:
            found = {(p.id, s): (verdicts.public(s, p), verdicts.final(s, p)) for p, s, _ in groups}
            public, final = ({key: pair[i].result() for key, pair in found.items()} for i in (0, 1))
        finally:
            verdicts.close()
    known = [(p, s, seen) for p, s, seen in groups if final[p.id, s].status in ("passed", "failed")]
    if not known:
        return {"skipped": "no answer to a validation problem was a program that could be judged"}
    T = max((len(p.public_tests) for p, _, _ in known), default=0)
    passes = np.zeros((len(known), T))
    for row, (p, s, _) in zip(passes, known, strict=True):
        outputs = public[p.id, s].outputs
        wanted = (test.output for test in p.public_tests)
        row[: len(outputs)] = [answers_match(p.kind, *pair) for pair in zip(wanted, outputs, strict=True)]
    is_right = np.array([final[p.id, s].status == "passed" for p, s, _ in known], float)
    programs = [seen for _, _, seen in known]
    belief, *others = fit_without(programs, is_right, passes, config.seed, ["", *WITHOUT])
    beside = {f"without_{name}": other.parameters for name, other in zip(WITHOUT, others, strict=True)}
    workdir.write_json(workdir.data / BESIDE, beside | {VOTES: refitted(programs, is_right)})
    workdir.write_json(workdir.data / FILE, belief.parameters)
    read = sum(len(row[0].prompt_tokens) for row in samples) + sum(r.n_prefilled for r in rankings)
    return {"problems": len(problems), "programs": len({(p.id, s) for p, s, _ in known}), **belief.parameters,
            "tokens": engine.n_tokens, "prefilled": read}  # fmt: skip


def belief_of(workdir: Workdir) -> Belief | None:
    """What was fitted to the model as it is now; None where nothing was."""
    path = workdir.data / FILE
    return Belief(json.loads(path.read_text())) if workdir.is_done("belief") and path.exists() else None


def beside_of(workdir: Workdir) -> tuple[dict[str, Belief], Callable[[np.ndarray], np.ndarray]]:
    """Beliefs that look at less, by what they are without, and what share of votes means which probability."""
    found = json.loads((workdir.data / BESIDE).read_text())
    slope, offset = found.pop(VOTES)
    return {name: Belief(parameters) for name, parameters in found.items()}, lambda share: expit(slope * share + offset)


def refitted(programs: Sequence[Seen], is_right: np.ndarray) -> list[float]:
    """Slope and offset of the logistic regression of being right on the share of votes that foretell a pass: what
    fitting brings where nothing but that share is looked at. Problems count alike."""
    share = np.array([np.mean([v.is_match for cell in seen.cells for v in cell] or [0.0]) for seen in programs])
    of_problem = Counter(seen.problem.id for seen in programs)
    weight = np.array([1 / of_problem[seen.problem.id] for seen in programs]) / len(of_problem)

    def loss(line):
        odds = line[0] * share + line[1]
        return (weight * (np.logaddexp(0, odds) - is_right * odds)).sum() + 1e-5 * (line**2).sum()

    return minimize(loss, np.zeros(2)).x.tolist()


def doubt_of(config) -> Doubt:
    """Whether a simulated run contradicts the program or itself, which its style must say step by step."""
    style = config.tasks.style
    if style in ("direct", "cwm"):
        return lambda source, said: False

    @functools.cache  # the same runs are looked at by many searches
    def contradicts(source: str, text: str, output: str | None) -> bool:
        return bool(contradictions(source, predict.narration_of(text), style, output))

    return lambda source, said: contradicts(source, said.text, said.output)


def believed_failures(config, belief: Belief) -> Believed:
    """Which tests a program is believed to fail, as likely as `belief.fails` at least."""
    doubt = doubt_of(config)

    def believed(problem: Problem, source: str, runs: Sequence[Sequence[Prediction]]) -> list[bool]:
        _, passes = belief([seen_of(problem, source, runs, doubt)])
        return (1 - passes[0] >= config.belief.fails).tolist()

    return believed


def programs_of(
    problem: Problem, sources: Sequence[str | None], ranking: Ranking, doubt: Doubt, n: int
) -> dict[str, Seen]:
    """The programs among the first n candidates, with all of their simulated runs."""
    times = Counter(s for s in sources[:n] if s is not None)
    rows = dict(zip(sources, ranking.predictions, strict=False))
    return {
        source: seen_of(problem, source, rows[source], doubt, written, n - written)
        for source, written in times.items()
    }
