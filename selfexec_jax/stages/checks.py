"""What a config must be like, before anything is run for it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from selfexec_jax.problems.benchmarks import benchmark_named, place_of
from selfexec_jax.problems.datasets import data_dir
from selfexec_jax.stages.decontaminate import names_kept_out
from selfexec_jax.stages.origin import runs_before
from selfexec_jax.stages.telling import words_of
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.train.losses import ADVANTAGES, NORMALISERS, OBJECTIVES

log = logging.getLogger(__name__)

_FEEDBACK = ("real", "simulated", "random")
_CHOICES = {
    "advantage": ADVANTAGES, "objective": OBJECTIVES, "normaliser": NORMALISERS, "optimizer": ("adamw", "adafactor"),
    "overlong": ("punish", "mask"), "credit": ("answer", "first_wrong"), "feedback": _FEEDBACK,
    "feedback_end": _FEEDBACK, "keep": ("last", "best"),
}  # fmt: skip
_AT_LEAST = {"staleness": 0, "updates": 1, "prompts": 1, "group_size": 1, "checkpoint_every": 1, "validate_every": 0,
             "health_window": 1, "recycled_kept": 1, "fixes": 0, "temperature": 1e-3}  # fmt: skip


def check(config) -> None:
    """What would else be found out when hours of training are over. Raises ValueError as `check_rl` does."""
    if config.rl.steps:
        check_rl(config)
    check_votes(config)
    words_of(config)
    for field in ("episodes", "candidates", "votes", "chunk_votes", "prediction_samples"):
        if config.eval[field] < 1:
            raise ValueError(f"eval.{field}={config.eval[field]}: at least 1")
    for field in ("first", "candidates", "votes", "search_votes") if config.belief.problems else ():
        if config.belief[field] < 1:
            raise ValueError(f"belief.{field}={config.belief[field]}: at least 1")
    if config.problems.n_public < 1:
        raise ValueError(f"problems.n_public={config.problems.n_public}: at least 1, or there is nothing to simulate")
    if config.eval.benchmark:
        check_benchmark(config)
    for field in () if config.eval.endpoint else ("rl", "eval"):  # a served model has room of its own
        most = config[field].max_new_tokens
        if most >= config.rollout.cache_length:
            raise ValueError(
                f"{field}.max_new_tokens={most}: an answer and its prompt share rollout.cache_length="
                f"{config.rollout.cache_length}; raise that, or lower {field}.max_new_tokens"
            )


def check_benchmark(config) -> None:
    """Raises ValueError for a benchmark that cannot be had or asked, or that this run, or one that it begins with, did
    not keep out of further training data."""
    name = config.eval.benchmark
    benchmark = benchmark_named(name)
    path = place_of(name, config.eval.benchmark_data, data_dir(config.problems.real_data))
    if benchmark.asks == "input":
        raise ValueError(f"eval.benchmark: {name} asks for inputs; choose one that asks for programs or outputs")
    if not path.exists() and (config.sft.sources or config.eval.benchmark_data or benchmark.hub is None):
        raise ValueError(f"eval.benchmark={name}: there is no {path}; put it there")
    if config.sft.sources and not _is_among(path, names_kept_out(config), config):
        raise ValueError(f"eval.benchmark_data={path}: not kept out of sft.sources; name it in problems.keep_out")
    for run, before in runs_before(config).items():
        kept = Workdir(run).facts("problems").get("kept_out")
        if before.sft.sources and kept is None:
            log.warning("init_from=%s: whether %s was kept out of its sft.sources is not known", run, path)
        elif before.sft.sources and not _is_among(path, kept, before):
            raise ValueError(f"eval.benchmark={name}: init_from={run} learned from sft.sources, but not without {path}")


def _is_among(path: Path, names: Iterable[str], config) -> bool:
    """Whether a path is one of these in the folder of real data."""
    return path.resolve() in {(data_dir(config.problems.real_data) / name).resolve() for name in names}


def check_votes(config) -> None:
    """Raises ValueError where several answers are drawn that cannot differ."""
    drawn = {"eval.votes": config.eval.votes, "eval.chunk_votes": config.eval.chunk_votes}
    if config.belief.problems:
        drawn |= {"belief.votes": config.belief.votes, "belief.search_votes": config.belief.search_votes}
    for field, votes in drawn.items():
        if votes > 1 and not config.eval.simulate_temperature:
            raise ValueError(f"{field}={votes}: greedy answers are all alike; set eval.simulate_temperature=1, say")


def check_rl(config) -> None:
    """Raises ValueError with one line that names the field and what it may be."""
    rl = config.rl
    for field, choices in _CHOICES.items():
        if rl[field] not in choices:
            raise ValueError(f"rl.{field}={rl[field]!r} is none of {', '.join(choices)}")
    for field, least in _AT_LEAST.items():
        if rl[field] < least:
            raise ValueError(f"rl.{field}={rl[field]}: at least {least}")
    if abs(sum(rl.share.values()) - 1) > 1e-6 or min(rl.share.values()) < 0:
        raise ValueError(f"rl.share={dict(rl.share)}: shares of the prompts, which add up to 1")
    if rl.group_size == 1 and rl.advantage != "batch":
        raise ValueError(f"rl.group_size=1: rl.advantage={rl.advantage} compares a group's members; take 2 or more")
    if rl.keep == "best" and not rl.validate_every:
        raise ValueError("rl.keep=best: nothing is best without rl.validate_every")
    low, high = rl.solve_rates
    if not 0 <= low <= high <= 1:
        raise ValueError(f"rl.solve_rates={tuple(rl.solve_rates)}: from a share of 0 or more to one of at most 1")
    if not 0 <= rl.recycled <= 1:
        raise ValueError(f"rl.recycled={rl.recycled}: a share, from 0 to 1")
    if not 0 <= rl.claims_share < 0.5:
        raise ValueError(f"rl.claims_share={rl.claims_share}: from 0 to below 0.5, or wrong outputs beat right ones")
    if rl.claims_share and not rl.reward_unreadable <= rl.reward_wrong < rl.reward_right:
        raise ValueError(f"rl.claims_share={rl.claims_share}: goes with rewards that are highest for right outputs and "
                         "lowest for what cannot be read, or wrong outputs beat right ones")  # fmt: skip
    for field, is_on in (("claims_share", rl.claims_share > 0), ("credit", rl.credit == "first_wrong")):
        if is_on and config.tasks.style == "direct":
            raise ValueError(f"rl.{field}={rl[field]}: tasks.style=direct tells no steps to be right or wrong in")
    if config.tasks.chunk_chars and rl.claims_share:
        raise ValueError(f"rl.claims_share={rl.claims_share}: goes with simulations that are told whole "
                         "(tasks.chunk_chars=0), as no step says that a state was carried on rightly")  # fmt: skip
    if config.tasks.chunk_chars and "simulated" in (rl.feedback, rl.feedback_end):
        raise ValueError("tasks.chunk_chars: pieces go with feedback that is not simulated")
    if config.rollout.int8_cache and not rl.importance_cap:
        raise ValueError("rollout.int8_cache: the sampler is off by its rounding; set rl.importance_cap (2, say)")
