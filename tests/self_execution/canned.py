"""An engine that gives canned answers and remembers what it was asked."""

from selfexec_jax.rollout import Sample


class Characters:
    """A token a character, so that a prompt can be read back from a request."""

    def encode_prompt(self, messages):
        return [ord(c) for c in messages[0]["content"]]


class CannedEngine:
    """Answers each prompt by `answers(prompt, j)`: a text, or (text, finish_reason). A token a character."""

    def __init__(self, answers):
        self.answers, self.batches = answers, []

    def generate(self, requests):
        self.batches.append(list(requests))
        return [[self._sample(r, j) for j in range(r.n)] for r in requests]

    def _sample(self, request, j):
        if len(request.prompt_tokens) + request.max_new_tokens > 10_000:
            return Sample(request.prompt_tokens, (), (), "", "too_long", 0, j)
        found = self.answers("".join(map(chr, request.prompt_tokens)), j)
        text, reason = found if isinstance(found, tuple) else (found, "stop")
        return Sample(request.prompt_tokens, (2,) * len(text), (0.0,) * len(text), text, reason, 0)

    @property
    def asked(self):
        return ["".join(map(chr, r.prompt_tokens)) for batch in self.batches for r in batch]
