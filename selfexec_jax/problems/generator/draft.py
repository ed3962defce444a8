"""A draft of a problem: what a family returns before tests are drawn and checked."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

from selfexec_jax.problems.generator.parts import Choice, Part, neighbour


@dataclasses.dataclass(frozen=True)
class Draft:
    """`render(choices, rng)` writes a program, `evaluate(choices, stdin)` computes its output from meanings."""

    family: str
    choices: tuple[Choice, ...]
    statement: str
    render: Callable[[tuple[Choice, ...], random.Random], str]
    evaluate: Callable[[tuple[Choice, ...], str], str]
    sample_input: Callable[[random.Random, int, int], str]  # (rng, size, largest number)
    mutate: Callable[[tuple[Choice, ...], random.Random], tuple[Choice, ...]]
    is_open: bool = False
    trap: Callable[[tuple[Choice, ...], random.Random], str] | None = None  # writes a program that is right but ...
    is_trapped: Callable[[tuple[Choice, ...], str], bool] | None = None  # ... crashes or takes too long on such inputs

    @property
    def composition(self) -> tuple:
        return (self.family, *(choice.key for choice in self.choices))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each part without its constants, as slot:kind."""
        return tuple(f"{c.part.slot}:{c.part.kind}" for c in self.choices)


def spell(rng: random.Random, n: int, *names: tuple[str, ...]) -> list[str]:
    """For each name one of its first `n` spellings."""
    return [rng.choice(spellings[:n]) for spellings in names]


def indent(lines: list[str], depth: int = 1) -> list[str]:
    return ["    " * depth + line for line in lines]


def sentence(*pieces: str) -> str:
    return " ".join(piece for piece in pieces if piece)


def mutator(slots: tuple[tuple[Part, ...], ...]) -> Callable:
    """A function that replaces one choice, in any slot, by a near miss."""

    def mutate(now: tuple[Choice, ...], rng: random.Random) -> tuple[Choice, ...]:
        i = rng.randrange(len(slots))
        return (*now[:i], neighbour(rng, now[i], slots[i]), *now[i + 1 :])

    return mutate


def input_size(text: str) -> int:
    """How long an input is: its number of words or, where longer, the length of its longest word."""
    words = text.split()
    return max([len(words), *map(len, words)])
