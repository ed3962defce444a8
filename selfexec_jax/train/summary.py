"""One line of numbers about a step of reinforcement learning."""

from __future__ import annotations

import numpy as np

from selfexec_jax.train.rollouts import Group, has_advantage, is_reward


def summary(groups: list[Group], metrics: list[dict], norms: list[float]) -> dict[str, float]:
    """Rewards and labels by task, what was kept and masked, lengths, and what the micro-batches measured.

    metrics: of each micro-batch, {"sum", "max", "shape", "used"}; norms: of the gradients of each update.
    """
    line: dict[str, float] = {}
    outcomes = [r.outcome for g in groups for r in g.rollouts]
    tasks = sorted({g.prompt.task for g in groups})
    for task in tasks:
        here = [r.outcome for g in groups if g.prompt.task == task for r in g.rollouts]
        valid = [o for o in here if is_reward(o.reward)]
        line[f"reward/{task}"] = _mean([o.reward for o in valid])
        line[f"right/{task}"] = right_share(groups, task)
        for label in sorted({o.label for o in here}):
            line[f"label/{task}/{label}"] = _mean([o.label == label for o in here])
            if earned := [o.reward for o in valid if o.label == label]:
                line[f"label_reward/{task}/{label}"] = _mean(earned)
    judged = [o for o in outcomes if o.label in ("passed", "failed")]
    for remark in sorted({remark for o in judged for remark in o.remarks}):
        line[f"remark/{remark}"] = _mean([remark in o.remarks for o in judged])
    turns = [turn for g in groups for r in g.rollouts for turn in r.turns]
    samples = [turn.sample for turn in turns]
    learned = [turn.sample for turn in turns if turn.is_learned]
    total = lambda name: float(sum(m["sum"][name] for m in metrics))  # noqa: E731
    tokens = max(total("tokens"), 1.0)
    line |= {
        "reward": _mean([o.reward for o in outcomes if is_reward(o.reward)]),
        "groups": len(groups),
        "groups_kept": sum(map(has_advantage, groups)),
        "masked": sum(not is_reward(o.reward) for o in outcomes),
        "infra_share": max((line.get(f"label/{task}/infra_error", 0.0) for task in tasks), default=0.0),
        "truncated": _mean([s.finish_reason == "length" for s in samples]),
        "turns": len(learned) / max(len(outcomes), 1),
        "answer_tokens_mean": _mean([len(s.tokens) for s in learned]),
        "sampled_tokens": float(sum(len(s.tokens) for s in samples)),
        "version": min((s.params_version for s in samples), default=0),
        "learned_tokens": float(sum(m["used"] for m in metrics)),
        "useful_share": sum(m["used"] for m in metrics) / max(sum(m["shape"] for m in metrics), 1),
        "entropy": total("entropy") / tokens,
        "clip_fraction": total("clipped") / tokens,
        "logprob_gap": total("gap") / tokens,
        "logprob_gap_max": max((float(m["max"]["gap"]) for m in metrics), default=0.0),
        "grad_norm": _mean(norms),
    }
    if any("kl" in m["sum"] for m in metrics):
        line["kl"] = total("kl") / tokens
    return line


def right_share(groups: list[Group], task: str | None = None) -> float:
    """The share of right rollouts among those that could be judged, of one task or of all."""
    chosen = [r.outcome for g in groups if task in (None, g.prompt.task) for r in g.rollouts]
    return _mean([o.is_right for o in chosen if is_reward(o.reward)])


def _mean(values: list) -> float:
    return float(np.mean(values)) if values else 0.0
