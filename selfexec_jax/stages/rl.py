"""Stage 3: reinforcement learning on output prediction, solving and Self-RLEF episodes, jointly."""

from __future__ import annotations

import functools
import logging
import random
from contextlib import closing

from selfexec_jax.stages import model as models
from selfexec_jax.stages import watch
from selfexec_jax.stages.environment import ExecutionTasks
from selfexec_jax.stages.looking import Looking
from selfexec_jax.stages.material import problems_and_programs
from selfexec_jax.stages.metrics import Metrics
from selfexec_jax.stages.outcomes import outcome_by
from selfexec_jax.stages.problems import open_pool
from selfexec_jax.stages.progress import time_left
from selfexec_jax.stages.rewards import Rewards
from selfexec_jax.stages.verdicts import Verdicts
from selfexec_jax.stages.workdir import Workdir, WorkdirError
from selfexec_jax.train import rl
from selfexec_jax.train.rollouts import Group

log = logging.getLogger(__name__)


def run(config, workdir: Workdir) -> dict:
    """Trains from the SFT parameters; leaves checkpoints/rl, rl_best and samples/. Returns what it trained on."""
    if not config.rl.steps:
        return {"skipped": "rl.steps=0"}
    if workdir.has_checkpoints("sft") and not workdir.is_done("sft"):
        raise WorkdirError(f"{workdir.root}: SFT began there and is not done; run it first, --config.stages=sft,rl")
    loaded = models.load(config, workdir)
    engine, initial = loaded.engine(), functools.partial(loaded.params, "sft")
    with (
        open_pool(config) as pool,
        closing(Verdicts(workdir.data / "rl_verdicts", pool, workdir.hosts, outcome_by(config))) as verdicts,
        closing(Metrics(workdir, "rl", config.wandb)) as metrics,
        closing(Looking(config, workdir, "rl")) as looking,
    ):
        writer = lambda: engine.load(initial(), 0)  # noqa: E731
        problems, programs = problems_and_programs(config, workdir, loaded.tokenizer, writer, pool)
        rewards = Rewards(config, loaded.tokenizer, problems, pool, verdicts)
        tasks = ExecutionTasks(config, loaded.tokenizer, problems, programs, rewards, workdir.hosts)

        def write(step: int, line: dict, groups: list[Group]) -> None:
            metrics.write(step, looking.with_memory(line))
            if groups:
                _save_samples(config, workdir, step, groups)
                watch.save(workdir, step, groups)
            log.info("%s", progress_line(config, step, line))

        rl.train(
            config.rl, loaded.model, engine, initial, loaded.mesh, config.seed, workdir.checkpoints / "rl", tasks,
            write, workdir.hosts, looking,
        )  # fmt: skip
    return {"prompts": tasks.counts}


def progress_line(config, step: int, line: dict) -> str:
    """What a person who waits wants to see of a step; step 0 is the policy before RL."""
    if not step:
        return f"rl 0/{config.rl.steps}  validation {line['validation']:.1%}"
    right = "  ".join(f"{k[6:]} {v:.0%}" for k, v in line.items() if k.startswith("right/"))
    seconds = "  ".join(f"{k[:-2]} {line[k]:.1f}" for k in line if k.endswith("_s") and k != "tokens_per_s" and line[k])
    validation = f"  validation {line['validation']:.1%}" if "validation" in line else ""
    return (
        f"rl {step}/{config.rl.steps}  right: {right}{validation}  kept {line['groups_kept']}/{line['groups']}"
        f"  entropy {line['entropy']:.3f}  gap {line['logprob_gap']:.1e}  s: {seconds}"
        f"  {time_left(step, config.rl.steps, line['seconds'])}"
    )


def _save_samples(config, workdir: Workdir, step: int, groups: list[Group]) -> None:
    rng = random.Random(f"{config.seed}/kept/{step}")
    chosen = rng.sample(groups, min(config.rl.samples_kept, len(groups)))
    rows = [
        {"task": g.prompt.task, "prompt": g.prompt.name, "label": r.outcome.label, "reward": r.outcome.reward,
         "advantage": float(a), "answers": [t.sample.text for t in r.turns],
         "finish_reasons": [t.sample.finish_reason for t in r.turns]}
        for g in chosen
        for r, a in zip(g.rollouts, g.advantages, strict=True)
    ]  # fmt: skip
    workdir.write_rows(workdir.root / "samples" / f"step-{step}.jsonl.gz", rows)
