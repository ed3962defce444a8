"""Narrations in a teacher's words, kept only while every claim in them still checks.

The teacher is any model behind an OpenAI-compatible endpoint (extra `[teacher]`).
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Sequence

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
    client = _client(teacher)
    with client, concurrent.futures.ThreadPoolExecutor(teacher.at_once) as threads:
        found = list(threads.map(lambda trace: _rewrite_one(client, trace, teacher, style), traces))
    kept = sum(one.text is not None for one in found)
    rate = 1 - kept / len(found) if found else 0.0
    return found, {"asked": len(found), "kept": kept, "rejection_rate": rate}


def _client(teacher: Teacher):
    try:
        import openai
    except ImportError:
        raise RuntimeError("a teacher needs the extra: pip install 'selfexec_jax[teacher]'") from None
    return openai.OpenAI(base_url=teacher.url, timeout=teacher.timeout_s)


def _rewrite_one(client, trace: Trace, teacher: Teacher, style: str) -> Rewritten:
    asked = _ASKED.format(source=trace.source, text=narrate(trace, style).text)
    reason = ""
    for _ in range(teacher.attempts):
        answer = client.chat.completions.create(
            model=teacher.model, messages=[{"role": "user", "content": asked}],
            temperature=teacher.temperature, max_tokens=teacher.max_tokens,
        )  # fmt: skip
        text = (answer.choices[0].message.content or "").strip()
        check = check_claims(parse_claims(text, style), trace, style)
        if check.ok:
            return Rewritten(text)
        reason = check.first_error.reason if check.first_error else "nothing to check"
    return Rewritten(None, reason)
