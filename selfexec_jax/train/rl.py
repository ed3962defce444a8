"""Reinforcement learning with verifiable rewards: sample, reward, update; of an exact staleness, and resumable.

The algorithm is by default the paper's (section 2, after CWM): groups of rollouts a prompt, advantage = reward minus
the group's mean, clipped ratio, loss divided by rollouts x fixed length, no KL term. Sampling and updates take turns on
the same devices. Rewards are futures: they are computed while other rollouts still decode, and, with staleness, during
updates; only the wait that is left is exposed. Batch t is sampled wholly by the policy after update t - staleness,
whatever is ready first, so that a run can be repeated.

Several hosts draw the same prompts; each samples and judges a share of them on its own devices and in its own sandbox.
The share's groups are then gathered, so that every host learns, decides and remembers from the same whole batch.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from selfexec_jax.hosts import ALONE, Hosts
from selfexec_jax.model.transformer import Transformer
from selfexec_jax.rollout import Engine, Sample
from selfexec_jax.train import ready
from selfexec_jax.train.checkpoint import Checkpoints
from selfexec_jax.train.health import Unhealthy, complaint, watched
from selfexec_jax.train.rollouts import CutShort, Drawn, Environment, Group, Prompt, Turn, sample_batch, with_advantages
from selfexec_jax.train.state import TrainState, abstract_state
from selfexec_jax.train.stopping import Stopped, between_steps
from selfexec_jax.train.summary import right_share, summary
from selfexec_jax.train.update import Learner, items_of, make_learner, make_optimizer, needs_old_logprobs

_VALIDATION = 1 << 40  # in the place of a step: seeds that no step has
_MEND = (
    "the last checkpoint is from before: evaluate it (--config.stages=eval,report), or begin again from SFT with other"
    " settings of rl (another --workdir, --config.init_from=THIS_RUN)"
)
Log = Callable[[int, dict, list[Group]], None]


def train(
    knobs, model: Transformer, engine: Engine, initial: Callable[[], dict], mesh: Mesh, seed: int,
    directory: str | Path, environment: Environment, log: Log, hosts: Hosts = ALONE,
    begins: Callable[[int], None] = lambda step: None,
) -> dict:  # fmt: skip
    """Runs or resumes the loop and returns the final parameters; those that `initial` gives become its own.

    Leaves checkpoints in `directory`, and in `directory`_best the one that did best on the validation prompts. `log`
    gets every step's metrics and groups, `begins` the number of steps made as each begins. Raises Unhealthy when
    training is not worth going on with, and Stopped, once all is saved, where the run was asked to end.
    """
    tx = make_optimizer(knobs)
    _, start, target = abstract_state(model, tx, seed, mesh)
    learner = make_learner(model, tx, knobs, target, mesh)
    with (
        between_steps() as is_asked_to_end,
        Checkpoints(directory, knobs.checkpoints_kept, hosts) as checkpoints,
        Checkpoints(f"{directory}_best", 1, hosts) as best,
    ):
        reference = initial() if knobs.kl else None
        loop = _Loop(knobs, engine, learner, environment, seed, reference, hosts, lambda: hosts.ask(is_asked_to_end()))
        found = checkpoints.restore(target)
        if found is None:
            run = _Run(start(initial() if reference is None else jax.tree.map(jnp.copy, reference)))
        else:
            state, extra, arrays = found
            batches = (Drawn.of(hosts.share(batch)) for batch in ready.unpacked(arrays))
            run = _Run(state, **extra["run"], batches=deque(batches))
            environment.restore(extra["environment"])
        if run.step < knobs.steps:
            learner.warm_up(run.state.params)
        if run.step == 0 and knobs.validate_every:
            log(0, loop.validate(run, best), [])
        saved = run.step
        while run.step < knobs.steps:
            begins(run.step)
            try:
                line, groups = loop.step(run)
            except CutShort:  # what was sampled of this step is left; it begins again
                ends_here = True
            else:
                if knobs.validate_every and (run.step % knobs.validate_every == 0 or run.step == knobs.steps):
                    line |= loop.validate(run, best)
                log(run.step, line, groups)
                wrong = complaint(run.history, knobs)
                if wrong:
                    raise Unhealthy(f"rl: stopped after step {run.step}: {wrong}; {_MEND}")
                ends_here = hosts.any(f"rl {run.step}", is_asked_to_end())
            is_due = run.step % knobs.checkpoint_every == 0 or run.step == knobs.steps
            if (is_due or ends_here) and run.step > saved:
                waited_for = [loop.collect(batch) for batch in run.batches]
                extra = {"run": run.counters(), "environment": environment.state()}
                best.wait()  # what a checkpoint says of it is on disk
                checkpoints.save(run.step, run.state, extra, ready.packed(waited_for))
                saved = run.step
            if ends_here:
                raise Stopped(f"rl: saved after step {run.step} of {knobs.steps}")
        return run.state.params


@dataclasses.dataclass
class _Run:
    """Where a run stands: all of it is in a checkpoint."""

    state: TrainState
    step: int = 0  # batches learned from
    sampled: int = 0  # batches sampled
    best: float = -1.0  # on the validation prompts
    history: list[dict] = dataclasses.field(default_factory=list)  # what `complaint` looks at
    batches: deque[Drawn] = dataclasses.field(default_factory=deque)  # sampled and not learned from yet

    def counters(self) -> dict:
        return {name: getattr(self, name) for name in ("step", "sampled", "best", "history")}


@dataclasses.dataclass(frozen=True)
class _Loop:
    knobs: Any
    engine: Engine
    learner: Learner
    environment: Environment
    seed: int
    reference: dict | None  # parameters that the KL term is taken to
    hosts: Hosts
    is_asked_to_end: Callable[[], bool]

    def step(self, run: _Run) -> tuple[dict, list[Group]]:
        """Samples what is due and learns from the oldest batch; returns (metrics, groups of that batch)."""
        before = dataclasses.replace(self.engine.counts)
        times = self._sample_ahead(run)
        facts = {"occupancy": self.engine.counts.since(before).occupancy}
        mine, times["waiting_s"] = run.batches.popleft().collect()
        facts["infra_share"] = _infra_share(mine)
        began = time.monotonic()
        groups = ready.everyones(self.hosts, mine)
        times["gathering_s"] = time.monotonic() - began
        groups = with_advantages(groups, self.knobs.advantage, dict(self.knobs.weight))
        self.environment.learn(groups)
        began = time.monotonic()
        metrics, norms = self._learn(run, groups)
        times["updating_s"] = time.monotonic() - began
        run.step += 1
        everyones = self.hosts.gather("facts", facts | times)
        line = summary(groups, metrics, norms) | {"occupancy": facts["occupancy"]}
        line |= {name: max(host[name] for host in everyones) for name in times}
        if self.hosts.count > 1:
            line["hosts"] = {name: [host[name] for host in everyones] for name in everyones[0]}
        line["staleness"] = run.step - 1 - line.pop("version")
        line["seconds"] = sum(times.values())
        line["tokens_per_s"] = line["sampled_tokens"] / line["seconds"]
        run.history.append(watched(line))
        return line, groups

    def collect(self, drawn: Drawn) -> list[Group]:
        """The groups of the whole batch, once their outcomes are known."""
        return ready.everyones(self.hosts, drawn.collect()[0])

    def validate(self, run: _Run, best: Checkpoints) -> dict[str, float]:
        """The share of right rollouts of the validation prompts, drawn with the same seeds each time, and that of each
        task; a policy that is better than all before is saved."""
        self.engine.load(run.state.params, run.step)
        prompts = self.environment.validation()
        groups = self.collect(self._sample(prompts, self.knobs.validation_samples, (self.seed, _VALIDATION)))
        shares = {f"validation/{task}": right_share(groups, task) for task in sorted({p.task for p in prompts})}
        found = right_share(groups)
        if found > run.best:
            run.best = found
            best.save(run.step, run.state, {"validation": found})
        return {"validation": found} | shares

    def _sample_ahead(self, run: _Run) -> dict[str, float]:
        times = {"sampling_s": 0.0, "scoring_s": 0.0}
        due = min(run.step + self.knobs.staleness, self.knobs.steps - 1)
        if run.sampled <= due:
            self.engine.load(run.state.params, run.step)
        while run.sampled <= due:
            prompts = self.environment.draw(run.sampled, self.knobs.prompts)
            drawn = self._sample_or_end(prompts, self.knobs.group_size, (self.seed, run.sampled))
            times["sampling_s"] += drawn.sampling_s
            began = time.monotonic()
            if needs_old_logprobs(self.knobs):
                drawn.score(functools.partial(self._score, run.state.params))
            times["scoring_s"] += time.monotonic() - began
            run.batches.append(drawn)
            run.sampled += 1
        return times

    def _sample_or_end(self, *batch) -> Drawn:
        """Raises CutShort on all hosts where one is asked to end before its share is sampled."""
        try:
            drawn = self._sample(*batch, is_asked_to_end=self.is_asked_to_end)
        except CutShort:
            drawn = None
        if self.hosts.any("is cut short", drawn is None):
            raise CutShort
        return drawn

    def _sample(self, prompts: list[Prompt], n: int, seed: tuple[int, ...], **how) -> Drawn:
        k = self.knobs
        mine, numbers = self.hosts.share(prompts), self.hosts.share(range(len(prompts)))
        answers = k.max_new_tokens, k.temperature
        return sample_batch(self.engine, self.environment, mine, n, *answers, seed, numbers, **how)

    def _score(self, params: dict, turns: list[Turn]) -> list[np.ndarray]:
        """Of this host's turns; those of all hosts go through the model together."""
        shares = self.hosts.gather("turns", [(t.sample.prompt_tokens, t.sample.tokens) for t in turns])
        everyones = [
            Turn(Sample(tuple(prompt), tuple(tokens), (0.0,) * len(tokens), "", "stop", 0))
            for share in shares
            for prompt, tokens in share
        ]
        before = sum(map(len, shares[: self.hosts.index]))
        return self.learner.score(params, everyones)[before : before + len(turns)]

    def _learn(self, run: _Run, groups: list[Group]) -> tuple[list[dict], list[float]]:
        metrics, norms = [], []
        for part in range(self.knobs.updates):
            items = items_of(groups[part :: self.knobs.updates], self.knobs)
            try:
                run.state, norm, found = self.learner.update(run.state, items, self.reference)
            except FloatingPointError as error:
                raise Unhealthy(f"rl: stopped in step {run.step + 1}: {error} (rl.learning_rate?); {_MEND}") from None
            metrics += found
            norms += [norm] if found else []
        return metrics, norms


def _infra_share(groups: list[Group]) -> float:
    """The share of the rollouts that this host's sandbox could not judge."""
    labels = [rollout.outcome.label for group in groups for rollout in group.rollouts]
    return labels.count("infra_error") / max(len(labels), 1)
