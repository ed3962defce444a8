"""Stage 4: everything the report says, measured on held-out problems.

First the model decides (candidates, simulations, rankings, repairs) while no sandbox exists; then the
sandbox is opened and says what was right.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import time

import numpy as np

from selfexec_jax.hosts import ALONE, Hosts
from selfexec_jax.problems import Problem
from selfexec_jax.problems.judge import judge, limits_of, run_on
from selfexec_jax.sandbox import Run, SandboxPool, TraceBudget
from selfexec_jax.self_execution import Asking, Episode, Invocation, fix, simulate, verify
from selfexec_jax.self_execution.candidates import candidates, program_of
from selfexec_jax.self_execution.fix import Believed, FeedbackSource, Told, random_feedback, simulated_feedback
from selfexec_jax.self_execution.own_tests import own_tests
from selfexec_jax.stages import searching, verifier, voting
from selfexec_jax.stages.asking import asks_of, who_answers
from selfexec_jax.stages.belief import belief_of, believed_failures, beside_of
from selfexec_jax.stages.measures import (
    choose_examples,
    grade_cases,
    make_examples,
    save_case_values,
    summarise_predictions,
    wanted_of,
)
from selfexec_jax.stages.outcomes import outcome_by, recorded
from selfexec_jax.stages.problems import open_pool
from selfexec_jax.stages.questions import LIKE_TRAINING, Case, cases_of, problems_and_cases
from selfexec_jax.stages.searching import FIRST_VOTE, SURE, Searches, executing
from selfexec_jax.stages.strategies import (
    BELIEVED,
    Decided,
    Judged,
    at_equal_tokens,
    save_values,
    strategies_of,
    summarise,
)
from selfexec_jax.stages.telling import told, traced, words_of
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tasks.fix import Feedback

log = logging.getLogger(__name__)

_IS_RIGHT = {"passed": 1.0, "failed": 0.0, "undecided": np.nan, "infra_error": np.nan}


def run(config, workdir: Workdir) -> dict:
    """Writes data/eval.json: results, comparisons, tables and examples; returns the counts."""
    engine, tokenizer, policy, loaded = who_answers(config, workdir)
    problems, cases = problems_and_cases(config, workdir)
    asks = asks_of(config)
    started = time.monotonic()
    done = lambda what: log.info("eval: %s after %.0f s", what, time.monotonic() - started)  # noqa: E731

    decided = decide(config, engine, tokenizer, problems, asks)
    done(f"{len(problems)} problems solved, verified and repaired")
    belief = belief_of(workdir) if problems else None
    if config.belief.problems and problems and belief is None:
        log.warning("eval: without belief, which was not fitted to this model; run the belief stage first")
    if belief is not None:
        source = own_feedback(config, engine, tokenizer, asks["simulate"], believed_failures(config, belief))
        believed = repaired(config, engine, tokenizer, problems, decided.sources, source, asks["solve"])
        decided.episodes[BELIEVED] = believed
        searches = Searches(config, engine, tokenizer, problems, decided, belief, asks["simulate"])
        others, _ = beside_of(workdir)
        decided.believed[searching.BELIEVED] = searches.believed()
        decided.believed[FIRST_VOTE] = searches.believed(votes=1)
        decided.believed.update({f"believed_{name}": searches.believed(other) for name, other in others.items()})
        found = {sure: searches.search(sure) for sure in dict.fromkeys((config.belief.sure, *SURE))}
        decided.searches["search"] = found[config.belief.sure]
        decided.searches.update({f"search_until_{sure:.0%}_sure": found[sure] for sure in SURE})
        done("repairs of what is believed to fail, and searches")
    cases += cases_of(config, problems, decided.sources)
    answers = {policy: predictions(config, engine, tokenizer, cases)}
    if policy == "rl":
        engine.load(loaded.params("sft"), 1)
        answers["sft"] = predictions(config, engine, tokenizer, cases)
        engine.load(loaded.params("rl"), 2)
    done(f"{len(cases)} outputs predicted")

    with open_pool(config) as pool:
        runs_before_choice = pool.n_runs
        source = real_feedback(config, pool, workdir.hosts)
        executed = repaired(config, engine, tokenizer, problems, decided.sources, source, asks["solve"])
        decided.episodes["self_rlef_executed"] = executed
        if belief is not None:
            divide, outputs = workdir.hosts.divide, lambda pairs: real_outputs(config, pool, pairs)
            execute = executing(lambda pairs: divide("executions", pairs, outputs))
            decided.searches.update({
                f"search_executing_from_{gain:g}": searches.search(config.belief.sure, gain, execute)
                for gain in config.belief.least_gains
            })  # fmt: skip
        if not workdir.hosts.is_first:  # all is decided and known to all; one host judges and reports
            return {}
        verdicts = judge_all(problems, decided, pool)
        truths = [future.result() for future in recorded(config, pool, [(case.problem, _run(case)) for case in cases])]
        wanted = [wanted_of(config, *pair) for pair in zip(cases, truths, strict=True)]
        chosen = choose_examples(cases, answers[policy], truths, wanted)
        both = TraceBudget(of="both")
        examples = pool.map([dataclasses.replace(_run(cases[i]), trace=both) for i in chosen])
    done(f"{len(verdicts)} programs judged")

    report = {"results": {}, "comparisons": {}, "tables": {}, "runs_before_choice": runs_before_choice}
    unasked = too_long(decided, answers[policy])
    if unasked:
        log.warning("eval: %d answers are missing, as their questions leave no room for any; raise rollout.cache_length"
                    " or lower eval.max_new_tokens", unasked)  # fmt: skip
    facts = {"problems": len(problems), "cases": len(cases), "policy": policy, "K": config.eval.candidates,
             "tokens": engine.n_tokens, "too_long": unasked}  # fmt: skip
    if problems:
        facts |= _summarise_strategies(config, report, workdir, problems, decided, verdicts)
    if cases:
        graded = {name: grade_cases(cases, found, wanted) for name, found in answers.items()}
        summarise_predictions(config, report, workdir, cases, graded, answers, truths, wanted, policy)
        save_case_values(workdir, cases, graded)
    report["examples"] = make_examples(config, cases, answers[policy], truths, wanted, chosen, examples)
    workdir.write_json(workdir.data / "eval.json", report)
    return facts


def _summarise_strategies(config, report: dict, workdir: Workdir, problems, decided: Decided, verdicts: dict) -> dict:
    """Adds what was solved, and how, to the report; returns how many problems were not judged."""
    verdict = lambda p, source: verdicts.get((p.id, source), (0.0, 0.0))  # no program: wrong  # noqa: E731
    pairs = list(zip(problems, decided.sources, strict=True))
    judged = {"": np.array([[verdict(p, s) for s in row] for p, row in pairs])}
    for name, episodes in decided.episodes.items():
        judged[name] = np.array([[verdict(p, e.submitted) for e in row]
                                 for p, row in zip(problems, episodes, strict=True)])  # fmt: skip
    # What the sandbox could not decide is neither right nor wrong: such a problem stands in no figure.
    is_judged = ~np.isnan(np.concatenate(list(judged.values()), axis=1)).any((1, 2))
    not_judged = {"not_judged": int((~is_judged).sum())}
    if not is_judged.any():
        log.warning("eval: the sandbox could judge no problem, so that there is no figure of any")
        return not_judged
    problems, decided = only(is_judged, problems, decided)
    judged = {name: Judged(*np.moveaxis(values[is_judged], -1, 0)) for name, values in judged.items()}
    K = config.eval.candidates
    strategies = strategies_of(decided, judged, K)
    written = strategies[f"random_at_{K}"]
    strategies |= voting.strategies_of(problems, decided, judged[""], written, config.eval.votes, K)
    searches = {}
    if decided.believed:
        searches = searching.strategies_of(decided, judged[""], strategies, K)
        strategies |= {name: searches[name] for name in (f"best_at_{K}_believed", "search")}
        found, (_, refit) = strategies | searches, beside_of(workdir)
        report["tables"] |= searching.tables(decided, judged[""], found, K, config.seed, config.eval.bootstrap, refit)
    summarise(config, report, strategies, problems, K)
    at_equal_tokens(config, report, strategies, decided, judged[""].correct, problems, K)
    save_values(workdir, [p.id for p in problems], strategies | searches, decided, judged[""].correct)
    report["tables"] |= verifier.tables(decided, judged, K, config.seed, config.eval.bootstrap)
    return not_judged


def _run(case: Case) -> Run:
    return run_on(case.source, case.problem, case.input)


# ---- deciding, without execution ---------------------------------------------------------------------
def decide(config, engine, tokenizer, problems: list[Problem], asks: dict[str, Asking]) -> Decided:
    """Candidates, their simulated rankings, and Self-RLEF episodes from the first candidates."""
    ask, template, K = asks["solve"], config.tasks.template, config.eval.candidates
    samples = candidates(engine, tokenizer, problems, K + config.eval.more_candidates, config.seed, ask)
    sources = [[program_of(sample, template) for sample in row] for row in samples]
    items = [(p, row[:K]) for p, row in zip(problems, sources, strict=True)]
    rankings = verify(engine, tokenizer, items, config.eval.votes, config.seed, asks["simulate"])
    told = {
        "self_rlef": own_feedback(config, engine, tokenizer, asks["simulate"]),
        "self_rlef_random": random_feedback(config.seed, problems),
    }
    episodes = {
        name: repaired(config, engine, tokenizer, problems, sources, feedback, ask) for name, feedback in told.items()
    }
    own = []
    if config.eval.own_tests:
        own = own_tests(
            engine, tokenizer, items, rankings, config.eval.own_tests, config.seed, ask, asks["simulate"]
        )
    return Decided(samples, sources, rankings, episodes, own)


def own_feedback(config, engine, tokenizer, asking: Asking, believed: Believed | None = None) -> FeedbackSource:
    """The feedback of Self-RLEF, on simulated runs."""
    return simulated_feedback(engine, tokenizer, config.seed, asking, config.eval.votes, words_of(config), believed)


def too_long(decided: Decided, predicted: list[list]) -> int:
    """Answers that are none because question and answer had no room: to problems, and of simulations."""
    simulated = (p for ranking in decided.rankings for row in ranking.predictions for cell in row for p in cell)
    samples = itertools.chain.from_iterable((*decided.samples, *predicted))
    return sum(answer.finish_reason == "too_long" for answer in itertools.chain(samples, simulated))


def repaired(
    config, engine, tokenizer, problems: list[Problem], sources: list[list[str | None]], feedback: FeedbackSource,
    ask: Asking,
) -> list[list[Episode]]:  # fmt: skip
    """Of every problem an episode from each of its first `eval.episodes` programs."""
    E = min(config.eval.episodes, config.eval.candidates)
    items = [(p, source) for p, row in zip(problems, sources, strict=True) for source in row[:E]]
    found = fix(engine, tokenizer, items, feedback, config.eval.max_fixes, config.seed, ask)
    return [found[i : i + E] for i in range(0, len(found), E)]


def predictions(config, engine, tokenizer, cases: list[Case]) -> list[list]:
    """Simulated runs of every case, seeded alike for every model.

    Cases like the narrated ones, and a benchmark's, are asked as verification asks; the others at temperature 1 over
    the whole vocabulary, several times each, which is what RL trains.
    """
    simulating = asks_of(config)["simulate"]
    free = dataclasses.replace(
        simulating, temperature=1.0, top_p=1.0, max_new_tokens=config.rl.max_new_tokens, chunk_votes=1
    )
    found: dict[int, list] = {}
    ways = ((True, 1, simulating), (False, config.eval.prediction_samples, free))
    for is_like, votes, asking in ways:
        chosen = [i for i, c in enumerate(cases) if (c.kind in LIKE_TRAINING) == is_like]
        runs = [Invocation(c.source, c.given, c.problem.kind) for c in (cases[i] for i in chosen)]
        found |= zip(chosen, simulate(engine, tokenizer, runs, votes, config.seed + 1, asking), strict=True)
    return [found[i] for i in range(len(cases))]


# ---- judging, after the choice ---------------------------------------------------------------------------
def judge_all(problems: list[Problem], decided: Decided, pool: SandboxPool) -> dict:
    """(whether it is right, share of the public tests that it passes) of every program that a strategy submits.

    Keyed by (problem id, source). Private tests run only where the public ones pass, of which there may be none; nan
    where the sandbox could not tell.
    """
    programs = {}
    for p, sources, *episodes in zip(problems, decided.sources, *decided.episodes.values(), strict=True):
        for source in filter(None, [*sources, *(episode.submitted for row in episodes for episode in row)]):
            programs[p.id, source] = p
    public = {key: judge(key[1], p, p.public_tests, pool) for key, p in programs.items() if p.public_tests}
    passing = [key for key in programs if key not in public or public[key].result().status == "passed"]
    private = {key: judge(key[1], programs[key], programs[key].private_tests, pool) for key in passing
               if programs[key].private_tests}  # fmt: skip
    found = {}
    for key in programs:
        last = (private.get(key) or public[key]).result()
        found[key] = (_IS_RIGHT[last.status], public[key].result().share if key in public else 1.0)
    return found


def only(mask: np.ndarray, problems: list[Problem], decided: Decided) -> tuple[list[Problem], Decided]:
    """The problems that `mask` keeps, with what was decided for them."""
    keep = lambda rows: list(itertools.compress(rows, mask))  # noqa: E731
    episodes = {name: keep(rows) for name, rows in decided.episodes.items()}
    searches = {name: keep(picked) for name, picked in decided.searches.items()}
    columns = (decided.samples, decided.sources, decided.rankings)
    believed = {name: keep(rows) for name, rows in decided.believed.items()}
    return keep(problems), Decided(*map(keep, columns), episodes, keep(decided.own), believed, searches)


def real_outputs(config, pool: SandboxPool, pairs: list[tuple[Problem, str]]) -> list[list[str | None]]:
    """What programs give on the public tests of their problems."""
    outcome = outcome_by(config)
    futures = [
        [pool.submit(run_on(source, p, t.input), limits_of(p, p.public_tests)) for t in p.public_tests]
        for p, source in pairs
    ]
    return [
        [outcome(problem, future.result()) for future in row]
        for (problem, _), row in zip(pairs, futures, strict=True)
    ]


def real_feedback(config, pool: SandboxPool, hosts: Hosts = ALONE):
    """The feedback source that executes, each host its share: the upper bound beside the simulated one."""
    words = words_of(config)

    def given(pairs: list[tuple[Problem, str]]) -> list[list[tuple[str | None, str]]]:
        found = []
        for (problem, source), outputs in zip(pairs, real_outputs(config, pool, pairs), strict=True):
            tests = list(zip(problem.public_tests, outputs, strict=True))
            runs = [pool.submit(traced(config, source, problem, test.input))
                    if words and not Feedback(test, output, problem.kind).agrees else None
                    for test, output in tests]  # fmt: skip
            found.append((source, zip(tests, runs, strict=True)))
        return [
            [(output, told(config, words, run.result(), output, test.output, source) if run else "")
             for (test, output), run in row]
            for source, row in found
        ]  # fmt: skip

    def ask(pairs: list[tuple[Problem, str]]) -> list[Told]:
        return [
            Told([Feedback(test, output, problem.kind).with_words(said)
                  for test, (output, said) in zip(problem.public_tests, row, strict=True)])
            for (problem, _), row in zip(pairs, hosts.divide("feedback", pairs, given), strict=True)
        ]  # fmt: skip

    return ask
