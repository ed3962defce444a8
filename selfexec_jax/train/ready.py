"""Batches whose outcomes are known, as arrays for a checkpoint or for other hosts, and back."""

from __future__ import annotations

import io
import json

import numpy as np

from selfexec_jax.hosts import Hosts
from selfexec_jax.rollout import Sample
from selfexec_jax.train.rollouts import Group, Outcome, Prompt, Rollout, Turn

_SAID = ("text", "finish_reason", "params_version", "index", "error")
_EARNED = ("reward", "label", "is_right", "first_wrong", "remarks")


def packed(batches: list[list[Group]]) -> dict[str, np.ndarray]:
    """Flat arrays that hold these batches, but for what the prompts' judges needed: the outcomes are known."""
    tokens: list[tuple] = []
    floats: list[np.ndarray] = []

    def of_turn(turn: Turn) -> dict:
        s = turn.sample
        tokens.extend([s.prompt_tokens, s.tokens])
        floats.append(np.array(s.logprobs, np.float32))
        if turn.old is not None:
            floats.append(np.asarray(turn.old, np.float32))
        said = {name: getattr(s, name) for name in _SAID}
        sizes = {"n_prompt": len(s.prompt_tokens), "n": len(s.tokens)}
        return said | sizes | {"is_learned": turn.is_learned, "has_old": turn.old is not None}

    def of_group(group: Group) -> dict:
        tokens.append(group.prompt.tokens)
        rollouts = [
            {"turns": [of_turn(turn) for turn in r.turns]} | {name: getattr(r.outcome, name) for name in _EARNED}
            for r in group.rollouts
        ]
        return {"task": group.prompt.task, "name": group.prompt.name, "n": len(group.prompt.tokens),
                "rollouts": rollouts}  # fmt: skip

    told = json.dumps([[of_group(group) for group in batch] for batch in batches])
    return {
        "told": np.frombuffer(told.encode(), np.uint8),
        "tokens": np.array([0, *(t for part in tokens for t in part)], np.int32),
        "floats": np.concatenate([np.zeros(1, np.float32), *floats]),  # no array is empty: orbax takes none
    }


def everyones(hosts: Hosts, groups: list[Group]) -> list[Group]:
    """The whole batch, of which every host has a share."""
    if hosts.count == 1:
        return groups
    file = io.BytesIO()
    np.savez(file, **packed([groups]))
    shares = hosts.gather_bytes("groups", file.getvalue())
    return hosts.merged([unpacked(np.load(io.BytesIO(share)))[0] for share in shares])


def unpacked(arrays: dict[str, np.ndarray]) -> list[list[Group]]:
    """The batches that `packed` made arrays of."""
    at = {"tokens": 1, "floats": 1}

    def take(name: str, n: int) -> np.ndarray:
        at[name] += n
        return arrays[name][at[name] - n : at[name]]

    def turn(told: dict) -> Turn:
        prompt, tokens = (tuple(take("tokens", told[n]).tolist()) for n in ("n_prompt", "n"))
        logprobs = tuple(take("floats", told["n"]).tolist())
        old = take("floats", told["n"]) if told["has_old"] else None
        return Turn(Sample(prompt, tokens, logprobs, **{n: told[n] for n in _SAID}), told["is_learned"], old)

    def group(told: dict) -> Group:
        prompt = Prompt(told["task"], told["name"], tuple(take("tokens", told["n"]).tolist()))
        rollouts = []
        for row in told["rollouts"]:
            earned = {name: row[name] for name in _EARNED} | {"remarks": tuple(row["remarks"])}
            rollouts.append(Rollout(tuple(map(turn, row["turns"])), Outcome(**earned)))
        return Group(prompt, rollouts, np.zeros(len(rollouts), np.float32))

    return [[group(told) for told in batch] for batch in json.loads(arrays["told"].tobytes())]
