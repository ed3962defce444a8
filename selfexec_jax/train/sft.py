"""Supervised fine-tuning: one jitted step, one loop that can be killed and resumed."""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import optax
from jax.sharding import Mesh

from selfexec_jax.model.sharding import batch_sharding, one_at_a_time, replicated
from selfexec_jax.model.transformer import Transformer
from selfexec_jax.train import losses
from selfexec_jax.train.checkpoint import Checkpoints
from selfexec_jax.train.state import TrainState, abstract_state, adamw, muon


def make_optimizer(knobs) -> optax.GradientTransformation:
    """The optimizer of the config's `sft` section, with linear warm-up and cosine decay."""

    def schedule(peak: float):
        warmup, steps = min(knobs.warmup_steps, max(knobs.steps - 1, 1)), max(knobs.steps, 2)
        return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, steps, peak * knobs.final_lr_share)

    rate, matrix_rate = schedule(knobs.learning_rate), schedule(knobs.matrix_learning_rate)
    if knobs.optimizer == "muon":
        return muon(matrix_rate, rate, knobs.beta2, knobs.weight_decay, knobs.grad_clip)
    if knobs.optimizer == "adamw":
        return adamw(rate, knobs.beta2, knobs.weight_decay, knobs.grad_clip)
    raise ValueError(f"sft.optimizer={knobs.optimizer!r} is neither adamw nor muon")


def answer_loss(model: Transformer, params: dict, batch: dict) -> tuple[jax.Array, jax.Array]:
    """Mean loss over answer tokens, and the number of them."""
    logits_BxLxV = model.apply({"params": params}, batch["tokens"], batch["positions"], batch["segments"])
    logprobs_BxL = losses.token_logprobs(logits_BxLxV, batch["tokens"])
    return losses.sft_loss(logprobs_BxL, batch["is_answer"]), batch["is_answer"].sum()


def make_train_step(model: Transformer, tx: optax.GradientTransformation, target: TrainState, mesh: Mesh) -> Callable:
    """`step(state, batch) -> (state, metrics)`, jitted with shardings; the old state is donated."""

    def step(state: TrainState, batch: dict) -> tuple[TrainState, dict]:
        (loss, n), grads = jax.value_and_grad(
            lambda params: answer_loss(model, params, batch), has_aux=True
        )(state.params)
        updates, opt = tx.update(grads, state.opt, state.params)
        metrics = {"loss": loss, "grad_norm": optax.global_norm(grads), "answer_tokens": n}
        return TrainState(optax.apply_updates(state.params, updates), opt, state.step + 1, state.key), metrics

    shardings = jax.tree.map(lambda t: t.sharding, target)
    return jax.jit(
        step,
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnames=("state",),
    )


def train(
    knobs, model: Transformer, batches, mesh: Mesh, seed: int, directory: str, log: Callable[[int, dict], None],
) -> dict:  # fmt: skip
    """Runs or resumes the loop and returns the final parameters.

    `batches` is a grain IterDataset; `log(step, metrics)` gets a line every `log_every` updates.
    Checkpoints hold state and data position.
    """
    tx = make_optimizer(knobs)
    init, key, target = abstract_state(model, tx, seed, mesh)
    with Checkpoints(directory) as checkpoints:
        iterator = iter(batches)
        found = checkpoints.restore(target)
        if found is None:
            state = init(key)
        else:
            state, extra = found
            iterator.set_state(extra["data"])
        train_step = one_at_a_time(make_train_step(model, tx, target, mesh), mesh)
        place = batch_sharding(mesh)
        started, tokens, examples = time.monotonic(), 0, 0
        for step in range(int(state.step), knobs.steps):
            batch = next(iterator)
            tokens += int((batch["segments"] > 0).sum())
            examples += int(batch["segments"].max(axis=1).sum())
            state, metrics = train_step(state, jax.device_put(batch, place))
            done = step + 1
            if done % knobs.log_every == 0 or done == knobs.steps:
                line = {k: float(v) for k, v in metrics.items()}
                elapsed = time.monotonic() - started
                line |= {"tokens": tokens, "examples": examples, "seconds": elapsed, "tokens_per_s": tokens / elapsed}
                started, tokens, examples = time.monotonic(), 0, 0
                log(done, line)
            if done % knobs.checkpoint_every == 0 or done == knobs.steps:
                checkpoints.save(done, state, {"data": iterator.get_state()})
        return state.params
