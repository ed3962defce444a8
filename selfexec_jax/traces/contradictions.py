"""Where words about a run contradict the program's text or each other: to be seen without running anything.

What an operation gives is never worked out here. But `7 % 3` must stand in the program, as `x % 3` say, and x must
have been given 7 before; what `7 % 3` gave once it gives always; and the output is what was printed.
"""

from __future__ import annotations

import ast
import functools
import warnings
from collections.abc import Iterator, Sequence

from selfexec_jax.problems import syntax
from selfexec_jax.problems.compare import outputs_match
from selfexec_jax.problems.endings import ending_name
from selfexec_jax.traces.claims import parse_claims
from selfexec_jax.traces.steps import Bind, Call, Catch, Compare, Op, Print, Return, Rounds, Step, Unreadable, Yield

_LONGEST = 400  # characters of a claim that are read
_LITERALS = (ast.Constant, ast.UnaryOp, ast.List, ast.Tuple, ast.Set, ast.Dict)


def contradictions(source: str, text: str, style: str, output: str | None = None) -> list[int]:
    """The claims of a narration, by their places, that contradict the program or what was claimed before.

    The place after the last one stands for an output that is not what the claims print; None: nothing is said of it.
    Never raises on what a model wrote; of a program that cannot be read nothing is contradicted.
    """
    claims = parse_claims(text, style)
    operations, untold = _operations(source), _untold(source)
    values: list[dict[str, str]] = [{}]  # of names, by call under way
    given: dict[str, str] = {}  # by operations on literals
    found, printed, is_followed = [], [], True
    for place, claim in _read(claims):
        if isinstance(claim, Unreadable):
            found.append(place)
        elif isinstance(claim, (Op, Compare)):
            value = claim.value if isinstance(claim, Op) else str(claim.holds)
            if not _holds(claim, value, operations, values[-1], given):
                found.append(place)
        if isinstance(claim, (Catch, Yield)):  # which calls ended, or go on later, is not told
            values, is_followed = [{}], False
        if is_followed:
            _follow(claim, values, untold)
        if isinstance(claim, Print):
            printed.append(claim.text)
    if output is not None and not ending_name(output) and printed and not outputs_match("".join(printed), output):
        found.append(len(claims))
    return sorted(set(found))


def _read(claims: Sequence[Step]) -> Iterator[tuple[int, Step]]:
    """Claims with their places; of those that are not surely read, what they may be read as."""
    for place, claim in enumerate(claims):
        for step in (isinstance(claim, Unreadable) and claim.reading) or (claim,):
            yield place, step


def _holds(claim: Op | Compare, value: str, operations: Sequence, names: dict[str, str], given: dict[str, str]) -> bool:
    """Whether an operation may be claimed; what it gives is remembered."""
    if "..." in claim.text or "<" in claim.text and ">" in claim.text or len(claim.text) > _LONGEST:
        return True  # not told in full, or of what has no literal
    told = _parsed(claim.text)
    if told is None:
        return False
    is_of_literals = not any(isinstance(node, ast.Name) for node in ast.walk(told))
    key = _dumped(told) if is_of_literals else None
    if key is not None and given.setdefault(key, value) != value:
        return False
    if not operations or not isinstance(told, (ast.BinOp, ast.Compare)):
        return True  # calls, items and attributes are told in too many ways
    return any(_is_it(told, operation, names) for operation in operations)


def _is_it(told: ast.expr, operation: tuple, names: dict[str, str]) -> bool:
    """Whether an operation of the program, told with the values that its names have, reads so."""
    kinds, operands = operation
    mine = _operation(told)
    if mine is None or mine[0] != kinds:
        return False
    return all(_may_stand_for(said, operand, names) for said, operand in zip(mine[1], operands, strict=True))


def _may_stand_for(said: ast.expr, operand: ast.expr, names: dict[str, str]) -> bool:
    if isinstance(operand, ast.Name):
        if isinstance(said, ast.Name):
            return said.id == operand.id
        known = _parsed(names[operand.id]) if operand.id in names else None
        return known is None or _same(said, known)
    if isinstance(operand, _LITERALS):
        return _same(said, operand) or not isinstance(operand, ast.Constant)
    return True  # the value of another operation


def _same(a: ast.expr, b: ast.expr) -> bool:
    dumped = _dumped(a)
    return dumped is not None and dumped == _dumped(b)


def _dumped(node: ast.expr) -> str | None:
    """A piece of a syntax tree as text; None of one that is too deep, or holds too long a number."""
    try:
        return ast.dump(node)
    except syntax.UNREADABLE:
        return None


def _follow(claim: Step, values: list[dict[str, str]], untold: frozenset[str]) -> None:
    """Keeps account of what names were said to have, but for some."""
    if isinstance(claim, Bind):
        if claim.target in untold:
            return
        values[-1][claim.target] = claim.value
        for name in [n for n in values[-1] if n.startswith((f"{claim.target}[", f"{claim.target}."))]:
            del values[-1][name]
    elif isinstance(claim, Call):
        values.append({name: value for name, value in (*values[-1].items(), *claim.args) if name not in untold})
    elif isinstance(claim, Return) and len(values) > 1:
        values.pop()
    elif isinstance(claim, Rounds):  # says of some names what they have then; others may have changed as well
        values[:] = [{} for _ in values]
        values[-1].update((name, value) for name, value in claim.values if name not in untold)


@functools.lru_cache(maxsize=1024)
def _untold(source: str) -> frozenset[str]:
    """Names of which it is not told which of several they are: of another scope, or of a comprehension and not."""
    tree = _parsed(source, "exec")
    if tree is None:
        return frozenset()
    nodes = list(ast.walk(tree))
    declared = {name for n in nodes if isinstance(n, (ast.Global, ast.Nonlocal)) for name in n.names}
    within = {n for c in nodes if isinstance(c, ast.comprehension) for n in ast.walk(c.target)}
    given = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and n not in within}
    given |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    return frozenset(declared | (given & {n.id for n in within if isinstance(n, ast.Name)}))


@functools.lru_cache(maxsize=1024)
def _operations(source: str) -> tuple[tuple, ...]:
    """The operations and comparisons of a program; none of one that cannot be read."""
    tree = _parsed(source, "exec")
    if tree is None:
        return ()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign):
            node = ast.BinOp(node.target, node.op, node.value)
        if isinstance(node, ast.Compare):  # a chain is told link by link
            lefts = [node.left, *node.comparators[:-1]]
            links = zip(lefts, node.ops, node.comparators, strict=True)
            found += [((type(op),), (left, right)) for left, op, right in links]
        elif isinstance(node, ast.BinOp):
            found.append(_operation(node))
    return tuple(found)


def _operation(node: ast.expr) -> tuple | None:
    if isinstance(node, ast.BinOp):
        return (type(node.op),), (node.left, node.right)
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return (type(node.ops[0]),), (node.left, node.comparators[0])
    return None


@functools.lru_cache(maxsize=1 << 14)  # the operations of a loop come again and again
def _parsed(text: str, mode: str = "eval") -> ast.AST | None:
    if mode == "eval" and len(text) > _LONGEST:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = syntax.parse(text.strip() if mode == "eval" else text, mode=mode)
    except syntax.UNREADABLE:
        return None
    return tree.body if mode == "eval" else tree
