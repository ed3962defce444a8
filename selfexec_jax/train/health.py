"""When a run of reinforcement learning is to stop by itself: it has collapsed, or nothing can be judged."""

from __future__ import annotations

import numpy as np


class Unhealthy(ValueError):
    """Training stopped itself; one line that says why, what is left, and how to go on."""


def watched(line: dict) -> dict:
    """What of a step's metrics is remembered for `complaint`; None where the step had nothing to measure."""
    had_reward = any(name.startswith("label_reward/") for name in line)
    return {
        "entropy": line["entropy"] if line["learned_tokens"] else None,
        "answer_tokens_mean": line["answer_tokens_mean"],
        "reward": line["reward"] if had_reward else None,
        "infra_share": line["infra_share"],
    }


def complaint(history: list[dict], knobs) -> str:
    """What is wrong with a run, from what was watched of each step; empty for nothing.

    Entropy, length and reward are compared as means over `health_window` steps, the last ones with the first ones (for
    the reward: with the best ones). A field of zero asks for nothing.
    """
    n = knobs.health_window
    last = history[-n:]
    if len(last) == n and min(line["infra_share"] for line in last) > knobs.stop_infra_share > 0:
        return (
            f"the sandbox could not judge more than {knobs.stop_infra_share:.0%} of a task's answers for {n} steps"
            " (rl.stop_infra_share): look at the machine and at `python -m selfexec_jax.tools.run --capabilities`"
        )
    if len(history) < 2 * n:
        return ""
    for name, field in (("entropy", "stop_entropy_share"), ("answer_tokens_mean", "stop_length_share")):
        before, now = _mean(history[:n], name), _mean(last, name)
        if now < knobs[field] * before:  # false where one of them is not known
            return f"{name} fell from {before:.3g} to {now:.3g} (rl.{field})"
    windows = [_mean(history[i : i + n], "reward") for i in range(len(history) - n + 1)]
    if np.nanmax([*windows, -np.inf]) - windows[-1] > knobs.stop_reward_drop > 0:
        return f"the reward fell from {np.nanmax(windows):.3f} to {windows[-1]:.3f} (rl.stop_reward_drop)"
    return ""


def _mean(lines: list[dict], name: str) -> float:
    values = [line[name] for line in lines if line[name] is not None]
    return float(np.mean(values)) if values else float("nan")
