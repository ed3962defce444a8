"""When a run of reinforcement learning is to stop by itself: it has collapsed, or nothing can be judged."""

from __future__ import annotations

import numpy as np

WATCHED = ("entropy", "answer_tokens_mean", "reward", "infra_share")  # of a step's metrics


class Unhealthy(ValueError):
    """Training stopped itself; one line that says why, what is left, and how to go on."""


def complaint(history: list[dict], knobs) -> str:
    """What is wrong with a run, from a line of numbers a step; empty for nothing.

    Entropy, length and reward are compared as means over `health_window` steps, the last ones with the first ones (for
    the reward: with the best ones). A field of zero asks for nothing.
    """
    n = knobs.health_window
    last = history[-n:]
    if len(last) == n and min(line["infra_share"] for line in last) > knobs.stop_infra_share > 0:
        return (
            f"the sandbox could not judge more than {knobs.stop_infra_share:.0%} of the programs for {n} steps"
            " (rl.stop_infra_share); look at the machine and at `python -m selfexec_jax.tools.run --capabilities`"
        )
    if len(history) < 2 * n:
        return ""
    mean = lambda name, lines: float(np.mean([line[name] for line in lines]))  # noqa: E731
    for name, field in (("entropy", "stop_entropy_share"), ("answer_tokens_mean", "stop_length_share")):
        before, now = mean(name, history[:n]), mean(name, last)
        if now < knobs[field] * before:
            return f"{name} fell from {before:.3g} to {now:.3g} (rl.{field})"
    windows = [mean("reward", history[i : i + n]) for i in range(len(history) - n + 1)]
    if max(windows) - windows[-1] > knobs.stop_reward_drop > 0:
        return f"the reward fell from {max(windows):.3f} to {windows[-1]:.3f} (rl.stop_reward_drop)"
    return ""
