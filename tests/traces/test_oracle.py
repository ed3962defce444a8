"""The claims of narrations hold in a run that another, independent observer watches."""

import ast
import json
import os
from pathlib import Path

import pytest
from harness import run_traced
from hypothesis import HealthCheck, given, settings
from oracle import refuted
from programs import programs

from selfexec_jax.traces import narrate, parse_claims
from selfexec_jax.traces.steps import Bind, Branch, Compare, LoopEnd, Op

_DATA = Path(os.environ.get("SELFEXEC_DATA") or Path(__file__).parents[3] / "shared" / "data")


def probes_of(source, claims):
    """Probes for what a text claims of names, items and branches, on lines that hold one plain statement."""
    plain, bodies = {}, {}
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)) and node.lineno == node.end_lineno:
            plain.setdefault(node.lineno, []).append("assign")
        elif isinstance(node, ast.For) and node.target.lineno == node.iter.end_lineno:
            plain.setdefault(node.lineno, []).append("loop")
        elif isinstance(node, (ast.If, ast.While)) and node.test.end_lineno == node.lineno:
            bodies[node.lineno] = node.body[0].lineno
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)):
            plain.setdefault(node.lineno, []).extend(["comprehension"] * 2)
    lines = source.split("\n")
    probes, count, ended = [], {}, {}
    for claim in claims:
        if isinstance(claim, LoopEnd):  # a visit of the line that binds nothing
            ended[claim.line] = ended.get(claim.line, 0) + 1
        if isinstance(claim, Branch) and bodies.get(claim.line, 0) > claim.line and claim.line not in plain:
            count[claim.line, None] = count.get((claim.line, None), 0) + 1
            goal = bodies[claim.line] if claim.taken else -bodies[claim.line]
            probes.append((claim.line, count[claim.line, None], None, goal))
        if not isinstance(claim, Bind) or len(plain.get(claim.line, ())) != 1 or ";" in lines[claim.line - 1]:
            continue
        if not claim.target.isidentifier() or not _is_whole(claim.value):
            continue
        count[claim.line, claim.target] = count.get((claim.line, claim.target), 0) + 1
        occurrence = count[claim.line, claim.target] + ended.get(claim.line, 0)
        probes.append((claim.line, occurrence, claim.target, claim.value))
    return probes


def wrong_by_themselves(source, claims):
    """How many operations and comparisons name only values, and those of them that Python denies."""
    n, wrong = 0, []
    nodes = list(ast.walk(ast.parse(source)))
    own = {node.arg for node in nodes if isinstance(node, ast.arg)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for claim in claims:
        if not isinstance(claim, (Op, Compare)):
            continue
        try:
            tree = ast.parse(claim.text, mode="eval")
            names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            if names <= KNOWN - own and (isinstance(claim, Compare) or _is_whole(claim.value)):
                value = eval(compile(tree, "<claim>", "eval"), {})
                n += 1
                same = bool(value) == claim.holds if isinstance(claim, Compare) else repr(value) == claim.value
                wrong += [] if same else [claim]
        except (SyntaxError, NameError, TypeError):  # an operand is told by its source, or is no literal
            continue
    return n, wrong


KNOWN = {"len", "max", "min", "sum", "abs", "sorted", "int", "str", "list", "set", "tuple", "round", "chr", "ord"}


def _is_whole(value):
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return False
    return True


def test_the_claims_on_real_functions_hold():
    file = _DATA / "cruxeval.jsonl"
    if not file.exists():
        pytest.skip("cruxeval.jsonl is not there; set SELFEXEC_DATA to the folder that holds it")
    n = m = 0
    for line in file.read_text(encoding="utf-8").splitlines()[:500]:
        sample = json.loads(line)
        call = f"f({sample['input']})"
        claims = parse_claims(narrate(run_traced(sample["code"], call=call).trace, "full").text, "full")
        probes = probes_of(sample["code"], claims)
        assert refuted(sample["code"], probes, call) == ([], []), sample["id"]
        count, wrong = wrong_by_themselves(sample["code"], claims)
        assert wrong == [], sample["id"]
        n, m = n + len(probes), m + count
    assert n > 3000
    assert m > 3000


@given(source=programs)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_claims_on_random_programs_hold(source):
    claims = parse_claims(narrate(run_traced(source, "5 7 -2 10").trace, "full").text, "full")
    assert refuted(source, probes_of(source, claims), stdin="5 7 -2 10") == ([], [])


def test_a_wrong_claim_is_refuted():
    source = "t = 0\nfor x in [1, 2]:\n    if x > 1:\n        t += x\n"
    probes = probes_of(source, parse_claims(narrate(run_traced(source).trace, "full").text, "full"))
    assert len(probes) == 6
    assert refuted(source, probes) == ([], [])
    for i, (line, occurrence, expression, wanted) in enumerate(probes):
        wrong = (line, occurrence, expression, -wanted if expression is None else "77")
        assert refuted(source, [*probes[:i], wrong, *probes[i + 1 :]]) == ([wrong], [])
    assert refuted(source, [(4, 2, "t", "2")]) == ([], [(4, 2, "t", "2")])
