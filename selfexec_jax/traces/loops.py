"""Steps by the loops that they are in, of which a style may tell some rounds in another way."""

from __future__ import annotations

import dataclasses

from selfexec_jax.traces.steps import Bind, Branch, Call, Catch, LoopEnd, Return, Step, Yield


@dataclasses.dataclass
class Loop:
    """One execution of a loop statement, each of its rounds as steps and inner loops. key: (statement, call depth)."""

    key: tuple[int, int]
    line: int
    rounds: list[list] = dataclasses.field(default_factory=list)


def loops_of(steps: list[Step]) -> list:
    """Steps and loops, each loop with its rounds; flat where calls do not nest plainly."""
    if any(isinstance(step, (Yield, Catch)) for step in steps):
        return list(steps)  # whose loop a step belongs to cannot be told from the steps alone
    root: list = []
    open_loops: list[Loop] = []
    depth = 0
    for step in steps:
        place = open_loops[-1].rounds[-1] if open_loops else root
        if _begins_round(step):
            head = _condition(place, step)
            if any(loop.key == (step.stmt, depth) for loop in open_loops):
                while open_loops[-1].key != (step.stmt, depth):
                    open_loops.pop()
            else:
                loop = Loop((step.stmt, depth), step.line)
                place.append(loop)
                open_loops.append(loop)
            place = [*head]
            open_loops[-1].rounds.append(place)
        place.append(step)
        if isinstance(step, Call):
            depth += 1
        elif isinstance(step, Return):
            while open_loops and open_loops[-1].key[1] >= depth:
                open_loops.pop()
            depth -= 1
        elif _ends_loop(step):
            while any(loop.key == (step.stmt, depth) for loop in open_loops):
                open_loops.pop()
    return root


def _condition(place: list, step: Step) -> list[Step]:
    """Takes off what was computed for the condition of a while loop: it is part of the round."""
    n = 0
    while isinstance(step, Branch) and n < len(place) and getattr(place[-1 - n], "stmt", None) == step.stmt:
        n += 1
    head = place[len(place) - n :]
    del place[len(place) - n :]
    return head


def _begins_round(step: Step) -> bool:
    if isinstance(step, Branch):
        return step.of == "while" and step.taken
    return isinstance(step, Bind) and step.how == "loop"


def _ends_loop(step: Step) -> bool:
    return isinstance(step, LoopEnd) or isinstance(step, Branch) and step.of == "while" and not step.taken
