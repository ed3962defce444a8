"""A model that somebody serves, behind the engine's `generate`: any OpenAI-compatible endpoint (extra `[endpoint]`).

It takes messages, not tokens, so `Chat` stands where a tokenizer would: its ids are the bytes of the messages.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path

from selfexec_jax.problems.files import read_log
from selfexec_jax.rollout.types import Request, Sample
from selfexec_jax.traces.teacher import client_of

_SEEDS = 1 << 31  # endpoints take seeds below this


class Chat:
    """Stands for the tokenizer of a model whose tokens are its server's own business."""

    def encode_prompt(self, messages: list[dict[str, str]]) -> list[int]:
        """The bytes of the messages as JSON."""
        return list(json.dumps(messages).encode())


class Endpoint:
    """Answers requests by asking a server, several at a time.

    file: jsonl of the answers so far; what is in it is not asked again, so an interrupted evaluation goes on. A rate
    limit, a time-out or an error of the server is tried again `retries` times, later each time. A prompt that the
    server finds too long is answered by nothing, with finish_reason "too_long". The key comes from the environment
    (OPENAI_API_KEY). The endpoint says how many tokens an answer has, not which: `Sample.tokens` holds so many zeros.
    """

    def __init__(
        self, url: str, model: str, file: Path | None = None, at_once: int = 16, timeout_s: float = 600.0,
        retries: int = 8,
    ):  # fmt: skip
        self._model, self._url, self._file, self._at_once = model, url, file, at_once
        self._client = client_of(url, timeout_s, retries)
        self._lock = threading.Lock()
        rows = read_log(file, "an answer") if file is not None else []
        if not all({"key", "text", "finish_reason", "n_tokens"} <= row.keys() for row in rows):
            raise ValueError(f"{file}: not a file of answers; remove it or name another one")
        self._known = {row["key"]: row for row in rows}

    def generate(self, requests: Sequence[Request]) -> list[list[Sample]]:
        """The samples of every request, in order. Raises RuntimeError where the server does not answer."""
        with concurrent.futures.ThreadPoolExecutor(self._at_once) as threads:
            futures = [[threads.submit(self._sample, request, j) for j in range(request.n)] for request in requests]
            try:
                return [[future.result() for future in row] for row in futures]
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _sample(self, request: Request, j: int) -> Sample:
        asked = {
            "model": self._model, "messages": json.loads(bytes(request.prompt_tokens)),
            "temperature": request.temperature, "top_p": request.top_p, "max_tokens": request.max_new_tokens,
            "seed": (request.seed + j) % _SEEDS, **({"stop": list(request.stop)} if request.stop else {}),
        }  # fmt: skip
        key = hashlib.sha256(json.dumps([asked, request.top_k]).encode()).hexdigest()
        if key not in self._known:
            row = {"key": key, **self._ask(asked, request.top_k)}
            with self._lock:
                self._known[key] = row
                if self._file is not None:
                    with open(self._file, "a", encoding="utf-8") as out:
                        out.write(json.dumps(row) + "\n")
        row = self._known[key]
        return Sample(request.prompt_tokens, (0,) * row["n_tokens"], (), row["text"], row["finish_reason"], 0, j)

    def _ask(self, asked: dict, top_k: int) -> dict:
        import openai

        try:
            answer = self._client.chat.completions.create(**asked, extra_body={"top_k": top_k} if top_k else None)
        except openai.BadRequestError as error:
            if "context" not in str(error).lower() and "too long" not in str(error).lower():
                raise RuntimeError(f"{self._url}: the server refuses a request: {error}") from None
            return {"text": "", "finish_reason": "too_long", "n_tokens": 0}
        except openai.OpenAIError as error:
            raise RuntimeError(f"{self._url}: no answer of {self._model}: {error}") from None
        choice, usage = answer.choices[0], answer.usage
        reason = "length" if choice.finish_reason == "length" else "stop"
        n_tokens = usage.completion_tokens if usage else 0
        return {"text": choice.message.content or "", "finish_reason": reason, "n_tokens": n_tokens}
