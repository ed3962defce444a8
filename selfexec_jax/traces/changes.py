"""The style `changes`: of a loop's body one round is told as `compact` tells it, of the others only what changes.

    x=4;4%2=0;0==0 yes
    ans=0+4=4
    x=6;ans=10
    x=3
    x end

How a loop computes is said once, however long it goes on; what a round gives then takes a step of its own.
"""

from __future__ import annotations

from selfexec_jax.traces import compact
from selfexec_jax.traces.loops import loops_of
from selfexec_jax.traces.steps import Bind, Limit, Print, Raise, Step

_CHANGES = (Bind, Limit, Print, Raise)


def said(steps: list[Step]) -> list[Step]:
    """The steps that this style says, in the spelling of `compact`."""
    return compact.said(_told(loops_of(steps), set(), False))


def _told(tree: list, known: set[int], is_known: bool) -> list[Step]:
    """The steps of a tree. known: the loops, by their statements, of which a round was told; is_known: this is a
    further round of one."""
    out: list[Step] = []
    for node in tree:
        if isinstance(node, Step):
            if isinstance(node, _CHANGES) or not is_known:
                out.append(node)
            continue
        stmt = node.key[0]
        *rounds, last = node.rounds
        ends = _end(last, stmt)
        for steps in (*rounds, last[: len(last) - len(ends)]):
            out += _told(steps, known, is_known or stmt in known)
            known.add(stmt)
        out += ends
    return out


def _end(steps: list, stmt: int) -> list[Step]:
    """What the last round of a loop ends with: that there is no next value, or that its condition fails."""
    n = 0
    while n < len(steps) - 1 and getattr(steps[-1 - n], "stmt", None) == stmt:
        n += 1
    return steps[len(steps) - n :]
