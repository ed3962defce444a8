"""Supervised fine-tuning: one jitted step, one loop that can be killed and resumed."""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from selfexec_jax.hosts import ALONE, Hosts
from selfexec_jax.model.sharding import batch_sharding, one_at_a_time, place, replicated
from selfexec_jax.model.transformer import Transformer
from selfexec_jax.train import losses
from selfexec_jax.train.checkpoint import Checkpoints
from selfexec_jax.train.scores import scores
from selfexec_jax.train.state import TrainState, abstract_state, adafactor, adamw, muon, trainable
from selfexec_jax.train.stopping import Stopped, between_steps


def make_optimizer(knobs) -> optax.GradientTransformation:
    """The optimizer of the config's `sft` section, with linear warm-up and cosine decay."""

    def schedule(peak: float):
        warmup, steps = min(knobs.warmup_steps, max(knobs.steps - 1, 1)), max(knobs.steps, 2)
        return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, steps, peak * knobs.final_lr_share)

    rate, matrix_rate = schedule(knobs.learning_rate), schedule(knobs.matrix_learning_rate)
    if knobs.optimizer == "muon":
        return muon(matrix_rate, rate, knobs.beta2, knobs.weight_decay, knobs.grad_clip)
    if knobs.optimizer == "adafactor":
        return adafactor(rate, knobs.grad_clip)
    if knobs.optimizer == "adamw":
        return adamw(rate, knobs.beta2, knobs.weight_decay, knobs.grad_clip)
    raise ValueError(f"sft.optimizer={knobs.optimizer!r} is none of adamw, muon, adafactor")


def make_train_step(
    model: Transformer, tx: optax.GradientTransformation, target: TrainState, mesh: Mesh, micro_batches: int = 1
) -> Callable:
    """`step(state, batch) -> (state, metrics)`, jitted with shardings; the old state is donated.

    micro_batches: the rows go through the model in so many parts, whose gradients are added up.
    """

    def step(state: TrainState, batch: dict) -> tuple[TrainState, dict]:
        learned, n = trainable(state.params), batch["is_answer"].sum()

        def loss(learned: dict, part: dict) -> jax.Array:
            logprobs_BxL, _ = scores(model, state.params | learned, part)
            return losses.sft_loss(logprobs_BxL, part["is_answer"], n)

        def add(total: tuple, part: dict) -> tuple[tuple, None]:
            return jax.tree.map(jnp.add, total, jax.value_and_grad(loss)(learned, part)), None

        if micro_batches == 1:
            value, grads = jax.value_and_grad(loss)(learned, batch)
        else:
            # Neighbouring rows go to different parts, so that a device's rows stay its own.
            split = lambda a: a.reshape(-1, micro_batches, *a.shape[1:]).swapaxes(0, 1)  # noqa: E731
            zeros = jnp.zeros(()), jax.tree.map(jnp.zeros_like, learned)
            (value, grads), _ = jax.lax.scan(add, zeros, jax.tree.map(split, batch))
        updates, opt = tx.update(grads, state.opt, learned)
        metrics = {"loss": value, "grad_norm": optax.global_norm(grads), "answer_tokens": n}
        params = state.params | optax.apply_updates(learned, updates)
        return TrainState(params, opt, state.step + 1, state.key), metrics

    shardings = jax.tree.map(lambda t: t.sharding, target)
    return jax.jit(
        step,
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnames=("state",),
    )


def train(
    knobs, model: Transformer, batches, mesh: Mesh, seed: int, directory: str, log: Callable[[int, dict], None],
    pretrained: Callable[[], dict | None] = lambda: None, hosts: Hosts = ALONE,
) -> dict:  # fmt: skip
    """Runs or resumes the loop and returns the final parameters.

    `batches` is a grain IterDataset; `log(step, metrics)` gets a line every `log_every` updates. `pretrained` gives
    the parameters to start from, None for random ones. Checkpoints hold state and data position. Every host packs
    the same batches and feeds its devices their rows: what is learned does not depend on how many hosts there are.
    """
    if knobs.batch_rows % knobs.micro_batches:
        raise ValueError(f"sft.micro_batches={knobs.micro_batches} does not divide sft.batch_rows={knobs.batch_rows}")
    tx = make_optimizer(knobs)
    init, start, target = abstract_state(model, tx, seed, mesh)
    with Checkpoints(directory, knobs.checkpoints_kept, hosts) as checkpoints, between_steps() as is_asked_to_end:
        iterator = iter(batches)
        found = checkpoints.restore(target)
        if found is None:
            given = pretrained()
            state = init() if given is None else start(given)
        else:
            state, extra, _ = found
            iterator.set_state(extra["data"])
        train_step = one_at_a_time(make_train_step(model, tx, target, mesh, knobs.micro_batches), mesh)
        started, tokens, examples = time.monotonic(), 0, 0
        for step in range(int(state.step), knobs.steps):
            batch = next(iterator)
            tokens += int((batch["segments"] > 0).sum())
            examples += int(batch["segments"].max(axis=1).sum())
            state, metrics = train_step(state, place(batch, mesh))
            done = step + 1
            if done % knobs.log_every == 0 or done == knobs.steps:
                line = {k: float(v) for k, v in metrics.items()}
                elapsed = time.monotonic() - started
                line |= {"tokens": tokens, "examples": examples, "seconds": elapsed, "tokens_per_s": tokens / elapsed}
                started, tokens, examples = time.monotonic(), 0, 0
                log(done, line)
            ends_here = hosts.any(f"sft {done}", is_asked_to_end())
            if done % knobs.checkpoint_every == 0 or done == knobs.steps or ends_here:
                checkpoints.save(done, state, {"data": iterator.get_state()})
            if ends_here:
                raise Stopped(f"sft: saved after step {done} of {knobs.steps}")
        return state.params
