"""Which prompts are worth a group: those that the policy sometimes answers right."""

from __future__ import annotations

import random

from selfexec_jax.train.rollouts import Group, Prompt


class Curriculum:
    """The last measured solve rate of every prompt, and draws of those that lie inside a window.

    Prompts that were never measured count as inside; the others are drawn when there are not enough. A window of (0, 1)
    leaves nothing out. Source: the paper, after CWM.
    """

    def __init__(self, window: tuple[float, float], rates: dict[str, float] | None = None):
        self._low, self._high = window
        self.rates = dict(rates or {})  # by "task/name"

    def learn(self, groups: list[Group]) -> None:
        for group in groups:
            judged = [r.outcome.is_right for r in group.rollouts if r.outcome.reward is not None]
            if judged:
                self.rates[_key(group.prompt)] = sum(judged) / len(judged)

    def draw(self, prompts: list[Prompt], n: int, rng: random.Random) -> list[Prompt]:
        """n different prompts, or all there are."""
        inside = [p for p in prompts if self._low <= self.rates.get(_key(p), self._low) <= self._high]
        if len(inside) >= n:
            return rng.sample(inside, n)
        names = {_key(p) for p in inside}
        outside = [p for p in prompts if _key(p) not in names]
        return inside + rng.sample(outside, min(n - len(inside), len(outside)))


def _key(prompt: Prompt) -> str:
    return f"{prompt.task}/{prompt.name}"
