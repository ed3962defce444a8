"""Reinforcement learning with verifiable rewards: sample, reward, update; on policy and resumable.

The algorithm is the paper's (section 2, after CWM): groups of samples a prompt, advantage = reward minus
the group's mean, clipped ratio, loss divided by samples x fixed length, no KL term. Rewards are futures:
they are computed while other samples still decode, and only the wait that is left is exposed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from selfexec_jax.model.sharding import batch_sharding, one_at_a_time, replicated
from selfexec_jax.model.transformer import Transformer
from selfexec_jax.rollout import Engine, Request, Sample
from selfexec_jax.train import losses
from selfexec_jax.train.checkpoint import Checkpoints
from selfexec_jax.train.data import pack_rows
from selfexec_jax.train.state import TrainState, abstract_state, adafactor, adamw, trainable


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One question: its task, its tokens, a name that seeds its samples, and what the scorer needs."""

    task: str
    name: str
    tokens: tuple[int, ...]
    subject: Any


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What an answer earned; None when the infrastructure failed, which is no reward and no punishment."""

    reward: float | None
    label: str


@dataclasses.dataclass(frozen=True)
class Group:
    """A prompt with its samples, their outcomes and, after `with_advantages`, their advantages."""

    prompt: Prompt
    samples: list[Sample]
    outcomes: list[Outcome]
    advantages: np.ndarray


def make_optimizer(knobs) -> optax.GradientTransformation:
    """The optimizer of the config's `rl` section, without decay, constant rate after a linear warm-up."""
    schedule = optax.linear_schedule(
        knobs.learning_rate / max(knobs.warmup_steps, 1), knobs.learning_rate, max(knobs.warmup_steps - 1, 1)
    )
    if knobs.optimizer == "adafactor":
        return adafactor(schedule, knobs.grad_clip)
    if knobs.optimizer == "adamw":
        return adamw(schedule, knobs.beta2, 0.0, knobs.grad_clip)
    raise ValueError(f"rl.optimizer={knobs.optimizer!r} is neither adamw nor adafactor")


def make_update(model: Transformer, tx, knobs, target: TrainState, mesh: Mesh) -> tuple[Callable, Callable, Callable]:
    """Three jitted functions: gradients of a micro-batch added to a sum, their application, log-probabilities."""
    normaliser = float(knobs.prompts * knobs.group_size * knobs.max_new_tokens / knobs.updates)
    shardings = jax.tree.map(lambda t: t.sharding, target)
    learned_shardings = trainable(shardings.params)
    whole, rows = replicated(mesh), batch_sharding(mesh)

    def loss(learned: dict, params: dict, batch: dict) -> tuple[jax.Array, dict]:
        logprobs, entropy = losses.scores(model, params | learned, batch, knobs.temperature)
        # With one update a batch the old log-probabilities are the new ones, held fixed.
        old = batch["old"] if knobs.updates > 1 else jax.lax.stop_gradient(logprobs)
        value, n_clipped = losses.clipped_policy_loss(
            logprobs, old, batch["advantage"], batch["is_answer"], knobs.clip_low, knobs.clip_high, normaliser
        )
        mask = batch["is_answer"]
        gap = jnp.abs(logprobs - batch["sampler"]) * mask
        sums = {"tokens": mask.sum(), "gap": gap.sum(), "clipped": n_clipped, "entropy": (entropy * mask).sum()}
        return value, {"sum": sums, "max": {"gap": gap.max()}}

    def accumulate(params: dict, total: dict, batch: dict) -> tuple[dict, dict]:
        grads, metrics = jax.grad(loss, has_aux=True)(trainable(params), params, batch)
        return jax.tree.map(jnp.add, total, grads), metrics

    def apply(state: TrainState, grads: dict) -> tuple[TrainState, jax.Array]:
        learned = trainable(state.params)
        updates, opt = tx.update(grads, state.opt, learned)
        params = state.params | optax.apply_updates(learned, updates)
        new = TrainState(params, opt, state.step + 1, state.key)
        return new, optax.global_norm(grads)

    def score(params: dict, batch: dict) -> jax.Array:
        return losses.scores(model, params, batch, knobs.temperature)[0]

    return (
        jax.jit(
            accumulate,
            in_shardings=(shardings.params, learned_shardings, rows),
            out_shardings=(learned_shardings, whole),
            donate_argnums=(1,),
        ),
        jax.jit(
            apply, in_shardings=(shardings, learned_shardings), out_shardings=(shardings, whole), donate_argnums=(0,)
        ),
        jax.jit(score, in_shardings=(shardings.params, rows), out_shardings=rows),
    )


def with_advantages(groups: list[Group], weights: dict[str, float]) -> list[Group]:
    """Fills in the advantages; a task's weight multiplies them after the baseline is taken off."""
    if not groups:
        return []
    rewards = np.array([[o.reward or 0.0 for o in g.outcomes] for g in groups], np.float32)
    is_valid = np.array([[o.reward is not None for o in g.outcomes] for g in groups])
    advantages = np.asarray(losses.group_advantages(rewards, is_valid))
    return [
        dataclasses.replace(g, advantages=a * np.float32(weights[g.prompt.task]))
        for g, a in zip(groups, advantages, strict=True)
    ]


def pack(groups: list[Group], knobs) -> list[dict[str, np.ndarray]]:
    """Micro-batches of packed rows; samples without advantage are left out, they add nothing to the sum."""
    items = [
        (s, float(a)) for g in groups for s, a in zip(g.samples, g.advantages, strict=True) if abs(a) > 1e-8
    ]
    items.sort(key=lambda item: -len(item[0].prompt_tokens) - len(item[0].tokens))
    rows = pack_rows([len(s.prompt_tokens) + len(s.tokens) for s, _ in items], knobs.row_tokens)
    batches = []
    for start in range(0, len(rows), knobs.micro_rows):
        shape = (knobs.micro_rows, knobs.row_tokens)
        batch = {k: np.zeros(shape, np.int32) for k in ("tokens", "positions", "segments", "is_answer")}
        batch |= {k: np.zeros(shape, np.float32) for k in ("advantage", "sampler", "old")}
        for r, row in enumerate(rows[start : start + knobs.micro_rows]):
            at = 0
            for segment, i in enumerate(row, 1):
                sample, advantage = items[i]
                n, m = len(sample.prompt_tokens), len(sample.tokens)
                here, answer = slice(at, at + n + m), slice(at + n, at + n + m)
                batch["tokens"][r, here] = sample.prompt_tokens + sample.tokens
                batch["positions"][r, here] = np.arange(n + m)
                batch["segments"][r, here] = segment
                batch["is_answer"][r, answer] = 1
                batch["advantage"][r, answer] = advantage
                batch["sampler"][r, answer] = sample.logprobs
                at += n + m
        batches.append(batch)
    return batches


def sample_groups(
    engine: Engine, prompts: list[Prompt], knobs, seeds: list[int], score: Callable[[Prompt, Sample], Future]
) -> tuple[list[Group], dict]:
    """Samples a group a prompt and collects the outcomes, in prompt order; times in seconds."""
    requests = [
        Request(p.tokens, knobs.group_size, knobs.max_new_tokens, knobs.temperature, seed=s)
        for p, s in zip(prompts, seeds, strict=True)
    ]
    started = time.monotonic()
    found: list[list[tuple[Sample, Future]]] = [[] for _ in prompts]
    for i, sample in engine.stream(requests):
        found[i].append((sample, score(prompts[i], sample)))
    sampled = time.monotonic()
    for pairs in found:  # which sample ends first depends on how lanes share the machine, what it says does not
        pairs.sort(key=lambda pair: pair[0].index)
    groups = [
        Group(p, [s for s, _ in pairs], [f.result() for _, f in pairs], np.zeros(len(pairs), np.float32))
        for p, pairs in zip(prompts, found, strict=True)
    ]
    return groups, {"sampling_s": sampled - started, "waiting_s": time.monotonic() - sampled}


def train(
    knobs, model: Transformer, engine: Engine, params: dict, mesh: Mesh, seed: int, directory,
    draw: Callable[[int, int], list[Prompt]], score: Callable[[Prompt, Sample], Future],
    log: Callable[[int, dict, list[Group]], None],
) -> dict:  # fmt: skip
    """Runs or resumes the loop from `params` and returns the final parameters.

    `draw(step, n)` gives n prompts and depends on its arguments alone; `log` gets every step's metrics
    and groups.
    """
    tx = make_optimizer(knobs)
    _, start, target = abstract_state(model, tx, seed, mesh)
    with Checkpoints(directory) as checkpoints:
        found = checkpoints.restore(target)
        if found is None:
            state, step = start(jax.tree.map(jnp.copy, params)), 0  # the caller's stay
        else:
            state, step = found[0], found[1]["step"]
        accumulate, apply, old_logprobs = (
            one_at_a_time(function, mesh) for function in make_update(model, tx, knobs, target, mesh)
        )
        of_learned = jax.tree.map(lambda t: t.sharding, trainable(target.params))
        zeros = jax.jit(lambda p: jax.tree.map(jnp.zeros_like, trainable(p)), out_shardings=of_learned)
        place = batch_sharding(mesh)
        while step < knobs.steps:
            engine.load(state.params, step)
            prompts = draw(step, knobs.prompts)
            seeds = [int(s) for s in np.random.default_rng((seed, step)).integers(1 << 48, size=len(prompts))]
            groups, times = sample_groups(engine, prompts, knobs, seeds, score)
            groups = with_advantages(groups, dict(knobs.weight))
            kept = [g for g in groups if np.abs(g.advantages).max() > 1e-8]
            began = time.monotonic()
            batches = [jax.device_put(b, place) for b in pack(kept, knobs)]
            if knobs.updates > 1:
                batches = [b | {"old": old_logprobs(state.params, b)} for b in batches]
            metrics, norms = [], []
            for part in np.array_split(np.arange(len(batches)), knobs.updates):
                grads = zeros(state.params)
                for i in part:
                    grads, sums = accumulate(state.params, grads, batches[i])
                    metrics.append(sums)
                if len(part):
                    state, norm = apply(state, grads)
                    norms.append(float(norm))
            step += 1
            line = _summary(groups, kept, jax.device_get(metrics), norms, knobs) | times
            line["updating_s"] = time.monotonic() - began
            line["tokens_per_s"] = line["sampled_tokens"] / (sum(times.values()) + line["updating_s"])
            log(step, line, groups)
            if step % knobs.checkpoint_every == 0 or step == knobs.steps:
                checkpoints.save(step, state, {"step": step})
        return state.params


def _summary(groups: list[Group], kept: list[Group], metrics: list[dict], norms: list[float], knobs) -> dict:
    """One line of numbers about a step."""
    line: dict[str, float] = {}
    for task in sorted({g.prompt.task for g in groups}):
        rewards = [o.reward for g in groups if g.prompt.task == task for o in g.outcomes if o.reward is not None]
        line[f"reward/{task}"] = float(np.mean(rewards)) if rewards else 0.0
        line[f"right/{task}"] = float(np.mean([r == knobs.reward_right for r in rewards])) if rewards else 0.0
    outcomes = [o for g in groups for o in g.outcomes]
    lengths = [len(s.tokens) for g in groups for s in g.samples]
    tokens = max(sum(float(m["sum"]["tokens"]) for m in metrics), 1.0)
    total = lambda name: sum(float(m["sum"][name]) for m in metrics)  # noqa: E731
    return line | {
        "groups": len(groups),
        "groups_kept": len(kept),
        "infra_masked": sum(o.reward is None for o in outcomes),
        "truncated": float(np.mean([s.finish_reason == "length" for g in groups for s in g.samples])),
        "answer_tokens_mean": float(np.mean(lengths)),
        "sampled_tokens": float(sum(lengths)),
        "entropy": total("entropy") / tokens,
        "clip_fraction": total("clipped") / tokens,
        "logprob_gap": total("gap") / tokens,
        "logprob_gap_max": max((float(m["max"]["gap"]) for m in metrics), default=0.0),
        "grad_norm": float(np.mean(norms)) if norms else 0.0,
    }
