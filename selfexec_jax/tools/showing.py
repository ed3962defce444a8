"""What the demo and `simulate` print: programs, and simulated runs beside real ones. Plain where it is no terminal."""

from __future__ import annotations

import itertools

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from selfexec_jax.problems.endings import shown
from selfexec_jax.traces.clean import clean

RIGHT, WRONG = Text("✓", "green"), Text("✗", "bold red")


def console() -> Console:
    """To stdout; as wide as the terminal, 100 columns where there is none."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=100)


def mark(is_right: bool) -> Text:
    return RIGHT if is_right else WRONG


def program(source: str) -> Syntax:
    return Syntax(clean(source).rstrip("\n"), "python", theme="ansi_light", background_color="default")


def value(text: str | None) -> Text:
    """An output, on one line, or an ending."""
    return Text("nothing", "dim") if text is None else Text(clean(shown(text).strip()).replace("\n", " ⏎ "))


def beside(view: dict) -> Table:
    """A simulated run beside the real one, as `traces.view.seen` has them, with the first divergence marked."""
    table = Table("", "simulated", "really happens", box=None, padding=(0, 1))
    for i, (said, moment, agrees) in enumerate(view["simulated"]["rows"]):
        is_first = i == view["simulated"]["first"]
        style = "bold red" if is_first else "" if agrees else "red"
        real = "" if moment is None else view["moments"][moment]["text"]
        sign = "✗ first" if is_first else "" if agrees else "✗"
        table.add_row(Text(sign, style), Text(said or "", style), Text(real))
    return table


def one_after_the_other(said: str, real: str) -> Table:
    """The same for styles whose lines do not answer to each other."""
    table = Table("simulated", "really happens", box=None, padding=(0, 1))
    for a, b in itertools.zip_longest(clean(said).split("\n"), clean(real).split("\n"), fillvalue=""):
        table.add_row(Text(a), Text(b))
    return table
