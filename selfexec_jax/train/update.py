"""From rollouts to an update of the policy: what is learned from, the gradients of it, the optimizer's step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from selfexec_jax.model.sharding import batch_sharding, fetched, place
from selfexec_jax.model.transformer import Transformer
from selfexec_jax.train import losses
from selfexec_jax.train.gradients import Gradients, OnRows, jitted, make_gradients, on
from selfexec_jax.train.packing import Item, filled, pack, row_shapes
from selfexec_jax.train.rollouts import Group, Outcome, Turn, has_advantage, is_reward
from selfexec_jax.train.scores import scores
from selfexec_jax.train.state import TrainState, adafactor, adamw


def make_optimizer(knobs) -> optax.GradientTransformation:
    """The optimizer of the config's `rl` section, without weight decay; its rate rises in a straight line, then falls
    in one, or stays."""
    peak, warmup = knobs.learning_rate, max(knobs.warmup_steps - 1, 1)
    rising = optax.linear_schedule(peak / max(knobs.warmup_steps, 1), peak, warmup)
    falling = optax.linear_schedule(peak, peak * knobs.final_lr_share, max(knobs.steps * knobs.updates - warmup, 1))
    schedule = optax.join_schedules([rising, falling], [warmup])
    if knobs.optimizer == "adafactor":
        return adafactor(schedule, knobs.grad_clip)
    if knobs.optimizer == "adamw":
        return adamw(schedule, knobs.beta2, 0.0, knobs.grad_clip)
    raise ValueError(f"rl.optimizer={knobs.optimizer!r} is neither adamw nor adafactor")


def needs_old_logprobs(knobs) -> bool:
    """Whether the policy that is updated can be another than the one that sampled; else its ratio is one."""
    return knobs.staleness > 0 or knobs.updates > 1


def items_of(groups: list[Group], knobs) -> list[Item]:
    """The turns to learn from, scaled by the config's normaliser for one of `updates` parts of a batch.

    None of a rollout that earned no reward, and none at all where there is neither an advantage nor a regulariser;
    that one acts on all rollouts.
    """
    is_regularised = knobs.kl or knobs.entropy_bonus
    if not (any(map(has_advantage, groups)) or is_regularised):
        return []
    found = []
    for group in groups:
        for rollout, advantage in zip(group.rollouts, group.advantages, strict=True):
            is_left_out = knobs.zero_advantage_filter and not is_regularised and abs(advantage) <= 1e-8
            if is_left_out or not is_reward(rollout.outcome.reward):
                continue
            learned = [turn for turn in rollout.turns if turn.is_learned and turn.sample.tokens]
            lengths = [len(turn.sample.tokens) for turn in learned]
            first, last = _credited(rollout.outcome, advantage, sum(lengths), knobs)
            for turn, n in zip(learned, lengths, strict=True):
                found.append(Item(turn, float(advantage), first=max(first, 0), last=max(last, 0)))
                first, last = first - n, last - n
    lengths = np.array([len(item.turn.sample.tokens) for item in found], np.int64)
    n = knobs.prompts * knobs.group_size / knobs.updates
    scales = losses.NORMALISERS[knobs.normaliser](lengths, n, knobs.max_new_tokens)
    return [dataclasses.replace(item, scale=float(s)) for item, s in zip(found, scales, strict=True)]


def _credited(outcome: Outcome, advantage: float, n: int, knobs) -> tuple[int, int]:
    """From which to which of its n tokens a rollout's advantage counts: all, unless it is known where it goes wrong.

    With `rl.credit=first_wrong` blame begins there. What a wrong answer is better in than others of its group, which
    are wrong as well, it told before: what comes then is not to be learned.
    """
    at = outcome.first_wrong
    if at is None:
        return 0, n
    if advantage < 0:
        return (at if knobs.credit == "first_wrong" else 0), n
    return 0, (n if outcome.is_right else at)


def make_loss(model: Transformer, knobs) -> Callable:
    """`loss(learned, params, batch) -> (value, metrics)`, put together from the pieces that the config names."""
    objective = losses.OBJECTIVES[knobs.objective]

    def loss(learned: dict, params: dict, batch: dict) -> tuple[jax.Array, dict]:
        mask, scale = batch["is_answer"], batch["scale"]
        logprobs, entropy = scores(model, params | learned, batch, knobs.temperature, bool(knobs.entropy_bonus))
        old = batch["old"] if needs_old_logprobs(knobs) else jax.lax.stop_gradient(logprobs)
        gain, n_clipped = objective(batch, logprobs, old, knobs.clip_low, knobs.clip_high)
        if knobs.importance_cap:
            gain *= losses.importance_weight(old, batch["sampler"], knobs.importance_cap)
        sums = {"tokens": mask.sum(), "clipped": n_clipped, "entropy": (entropy * mask).sum()}
        if knobs.entropy_bonus:
            gain += knobs.entropy_bonus * entropy
        if knobs.kl:
            kl = losses.kl_to_reference(logprobs * mask, batch["reference"] * mask)
            gain -= knobs.kl * kl
            sums["kl"] = (kl * mask).sum()
        # Against the policy that sampled: at staleness 0, how far trainer and sampler are apart.
        gap = jnp.abs(old - batch["sampler"]) * mask
        sums["gap"] = gap.sum()
        return -jnp.sum(gain * scale), {"sum": sums, "max": {"gap": gap.max()}}

    return loss


@dataclasses.dataclass(frozen=True)
class Learner:
    """The jitted functions of an update, for one config and one mesh."""

    gradients: Gradients
    logprobs: OnRows  # (params, batch) -> BxL
    mesh: Mesh
    knobs: object

    def score(self, params: dict, turns: list[Turn]) -> list[np.ndarray]:
        """Log-probabilities of every token of the turns' answers, as the trainer sees them."""
        found: list[np.ndarray | None] = [None] * len(turns)
        for batch in pack([Item(turn) for turn in turns], row_shapes(self.knobs, self.mesh)):
            logprobs = fetched(self.logprobs(params, self.place(batch)))
            is_answer = batch["is_answer"] > 0
            for i in np.unique(batch["item"][is_answer]):
                found[i] = logprobs[is_answer & (batch["item"] == i)]
        return found

    def place(self, batch: dict) -> dict:
        return place({k: v for k, v in batch.items() if k != "item"}, self.mesh)

    def update(
        self, state: TrainState, items: list[Item], reference: dict | None
    ) -> tuple[TrainState, float, list[dict]]:
        """One step of the optimizer; (state, norm of the gradients, metrics of each micro-batch).

        Nothing to learn from leaves the state as it is. Raises FloatingPointError, and the state is lost, when the
        gradients are not finite.
        """
        grads, metrics = self.gradients.zeros(state.params), []
        for batch in pack(items, row_shapes(self.knobs, self.mesh)):
            placed = self.place(batch)
            if reference is not None:
                placed["reference"] = self.logprobs(reference, placed)
            grads, found = self.gradients.add(state.params, grads, placed)
            metrics.append(found | {"shape": batch["tokens"].size, "used": int((batch["segments"] > 0).sum())})
        if not metrics:
            return state, 0.0, []
        state, norm = self.gradients.apply(state, grads)
        if not np.isfinite(float(norm)):
            raise FloatingPointError(f"the gradients are not finite (norm {float(norm)})")
        return state, float(norm), jax.device_get(metrics)

    def warm_up(self, params: dict) -> None:
        """Compiles every shape of micro-batch, on batches that hold nothing."""
        grads = self.gradients.zeros(params)
        shapes = [(n, row) for row, counts in row_shapes(self.knobs, self.mesh).items() for n in counts]
        for n, row_tokens in shapes:
            placed = self.place(filled([], [], n, row_tokens))
            if needs_old_logprobs(self.knobs) or self.knobs.kl:
                found = self.logprobs(params, placed)
                placed |= {"reference": found} if self.knobs.kl else {}
            grads, _ = self.gradients.add(params, grads, placed)


def make_learner(model: Transformer, tx, knobs, target: TrainState, mesh: Mesh) -> Learner:
    """The functions of an update, compiled when first called."""
    params = jax.tree.map(lambda t: t.sharding, target.params)

    def scorer(mesh: Mesh) -> Callable:
        rows, placed = batch_sharding(mesh), on(mesh, model)
        return jitted(lambda p, b: scores(placed, p, b, knobs.temperature)[0], (params, rows), rows, mesh)

    gradients = make_gradients(lambda model: make_loss(model, knobs), model, tx, target, mesh)
    return Learner(gradients, OnRows(scorer, mesh), mesh, knobs)
