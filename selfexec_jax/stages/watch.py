"""What somebody looks at who suspects that a reward is being gamed: labels over time, and the oddest answers."""

from __future__ import annotations

import collections
import itertools
import re

import numpy as np

from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.train.rollouts import Group

_KEPT = 10
_CHARS = 400  # of an answer that is shown


def save(workdir: Workdir, step: int, groups: list[Group]) -> None:
    """A step's longest answers, and those that were given most often, with what they earned."""
    answers = [
        (group.prompt.task, turn.sample, rollout.outcome)
        for group in groups
        for rollout in group.rollouts
        for turn in rollout.turns
        if turn.is_learned
    ]
    longest = sorted(answers, key=lambda a: (-len(a[1].tokens), a[0], a[1].text))[:_KEPT]
    rows = [
        {"list": "longest", "step": step, "task": task, "tokens": len(sample.tokens), "label": outcome.label,
         "reward": outcome.reward, "answer": sample.text[:_CHARS]}
        for task, sample, outcome in longest
    ]  # fmt: skip
    times = collections.Counter((task, sample.text) for task, sample, _ in answers)
    for (task, text), n in sorted(times.items(), key=lambda item: (-item[1], item[0]))[:_KEPT]:
        outcomes = [o for t, s, o in answers if (t, s.text) == (task, text)]
        rewards = [o.reward for o in outcomes if o.reward is not None]
        rows.append({"list": "repeated", "step": step, "task": task, "times": n,
                     "prompts": sum(any(t.sample.text == text for r in g.rollouts for t in r.turns) for g in groups),
                     "right": float(np.mean([o.is_right for o in outcomes])),
                     "reward": float(np.mean(rewards)) if rewards else None, "answer": text[:_CHARS]})  # fmt: skip
    workdir.write_rows(workdir.root / "samples" / f"watch-{step}.jsonl.gz", rows)


def tables(workdir: Workdir, curves: list[dict]) -> dict[str, list[dict]]:
    """Tables for the report, by name; none for a run without RL."""
    lines = [line for line in curves if line["stage"] == "rl" and line["step"] > 0]
    if not lines:
        return {}
    rows = list(itertools.chain.from_iterable(
        workdir.read_rows(path) for path in sorted((workdir.root / "samples").glob("watch-*.jsonl.gz"))
    ))  # fmt: skip
    longest = sorted((r for r in rows if r["list"] == "longest"), key=lambda r: (-r["tokens"], r["step"]))
    repeated = sorted((r for r in rows if r["list"] == "repeated"), key=lambda r: (-r["times"], r["step"]))
    shown = lambda found: [{k: v for k, v in r.items() if k != "list"} for r in found[:_KEPT]]  # noqa: E731
    return {
        "answers_in_rl_by_label": _over_time(lines, re.compile(r"label/(\w+)/(\w+)")),
        "remarks_in_rl": _over_time(lines, re.compile(r"remark/()(\w+)")),
        "longest_answers_in_rl": shown(longest),
        "most_repeated_answers_in_rl": shown(repeated),
    }


def _over_time(lines: list[dict], wanted: re.Pattern) -> list[dict]:
    """Shares in the first, middle and last third of the steps, and the mean reward of what has the label."""
    keys = sorted({key for line in lines for key in line if wanted.fullmatch(key)})
    thirds = [list(part) for part in np.array_split(np.arange(len(lines)), 3)]
    rows = []
    for key in keys:
        task, label = wanted.fullmatch(key).groups()
        shares = [100 * float(np.mean([lines[i].get(key, 0.0) for i in part] or [0.0])) for part in thirds]
        names = ("first third, %", "middle third, %", "last third, %")
        row = ({"task": task} if task else {}) | {"label": label} | dict(zip(names, shares, strict=True))
        rewards = [line[f"label_reward/{task}/{label}"] for line in lines if f"label_reward/{task}/{label}" in line]
        if task:
            row["mean reward"] = float(np.mean(rewards)) if rewards else "none"
        rows.append(row)
    return rows
