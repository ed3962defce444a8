"""Generated problems: their programs give their tests, their splits are apart, and the seed decides all."""

import ast
import sys

import pytest

from selfexec_jax.configs import base
from selfexec_jax.problems.compare import outputs_match
from selfexec_jax.problems.generator import FAMILIES, UNSEEN_PAIRS, generate, is_unseen, trapped
from selfexec_jax.problems.judge import judge
from selfexec_jax.problems.splits import normalised_ast
from selfexec_jax.sandbox import Limits, SandboxPool


def knobs(**changes):
    problem_knobs = base.get_config().problems.copy_and_resolve_references()
    with problem_knobs.unlocked():
        problem_knobs.update(changes)
    return problem_knobs


@pytest.fixture(scope="module")
def every():
    """All families at once: (splits, rejected)."""
    return generate(knobs(families=tuple(FAMILIES), n_train=300, n_heldout=60, n_unseen=40), 0)


@pytest.fixture(scope="module")
def pool():
    if sys.platform != "linux":
        pytest.skip("the jail is built of Linux mechanisms")
    with SandboxPool(workers=2, limits=Limits(2.0, 20.0, 256, 65536), min_tier="rlimits_only") as pool:
        yield pool


def all_tests(problem):
    return problem.public_tests + problem.private_tests


@pytest.mark.parametrize("family", FAMILIES)
def test_references_pass_in_the_sandbox_and_near_misses_fail(family, pool):
    some = generate(knobs(families=(family,), n_train=8, n_heldout=2, n_unseen=0, time_limit_s=0.15), 3)[0]
    problems = some["train"] + some["heldout"]
    right = [(p, s, judge(s, p, all_tests(p), pool)) for p in problems for s in p.solutions]
    wrong = [(p, s, judge(s, p, all_tests(p), pool)) for p in problems for s in p.wrong_solutions]
    traps = [wrong.pop(wrong.index(found)) for found in wrong.copy() if found[1] in trapped(found[0])]
    assert len(right) >= 10 and len(wrong) + len(traps) == 20 and len(traps) in (0, 10)
    for p, source, verdict in right:
        assert verdict.result(120).status == "passed", (p.statement, source)
    for p, source, verdict in wrong:
        assert verdict.result(120).status == "failed", (p.statement, source)
        # A near miss answers wrongly, it does not crash.
        assert {e.status for e in verdict.result().executions} == {"ok"}, source
    for p, source, verdict in traps:  # right wherever it ends
        executions = verdict.result(120).executions
        assert {"ok"} < {e.status for e in executions} <= {"ok", "runtime_error", "timeout"}, source
        ended = [outputs_match(t.output, e.stdout) for t, e in zip(all_tests(p), executions, strict=True)
                 if e.status == "ok"]  # fmt: skip
        assert all(ended) and verdict.result().status == "failed", (p.statement, source)


def test_counts_and_fields(every):
    splits, _ = every
    k = knobs()
    assert {name: len(v) for name, v in splits.items()} == {"train": 300, "heldout": 60, "unseen": 40}
    ids = [p.id for v in splits.values() for p in v]
    assert len(set(ids)) == len(ids)
    for p in (p for v in splits.values() for p in v):
        assert (p.kind, len(p.public_tests), len(p.private_tests)) == ("stdio", k.n_public, k.n_private)
        assert len({t.input for t in all_tests(p)}) == k.n_public + k.n_private
        assert len({t.output for t in p.public_tests}) > 1
        assert 1 <= len(p.solutions) <= k.n_solutions and len(p.wrong_solutions) == k.n_wrong
        assert p.tags[0] in FAMILIES and p.source == f"generator/{p.tags[0]}"
    assert {p.tags[0] for p in splits["heldout"]} == set(FAMILIES)


def test_no_evaluation_program_is_in_training(every):
    def programs(split):
        return {normalised_ast(s) for p in every[0][split] for s in p.solutions + p.wrong_solutions}

    train, heldout, unseen = map(programs, ("train", "heldout", "unseen"))
    assert not train & heldout and not train & unseen and not heldout & unseen
    assert min(len(train), len(heldout), len(unseen)) > 40


def test_no_evaluation_statement_is_in_training(every):
    specified = lambda split: {p.statement for p in every[0][split] if "open" not in p.tags}  # noqa: E731
    train = specified("train")
    assert len(train) > 100
    assert not train & specified("heldout") and not train & specified("unseen")


@pytest.fixture
def drafts(monkeypatch):
    """(draft, problem id) of everything that `generate` keeps."""
    from selfexec_jax.problems import generator

    kept = []
    finish = generator._finish

    def remember(draft, name, rng, knobs):
        found = finish(draft, name, rng, knobs)
        if found is not None:
            kept.append((draft, found[0]))
        return found

    monkeypatch.setattr(generator, "_finish", remember)
    return kept


def test_compositions_are_disjoint_and_unseen_pairs_are_never_trained_on(drafts):
    splits, rejected = generate(knobs(families=tuple(FAMILIES), n_train=300, n_heldout=60, n_unseen=40), 0)
    found = {name: set() for name in splits}
    kinds = {name: [] for name in splits}
    returned = {id(p) for v in splits.values() for p in v}
    for draft, problem in drafts:
        if id(problem) in returned:
            split = problem.id.split("-")[0]
            found[split].add(draft.composition)
            kinds[split].append(set(draft.kinds))
    assert {name: len(v) for name, v in kinds.items()} == {name: len(v) for name, v in splits.items()}
    assert not found["train"] & (found["heldout"] | found["unseen"]) and not found["heldout"] & found["unseen"]
    pairs = {name: [any(set(pair) <= k for pair in UNSEEN_PAIRS) for k in v] for name, v in kinds.items()}
    assert all(pairs["unseen"]) and not any(pairs["train"]) and not any(pairs["heldout"])
    # Each half of an unseen pair is trained on, or there would be nothing to join. Small families are
    # used up by the held-out sets, which are drawn first.
    trained = set().union(*kinds["train"])
    slots = ("select", "transform", "reduce")
    joined = {
        kind
        for k in kinds["unseen"]
        for pair in UNSEEN_PAIRS
        if set(pair) <= k and all(kind.split(":")[0] in slots for kind in pair)
        for kind in pair
    }
    assert len(joined) > 8 and joined <= trained
    assert rejected.same_composition > 0 and rejected.same_program > 0
    assert all(is_unseen(d) == (p.id.split("-")[0] == "unseen") for d, p in drafts)


def test_validation_problems_are_nobody_elses_and_change_no_other_split():
    asked = knobs(families=("accumulate", "extremum", "helper"), n_train=150, n_heldout=60, n_unseen=20)
    (without, _), (found, _) = generate(asked, 0), generate(asked, 0, n_validation=40)
    assert found == without | {"validation": found["validation"]} and len(found["validation"]) == 40
    programs = {split: {normalised_ast(s) for p in problems for s in (*p.solutions, *p.wrong_solutions)}
                for split, problems in found.items()}  # fmt: skip
    for other in ("train", "heldout", "unseen"):
        assert not programs["validation"] & programs[other]
    assert not {p.statement for p in found["validation"]} & {p.statement for p in found["heldout"]}


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_at_most_a_third_of_each_split_is_open(share):
    for families, n in ((tuple(FAMILIES), (90, 45, 45)), (("accumulate", "extremum"), (90, 45, 45))):
        splits, _ = generate(
            knobs(families=families, open_share=share, n_train=n[0], n_heldout=n[1], n_unseen=n[2]), 1
        )
        for name, problems in splits.items():
            n_open = sum("open" in p.tags for p in problems)
            assert 0 < n_open <= len(problems) / 3, name
            for p in problems:
                assert ("examples show" in p.statement) == ("open" in p.tags)
                assert "open" in p.tags or "specified" in p.tags


def test_the_seed_decides_everything():
    some = knobs(n_train=20, n_heldout=6, n_unseen=4)
    first, again, other = (generate(some, seed) for seed in (5, 5, 6))
    assert first == again
    shared = {p.statement for p in first[0]["train"]} & {p.statement for p in other[0]["train"]}
    assert len(shared) < 10


def test_no_statement_and_no_program_holds_a_constant_above_the_largest():
    def largest(bound):
        some = knobs(n_train=80, n_heldout=6, n_unseen=4, largest_constant=bound)
        found = [0]
        for p in (p for problems in generate(some, 0)[0].values() for p in problems):
            nodes = (n for s in (*p.solutions, *p.wrong_solutions) for n in ast.walk(ast.parse(s)))
            found += [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, int)]
            found += [int(w) for w in p.statement.replace(".", " ").split() if w.isdecimal()]
        return max(found)

    assert largest(9) <= 9 < largest(30) <= 30


@pytest.mark.parametrize(("family", "split"), [("digits", "n_unseen"), ("tables", "n_heldout")])
def test_more_than_there_are_is_a_clear_error(family, split):
    counts = {"n_train": 0, "n_heldout": 0, "n_unseen": 0} | {split: 40}
    with pytest.raises(ValueError, match=f"problems.{split}=40.*{family}.*fewer"):
        generate(knobs(families=(family,), **counts), 0)
