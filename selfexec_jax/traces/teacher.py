"""Narrations in a teacher's words, kept only while every claim in them still checks; and inputs for programs.

The teacher is any model behind an OpenAI-compatible endpoint (extra `[endpoint]`).
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import re
from collections.abc import Sequence

from selfexec_jax.problems.answers import arguments_in
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
class Teacher:
    """Which model to ask, where, and how patiently; the key comes from the environment (OPENAI_API_KEY)."""

    url: str
    model: str
    temperature: float = 0.7
    max_tokens: int = 8192
    attempts: int = 2  # rewritings that are asked for until one checks
    at_once: int = 16  # requests under way
    timeout_s: float = 300.0


@dataclasses.dataclass(frozen=True)
class Rewritten:
    """One narration in the teacher's words, or None with why the last attempt was rejected."""

    text: str | None
    reason: str = ""


def rewrite(traces: Sequence[Trace], teacher: Teacher, style: str = "full") -> tuple[list[Rewritten], dict]:
    """Narrations rewritten, in order, and {"asked", "kept", "rejection_rate"} over the traces.

    Raises RuntimeError where the extra is missing, and what the client raises where the endpoint cannot be reached.
    """
    client = client_of(teacher.url, teacher.timeout_s)
    with client, concurrent.futures.ThreadPoolExecutor(teacher.at_once) as threads:
        found = list(threads.map(lambda trace: _rewrite_one(client, trace, teacher, style), traces))
    kept = sum(one.text is not None for one in found)
    rate = 1 - kept / len(found) if found else 0.0
    return found, {"asked": len(found), "kept": kept, "rejection_rate": rate}


def more_inputs(source: str, name: str, known: Sequence[str], n: int, teacher: Teacher) -> list[str]:
    """Up to `n` new argument lists for a function, as source, in the teacher's words; those that are no literals are
    dropped. Raises as `rewrite` does."""
    asked = _ASKED_INPUTS.format(source=source, name=name, known="\n".join(known[:8]), n=n)
    with client_of(teacher.url, teacher.timeout_s) as client:
        text = _answer(client, teacher, asked)
    lines = (re.sub(r"^[-*•] +", "", line.strip()).strip("` ") for line in text.splitlines())
    found = (arguments_in(line, name) for line in lines if line)
    return list(dict.fromkeys(args for args in found if args is not None and args not in known))[:n]


def _answer(client, teacher: Teacher, asked: str) -> str:
    answer = client.chat.completions.create(
        model=teacher.model, messages=[{"role": "user", "content": asked}],
        temperature=teacher.temperature, max_tokens=teacher.max_tokens,
    )  # fmt: skip
    return (answer.choices[0].message.content or "").strip()


def client_of(url: str, timeout_s: float, retries: int = 2):
    """A client of an OpenAI-compatible endpoint. Raises RuntimeError where the extra or the key is missing."""
    try:
        import openai
    except ImportError:
        raise RuntimeError("an endpoint needs the extra: pip install 'selfexec_jax[endpoint]'") from None
    try:
        return openai.OpenAI(base_url=url, timeout=timeout_s, max_retries=retries)
    except openai.OpenAIError as error:
        raise RuntimeError(f"{url}: {error}") from None


def _rewrite_one(client, trace: Trace, teacher: Teacher, style: str) -> Rewritten:
    asked = _ASKED.format(source=trace.source, text=narrate(trace, style).text)
    reason = ""
    for _ in range(teacher.attempts):
        text = _answer(client, teacher, asked)
        check = check_claims(parse_claims(text, style), trace, style)
        if check.ok:
            return Rewritten(text)
        reason = check.first_error.reason if check.first_error else "nothing to check"
    return Rewritten(None, reason)
