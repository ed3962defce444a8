"""A model that somebody serves behind an OpenAI-compatible endpoint (extra `[endpoint]`)."""

from __future__ import annotations

import hashlib
import json
import multiprocessing.pool
import threading
from collections.abc import Iterable
from pathlib import Path

from selfexec_jax.problems.files import read_log


class Served:
    """Answers questions by asking a server, several at a time.

    file: jsonl of the answers so far; what is in it is not asked again, so work that was interrupted goes on. A rate
    limit, a time-out or an error of the server is tried again `retries` times, later each time. A prompt that the
    server finds too long is answered by nothing, with finish_reason "too_long". The key comes from the environment
    (OPENAI_API_KEY). Raises RuntimeError where the extra or the key is missing, ValueError for a file that holds
    anything else.
    """

    def __init__(self, url: str, model: str, file: Path | None, at_once: int, timeout_s: float, retries: int):
        self._model, self._url, self._file, self._at_once = model, url, file, at_once
        self._client = _client(url, timeout_s, retries)
        self._lock = threading.Lock()
        rows = read_log(file, "an answer") if file is not None else []
        if not all({"key", "text", "finish_reason", "n_tokens"} <= row.keys() for row in rows):
            raise ValueError(f"{file}: not a file of answers; remove it or name another one")
        self._known = {row["key"]: row for row in rows}

    def answers(self, asked: Iterable[dict]) -> list[dict]:
        """`text`, `finish_reason` and `n_tokens` for each question, in order.

        asked: what the API takes, but for the model. Raises RuntimeError where the server does not answer.
        """
        questions = [{"model": self._model, **one} for one in asked]
        with multiprocessing.pool.ThreadPool(self._at_once) as threads:  # left at once, whoever is still waiting
            return list(threads.imap(self._answer, questions))

    def _answer(self, asked: dict) -> dict:
        key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        if key not in self._known:
            row = {"key": key, **self._ask(asked)}
            with self._lock:
                self._known[key] = row
                if self._file is not None:
                    self._file.parent.mkdir(parents=True, exist_ok=True)
                    with open(self._file, "a", encoding="utf-8") as out:
                        out.write(json.dumps(row) + "\n")
        return self._known[key]

    def _ask(self, asked: dict) -> dict:
        import openai

        try:
            answer = self._client.chat.completions.create(**asked)
        except openai.BadRequestError as error:
            if "context" not in str(error).lower() and "too long" not in str(error).lower():
                raise RuntimeError(f"{self._url}: the server refuses a request: {error}") from None
            return {"text": "", "finish_reason": "too_long", "n_tokens": 0}
        except openai.OpenAIError as error:
            raise RuntimeError(f"{self._url}: no answer of {self._model}: {error}") from None
        if not answer.choices:
            raise RuntimeError(f"{self._url}: {self._model} answers with nothing")
        choice, usage = answer.choices[0], answer.usage
        reason = "length" if choice.finish_reason == "length" else "stop"
        n_tokens = usage.completion_tokens if usage else 0
        return {"text": choice.message.content or "", "finish_reason": reason, "n_tokens": n_tokens}


def _client(url: str, timeout_s: float, retries: int):
    try:
        import openai
    except ImportError:
        raise RuntimeError("an endpoint needs the extra: pip install 'selfexec_jax[endpoint]'") from None
    try:
        return openai.OpenAI(base_url=url, timeout=timeout_s, max_retries=retries)
    except openai.OpenAIError as error:
        raise RuntimeError(f"{url}: {error}") from None
