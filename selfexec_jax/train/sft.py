"""Supervised fine-tuning: an update of micro-batches, and one loop that can be killed and resumed."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from selfexec_jax.hosts import ALONE, Hosts
from selfexec_jax.model.sharding import batch_rows, place, replicated
from selfexec_jax.model.transformer import Transformer
from selfexec_jax.train import losses
from selfexec_jax.train.checkpoint import Checkpoints
from selfexec_jax.train.gradients import Gradients, make_gradients
from selfexec_jax.train.health import Unhealthy
from selfexec_jax.train.scores import scores
from selfexec_jax.train.state import TrainState, abstract_state, adafactor, adamw, muon
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


def rows_of(knobs, mesh: Mesh) -> int:
    """Long rows of a micro-batch. Raises ValueError where they do not divide over the devices."""
    rows, rest = divmod(knobs.batch_rows, knobs.micro_batches)
    if rest or rows % batch_rows(mesh):
        raise ValueError(
            f"sft.batch_rows={knobs.batch_rows} in sft.micro_batches={knobs.micro_batches} parts do not divide over"
            f" {batch_rows(mesh)} groups of devices; change one of them, or the mesh"
        )
    return rows


@dataclasses.dataclass(frozen=True)
class Update:
    """One update on the micro-batches of packed rows that a step has: `update(state, parts) -> (state, metrics)`."""

    gradients: Gradients
    mesh: Mesh

    def __call__(self, state: TrainState, parts: Sequence[dict[str, np.ndarray]]) -> tuple[TrainState, dict]:
        """The mean over the answers' tokens of all parts is what falls; the old state is donated."""
        n = sum(int(part["is_answer"].sum()) for part in parts)
        grads, losses_ = self.gradients.zeros(state.params), []
        for part in parts:
            scaled = part | {"scale": (part["is_answer"] / max(n, 1)).astype(np.float32)}
            grads, loss = self.gradients.add(state.params, grads, place(scaled, self.mesh))
            losses_.append(loss)
        state, norm = self.gradients.apply(state, grads)
        return state, {"loss": losses_, "grad_norm": norm, "answer_tokens": n}


def make_update(model: Transformer, tx: optax.GradientTransformation, target: TrainState, mesh: Mesh) -> Update:
    def loss_of(model: Transformer) -> Callable:
        def loss(learned: dict, params: dict, batch: dict) -> tuple[jax.Array, jax.Array]:
            logprobs_BxL, _ = scores(model, params | learned, batch)
            value = losses.sft_loss(logprobs_BxL, batch["scale"])
            return value, value

        return loss

    return Update(make_gradients(loss_of, model, tx, target, mesh), mesh)


def train(
    knobs, model: Transformer, updates, mesh: Mesh, seed: int, directory: str, log: Callable[[int, dict], None],
    pretrained: Callable[[], dict | None] = lambda: None, hosts: Hosts = ALONE,
    begins: Callable[[int], None] = lambda step: None,
) -> dict:  # fmt: skip
    """Runs or resumes the loop and returns the final parameters.

    `updates` gives the micro-batches of an update at a time (see `data.PackedUpdates`); `log(step, metrics)` gets a
    line every `log_every` updates, `begins` the number of updates made as each begins. `pretrained` gives the
    parameters to start from, None for random ones. Checkpoints hold state and data position. Every host packs the same
    rows and feeds its devices theirs: what is learned does not depend on how many hosts there are.
    """
    rows_of(knobs, mesh)
    tx = make_optimizer(knobs)
    init, start, target = abstract_state(model, tx, seed, mesh)
    with between_steps() as is_asked_to_end, Checkpoints(directory, knobs.checkpoints_kept, hosts) as checkpoints:
        found = checkpoints.restore(target)
        tokens = examples = 0  # since the last line
        if found is None:
            given = pretrained()
            state = init() if given is None else start(given)
        else:
            state, extra, _ = found
            updates.set_state(extra["data"])
            tokens, examples = extra["since_line"]
        update = make_update(model, tx, target, mesh)
        norm_of = jax.jit(optax.global_norm, out_shardings=replicated(mesh))
        started, earlier = time.monotonic(), tokens  # earlier: of a run that was interrupted
        for step in range(int(state.step), knobs.steps):
            begins(step)
            parts = next(updates)
            tokens += sum(int((part["segments"] > 0).sum()) for part in parts)
            examples += sum(int(part["segments"].max(axis=1).sum()) for part in parts)
            state, metrics = update(state, parts)
            done = step + 1
            if done % knobs.log_every == 0 or done == knobs.steps:
                line = {k: float(sum(map(float, v)) if k == "loss" else v) for k, v in metrics.items()}
                elapsed = time.monotonic() - started
                line |= {"tokens": tokens, "examples": examples, "seconds": elapsed}
                line["tokens_per_s"] = (tokens - earlier) / elapsed
                started, tokens, examples, earlier = time.monotonic(), 0, 0, 0
                log(done, line)
            ends_here = hosts.any(f"sft {done}", is_asked_to_end())
            if done % knobs.checkpoint_every == 0 or done == knobs.steps or ends_here:
                if not math.isfinite(metrics["grad_norm"] + norm_of(state.params)):  # once it is not, it stays so
                    raise Unhealthy(
                        f"sft: gradients or parameters are not finite at step {done} (sft.learning_rate?); begin again"
                        " with another --workdir"
                    )
                extra = {"data": updates.get_state(), "since_line": [tokens, examples]}
                checkpoints.save(done, state, extra)
            if ends_here:
                raise Stopped(f"sft: saved after step {done} of {knobs.steps}")
        return state.params
