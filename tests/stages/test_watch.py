"""What is looked at for reward hacking."""

import numpy as np
import pytest

from selfexec_jax.rollout import Sample
from selfexec_jax.stages import watch
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.train.rollouts import Group, Outcome, Prompt, Rollout, Turn
from selfexec_jax.train.summary import summary


def rollout(text, label, reward, remarks=()):
    sample = Sample((1,), tuple(map(ord, text)), (0.0,) * len(text), text, "stop", 0)
    return Rollout((Turn(sample),), Outcome(reward, label, label == "passed", remarks=remarks))


def step(n):
    """The same short answer to every prompt, which is right once; and a long one that is cut off."""
    hack = [rollout("print(0)", "failed", -1.0, ("passes_public_only",)), rollout("print(0)", "passed", 1.0)]
    return [
        Group(Prompt("solve", "a", (1,)), [*hack, rollout("x" * (50 + n), "truncated", -1.0)], np.zeros(3)),
        Group(Prompt("solve", "b", (1,)), [rollout("print(0)", "failed", -1.0), rollout("y", "gibberish", None)],
              np.zeros(2)),
    ]  # fmt: skip


def test_labels_over_time_the_longest_and_the_most_repeated(tmp_path):
    work, lines = Workdir(tmp_path), []
    for n in range(1, 7):
        watch.save(work, n, step(n))
        lines.append({"stage": "rl", "step": n} | summary(step(n), [], []))
    tables = watch.tables(work, lines)
    labels = {row["label"]: row for row in tables["answers_in_rl_by_label"]}
    assert labels["failed"]["first third, %"] == 40.0 and labels["failed"]["mean reward"] == -1.0
    assert labels["truncated"]["last third, %"] == 20.0 and labels["gibberish"]["mean reward"] == "none"
    (remark,) = tables["remarks_in_rl"]
    assert remark.pop("label") == "passes_public_only"
    assert list(remark.values()) == pytest.approx([100 / 3] * 3)  # of the programs that were judged
    longest = tables["longest_answers_in_rl"]
    assert [row["tokens"] for row in longest[:2]] == [56, 55] and longest[0]["label"] == "truncated"
    repeated = tables["most_repeated_answers_in_rl"]
    assert len(repeated) == len(longest) == 10
    assert (repeated[0]["answer"], repeated[0]["times"], repeated[0]["prompts"]) == ("print(0)", 3, 2)
    assert repeated[0]["right"] == 1 / 3 and abs(repeated[0]["reward"] + 1 / 3) < 1e-9


def test_a_run_without_rl_has_no_such_tables(tmp_path):
    assert watch.tables(Workdir(tmp_path), [{"stage": "sft", "step": 1}]) == {}
