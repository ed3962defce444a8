"""Narrations in a teacher's words, kept only while every claim in them still checks; and inputs for programs.

The teacher is any model behind an OpenAI-compatible endpoint (extra `[endpoint]`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from selfexec_jax.problems.answers import arguments_in
from selfexec_jax.problems.served import Served
from selfexec_jax.sandbox.types import Trace
from selfexec_jax.traces.claims import check_claims, parse_claims
from selfexec_jax.traces.narrate import narrate

_ASKED = """Rewrite this account of a program's run so that it reads as a good teacher's explanation.
Keep one sentence a line, each beginning with "Line N: " as it does now, in the same order, and keep every value,
outcome and output exactly as it is: only the wording between them and what you add in parentheses may change.
Answer with the account alone.

Program:
```python
{source}
```

Account:
{text}"""


_ASKED_INPUTS = """Here is a Python program.
```python
{source}
```
Its function {name} has been called with these arguments, one argument list a line:
{known}
Write {n} further argument lists that make it do different things, edge cases among them: one a line, Python literals
alone, no text around them."""


@dataclasses.dataclass(frozen=True)
class Rewritten:
    """One narration in the teacher's words, or None with why the last attempt was rejected."""

    text: str | None
    reason: str = ""


class Teacher:
    """A served model that words narrations and thinks of inputs; errors as `Served`.

    file: jsonl of its answers so far, which are not asked for again. attempts: at a narration, until one checks.
    """

    def __init__(
        self, url: str, model: str, file: Path | None = None, attempts: int = 2, temperature: float = 0.7,
        max_tokens: int = 8192, at_once: int = 16, timeout_s: float = 300.0, retries: int = 8,
    ):  # fmt: skip
        self._served = Served(url, model, file, at_once, timeout_s, retries)
        self._attempts, self._temperature, self._max_tokens = attempts, temperature, max_tokens

    def rewrite(self, traces: Sequence[Trace]) -> list[Rewritten]:
        """Their narrations in style `full`, in the teacher's words, in order."""
        found = [Rewritten(None)] * len(traces)
        for attempt in range(self._attempts):
            left = [i for i, one in enumerate(found) if one.text is None]
            questions = (_ASKED.format(source=traces[i].source, text=narrate(traces[i]).text) for i in left)
            texts = self._answers(questions, attempt)
            for i, text in zip(left, texts, strict=True):
                found[i] = _checked(text, traces[i])
        return found

    def more_inputs(self, source: str, name: str, known: Sequence[str], n: int) -> list[str]:
        """Up to `n` new argument lists for a function, as source; those that are no literals are dropped."""
        asked = _ASKED_INPUTS.format(source=source, name=name, known="\n".join(known[:8]), n=n)
        (text,) = self._answers([asked])
        lines = (re.sub(r"^[-*•] +", "", line.strip()).strip("` ") for line in text.splitlines())
        found = (arguments_in(line, name) for line in lines if line)
        return list(dict.fromkeys(args for args in found if args is not None and args not in known))[:n]

    def _answers(self, questions: Iterable[str], seed: int = 0) -> list[str]:
        rows = self._served.answers(
            {"messages": [{"role": "user", "content": text}], "temperature": self._temperature,
             "max_tokens": self._max_tokens, "seed": seed} for text in questions
        )  # fmt: skip
        return [row["text"].strip() for row in rows]


def _checked(text: str, trace: Trace) -> Rewritten:
    check = check_claims(parse_claims(text, "full"), trace, "full")
    if check.ok:
        return Rewritten(text)
    return Rewritten(None, check.first_error.reason if check.first_error else "nothing to check")
