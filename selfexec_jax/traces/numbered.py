"""The style `numbered`: `compact` with the places of items and the numbers of rounds, so that no count is lost.

    nums=[0:7,1:2,2:7]
    x=0:7;7%3=1;1==1 yes
    x=1:2;2%3=2;2==1 no

Who copies a list of small numbers without their places soon does not know at which of several equal ones it is.
"""

from __future__ import annotations

import dataclasses
import re

from selfexec_jax.traces import compact, scan
from selfexec_jax.traces.steps import Bind, Op, Step

_ROUND = re.compile(r"(\d{1,6}):(.+)", re.DOTALL)


said = compact.said  # the same steps


def render(steps: list[Step]) -> str:
    """The narration of steps that went through `said`."""
    return "\n".join(line for line, _ in sentences(steps))


def sentences(steps: list[Step]) -> list[tuple[str, int]]:
    """The lines of a narration, each with the number of its last step."""
    return compact.sentences([_written(step) for step in steps])


def parse(text: str) -> list[Step]:
    """The claims of a narration, the values of lists without the places of their items."""
    return [_read(step) for step in compact.parse(text)]


def key(step: Step) -> tuple:
    of_round = (step.round,) if isinstance(step, Bind) and step.round is not None else ()
    return (*compact.key(step), *of_round)


def listed(value: str) -> str:
    """A list of two items or more with their places: "[7,2]" as "[0:7,1:2]"; any other value as it is."""
    items = _items(value)
    return f"[{','.join(f'{i}:{item}' for i, item in enumerate(items))}]" if len(items) > 1 else value


def in_round(number: int | None, value: str) -> str:
    """A value that a round of a for loop begins with, after the number of the round."""
    return value if number is None else f"{number}:{value}"


def _written(step: Step) -> Step:
    if not isinstance(step, (Bind, Op)):
        return step
    value = listed(step.value)
    return dataclasses.replace(step, value=in_round(step.round, value) if isinstance(step, Bind) else value)


def _read(step: Step) -> Step:
    if not isinstance(step, (Bind, Op)):
        return step
    if isinstance(step, Bind) and (match := _ROUND.fullmatch(step.value)):
        return dataclasses.replace(step, value=_plain(match[2]), round=int(match[1]))
    return dataclasses.replace(step, value=_plain(step.value))


def _plain(value: str) -> str:
    """A list without the places of its items; as it is where they are not what they should be, or missing."""
    items = _items(value)
    plain = f"[{','.join(item.partition(':')[2] for item in items)}]"
    return plain if len(items) > 1 and listed(plain) == value else value


def _items(value: str) -> list[str]:
    try:
        return list(scan.split(value[1:-1], ",")) if value[:1] == "[" and value[-1:] == "]" else []
    except ValueError:
        return []
