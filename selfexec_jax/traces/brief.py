"""The style `brief`: what `full` says, without how values come about and with long loops summed up.

    L3: next n is 4.
    L4: output becomes [(4, 1)].
    L3: 12 more rounds leave n = 9, output = [(4, 1), (9, 3)]; line 5 always holds.
    L3: next n is 2.

Of a loop the first rounds and the last are told. The others are one sentence: what they leave behind, and which
conditions came out the same in all of them. What they print is told. Rounds are summed up the more, the
longer the narration would be.
"""

from __future__ import annotations

import re

from selfexec_jax.traces import full
from selfexec_jax.traces.loops import Loop, loops_of
from selfexec_jax.traces.steps import (
    LONGEST_RESULT,
    Bind,
    Branch,
    Call,
    Compare,
    LoopEnd,
    Op,
    Print,
    Read,
    Return,
    Rounds,
    Spell,
    Step,
)

_CHARACTERS = 1600  # about 400 tokens: beyond this, less is kept of each loop
_KEPT = (2, 1)  # rounds told at the beginning of a loop: as many as there is room for


def said(steps: list[Step]) -> list[Step]:
    """The steps that this style says, long loops summed up."""
    tree = loops_of(steps)
    for first in _KEPT:
        told = [step for step in _flat(tree, first) if not _is_detail(step)]
        if len(render(told)) <= _CHARACTERS:
            break
    return told


def render(steps: list[Step]) -> str:
    """The narration of steps that went through `said`: the sentences of `full`."""
    return re.sub("^Line ", "L", full.render(steps), flags=re.MULTILINE)


def parse(text: str) -> list[Step]:
    """The claims of a narration, one after the other; what cannot be read becomes `Unreadable`."""
    return full.parse(re.sub(r"^L(?=\d)", "Line ", text, flags=re.MULTILINE))


def _is_detail(step: Step) -> bool:
    return isinstance(step, (Op, Read, LoopEnd, Spell)) or (isinstance(step, Branch) and step.implied)


def _flat(tree: list, first: int) -> list[Step]:
    """The steps of a tree, of each loop the first rounds and the last."""
    out: list[Step] = []
    for node in tree:
        if isinstance(node, Step):
            out.append(node)
            continue
        n = len(node.rounds) - first - 1
        kept = node.rounds if n < 2 else node.rounds[:first]
        for steps in kept:
            out += _flat(steps, first)
        if n >= 2:
            out += _summed_up(node, [step for steps in node.rounds[first:-1] for step in _all(steps)], n)
            out += _flat(node.rounds[-1], first)
    return out


def _all(tree: list) -> list[Step]:
    out: list[Step] = []
    for node in tree:
        out += [node] if isinstance(node, Step) else [step for steps in node.rounds for step in _all(steps)]
    return out


def _summed_up(loop: Loop, steps: list[Step], n: int) -> list[Step]:
    """One sentence for rounds that are not told, and what they print."""
    values: dict[str, str] = {}
    outcomes: dict[int, set] = {}
    depth = 0
    for step in steps:
        depth += isinstance(step, Call)
        if depth == 0 and isinstance(step, Bind) and step.how != "comp":
            values.pop(step.target, None)
            values.pop(step.target.partition("[")[0].partition(".")[0], None)  # what is in it has changed
            values[step.target] = step.value
        elif depth == 0 and isinstance(step, (Branch, Compare)) and step.stmt != loop.key[0]:
            outcomes.setdefault(step.line, set()).add(step.taken if isinstance(step, Branch) else step.holds)
        depth -= isinstance(step, Return)
    left = tuple(
        (name, value) for name, value in values.items() if name.isidentifier() and len(value) <= LONGEST_RESULT
    )
    same = tuple((line, found == {True}) for line, found in sorted(outcomes.items()) if len(found) == 1)
    told = Rounds(loop.line, n, left, same, stmt=loop.key[0])
    return [told, *(step for step in steps if isinstance(step, Print))]
