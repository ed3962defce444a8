"""The `rl` section of the base config with some fields changed, and groups of rollouts made of random tokens."""

import numpy as np

from selfexec_jax.configs import base
from selfexec_jax.rollout import Sample
from selfexec_jax.train.rollouts import Group, Outcome, Prompt, Rollout, Turn


def knobs(**changes):
    section = base.get_config().rl.copy_and_resolve_references()
    with section.unlocked():
        for name, value in changes.items():
            assert name in section, name
            section[name] = value
    return section


def rollout(rng, prompt, reward, n_turns=1, **outcome):
    turns = []
    for _ in range(n_turns):
        tokens = tuple(rng.integers(2, 64, int(rng.integers(1, 7))).tolist())
        turns.append(Turn(Sample(prompt, tokens, tuple((-rng.random(len(tokens))).tolist()), "", "stop", 0)))
    return Rollout(tuple(turns), Outcome(reward, "made", reward == 1.0, **outcome))


def group(task, rewards, seed, n_prompt=4, n_turns=1, **outcome):
    rng = np.random.default_rng(seed)
    prompt = tuple(rng.integers(2, 64, n_prompt).tolist())
    rollouts = [rollout(rng, prompt, r, n_turns, **outcome) for r in rewards]
    return Group(Prompt(task, str(seed), prompt), rollouts, np.zeros(len(rewards), np.float32))
