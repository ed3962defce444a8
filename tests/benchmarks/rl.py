"""Reinforcement learning: `python -m tests.benchmarks.rl [--run DIR] [--parts PARTS] [--steps N]`.

`loop`: where the seconds of a step go, what of the rewards is waited for and what they cost in CPU, on the SFT model of
a run (`--run runs/tiny`). `update`: tokens a second of an update of RL against one of SFT on examples of the same
lengths. `torch`: a training step against the same decoder in torch, where that is installed. `memory`: a small run of
many steps. Timings are taken in turns; the run of `--run` is only read.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

jax.config.update("jax_num_cpu_devices", 2)

import numpy as np  # noqa: E402
import psutil  # noqa: E402

from selfexec_jax.configs import tiny  # noqa: E402
from selfexec_jax.model import ModelConfig, Transformer  # noqa: E402
from selfexec_jax.model.sharding import make_mesh  # noqa: E402
from selfexec_jax.rollout import Sample  # noqa: E402
from selfexec_jax.stages import problems as first  # noqa: E402
from selfexec_jax.stages import rl as stage  # noqa: E402
from selfexec_jax.stages import sft as imitation  # noqa: E402
from selfexec_jax.stages.metrics import read_metrics  # noqa: E402
from selfexec_jax.stages.workdir import Workdir, config_of  # noqa: E402
from selfexec_jax.train import sft  # noqa: E402
from selfexec_jax.train.data import Example, PackedUpdates  # noqa: E402
from selfexec_jax.train.packing import Item  # noqa: E402
from selfexec_jax.train.rollouts import Turn  # noqa: E402
from selfexec_jax.train.state import abstract_state  # noqa: E402
from selfexec_jax.train.update import make_learner, make_optimizer  # noqa: E402
from tests.benchmarks.ending import conclude, parser_of  # noqa: E402

SIZES = {
    "1M": ModelConfig(vocab_size=768, d_model=128, n_layers=4, n_heads=4, n_kv_heads=4, head_dim=32, d_ff=384),
    "5M": ModelConfig(vocab_size=768, d_model=256, n_layers=6, n_heads=8, n_kv_heads=8, head_dim=32, d_ff=768),
}
WAITING, REWARDS, UPDATE, TORCH, USEFUL = 0.05, 0.15, 0.9, 0.8, 0.9


def main() -> int:
    parser = parser_of("rl", __doc__)
    parser.add_argument("--run", default="", help="a run whose SFT model `loop` goes on from")
    parser.add_argument("--parts", default="loop,update,torch,memory", help="with commas between them")
    parser.add_argument("--steps", type=int, default=8, help="of `loop` (default 8)")
    parser.add_argument("--memory_steps", type=int, default=500, help="of `memory` (default 500)")
    parser.add_argument("--rounds", type=int, default=7, help="timings of `update` and `torch` (default 7)")
    args = parser.parse_args()
    found, missed = {}, []
    parts = args.parts.split(",")
    if "loop" in parts:
        if args.run:
            found["loop"] = loop(args.run, args.steps, missed)
        else:
            print("loop: left out; name a run with --run")
    if "update" in parts:
        found["update"] = update(args.rounds, missed)
    if "torch" in parts:
        found["torch"] = against_torch(args.rounds, missed)
    if "memory" in parts:
        found["memory"] = memory(args.memory_steps, missed)
    return conclude(args, found, missed)


@contextlib.contextmanager
def after_each_step(look: Callable[[], None]) -> Iterator[None]:
    """Looks whenever the RL stage says its line about a step."""
    say = stage.progress_line

    def noted(config, step: int, line: dict) -> str:
        look()
        return say(config, step, line)

    stage.progress_line = noted
    try:
        yield
    finally:
        stage.progress_line = say


def loop(run: str, steps: int, missed: list[str]) -> dict:
    """Seconds of a step by phase, after the first two; CPU of the sandbox beside that of the whole."""
    config = config_of(run)
    config.rl.steps, config.init_from = steps + 2, run
    seen = []

    def cpu() -> tuple[float, float]:
        me = psutil.Process()
        own = sum(me.cpu_times()[:2])
        rewards = 0.0
        for child in me.children(recursive=True):
            try:
                rewards += sum(child.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
        return own, rewards

    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(Path(run) / "data", Path(folder) / "data")
        with after_each_step(lambda: seen.append((time.monotonic(), *cpu()))):
            stage.run(config, Workdir(folder))
        lines = read_metrics(Workdir(folder))[2:]
    mean = {k: statistics.mean(line[k] for line in lines) for k in
            ("seconds", "sampling_s", "waiting_s", "updating_s", "useful_share", "sampled_tokens", "learned_tokens",
             "occupancy")}  # fmt: skip
    wall, own, rewards = np.subtract(seen[-1], seen[1])
    share = {"waiting": mean["waiting_s"] / mean["seconds"], "rewards": rewards / (own + rewards)}
    print(f"\nA step of {config.name}, mean of {len(lines)}: {mean['seconds']:.2f} s:"
          f" sampling {mean['sampling_s']:.2f}, waiting for rewards {mean['waiting_s']:.2f} ({share['waiting']:.1%}),"
          f" updating {mean['updating_s']:.2f}; rewards take {share['rewards']:.1%} of the CPU;"
          f" useful tokens {mean['useful_share']:.1%}; sampled {mean['sampled_tokens']:.0f},"
          f" learned from {mean['learned_tokens']:.0f}; slots in use {mean['occupancy']:.0%}")  # fmt: skip
    if share["waiting"] > WAITING:
        missed.append(f"{share['waiting']:.1%} of a step waits for rewards; at most {WAITING:.0%}")
    if share['rewards'] > REWARDS:
        missed.append(f"rewards take {share['rewards']:.1%} of the CPU; at most {REWARDS:.0%}")
    if mean["useful_share"] < USEFUL:
        missed.append(f"{mean['useful_share']:.1%} of the tokens are useful; at least {USEFUL:.0%}")
    return mean | share | {"wall_s": wall}


def lengths_like_tiny(n: int) -> np.ndarray:
    """(prompt, answer) lengths, about as in tiny: answers of many lengths after prompts that differ less."""
    rng = np.random.default_rng(0)
    return np.stack([rng.integers(45, 90, n), np.clip(rng.gamma(3.0, 25.0, n), 8, 160).astype(int)], 1)


def update(rounds: int, missed: list[str]) -> dict:
    """Useful tokens a second of both kinds of update, on the same model and the same lengths."""
    mesh, model, config = make_mesh(), Transformer(SIZES["1M"]), tiny.get_config()
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(2, 768, p).tolist(), rng.integers(2, 768, a).tolist()) for p, a in lengths_like_tiny(400)]

    tx = sft.make_optimizer(config.sft)
    init, _, target = abstract_state(model, tx, 0, mesh)
    step, state, knobs = sft.make_update(model, tx, target, mesh), init(), config.sft
    examples = {"x": [Example(p, a) for p, a in pairs]}
    updates = PackedUpdates(examples, {"x": 1.0}, knobs.batch_rows, knobs.row_tokens, 0, knobs.micro_batches)

    rtx = make_optimizer(config.rl)
    rinit, _, rtarget = abstract_state(model, rtx, 0, mesh)
    learner, rstate = make_learner(model, rtx, config.rl, rtarget, mesh), rinit()
    learner.warm_up(rstate.params)
    items = [
        Item(Turn(Sample(tuple(p), tuple(a), (-1.0,) * len(a), "", "stop", 0)), float(rng.choice([-0.5, 1.5])), 1e-5)
        for p, a in pairs[:200]
    ]
    used = sum(item.n_tokens for item in items)

    def imitate() -> float:
        nonlocal state
        n, began = 0, time.perf_counter()
        while n < used:  # as many tokens as the other
            parts = next(updates)
            n += sum(int((part["segments"] > 0).sum()) for part in parts)
            state, metrics = step(state, parts)
            jax.block_until_ready(metrics)
        return n / (time.perf_counter() - began)

    useful = []

    def reinforce() -> float:
        nonlocal rstate
        began = time.perf_counter()
        rstate, _, metrics = learner.update(rstate, items, None)
        useful.append(sum(m["used"] for m in metrics) / sum(m["shape"] for m in metrics))
        return used / (time.perf_counter() - began)

    imitate(), reinforce()
    times = [(imitate(), reinforce()) for _ in range(rounds)]
    a, b = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(y / x for x, y in times)
    print(f"\nUpdates, useful tokens/s: SFT {a:.0f}, RL {b:.0f} ({ratio:.2f} times; packed {useful[-1]:.1%} full)")
    if ratio < UPDATE:
        missed.append(f"an update of RL is {ratio:.2f} times as fast as one of SFT; at least {UPDATE}")
    return {"sft": a, "rl": b, "ratio": ratio, "useful": useful[-1]}


def against_torch(rounds: int, missed: list[str]) -> dict:
    """A whole AdamW step on 16 rows of 256 tokens, in turns with torch."""
    try:
        import torch
        import transformers
    except ImportError:
        print("torch: left out; it is not installed")
        return {}
    torch.set_num_threads(os.cpu_count() or 1)
    found = {}
    for name, shape in SIZES.items():
        mesh, model, config = make_mesh(), Transformer(shape), tiny.get_config()
        config.sft.optimizer = "adamw"
        tx = sft.make_optimizer(config.sft)
        init, _, target = abstract_state(model, tx, 0, mesh)
        step, state = sft.make_update(model, tx, target, mesh), init()
        tokens = np.random.default_rng(0).integers(2, shape.vocab_size, (16, 256)).astype(np.int32)
        batch = {"tokens": tokens, "positions": np.tile(np.arange(256, dtype=np.int32), (16, 1)),
                 "segments": np.ones_like(tokens), "is_answer": np.ones_like(tokens)}  # fmt: skip
        n = 16 // config.sft.micro_batches
        parts = [{name: a[i : i + n] for name, a in batch.items()} for i in range(0, 16, n)]
        theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(
            vocab_size=shape.vocab_size, hidden_size=shape.d_model, num_hidden_layers=shape.n_layers,
            num_attention_heads=shape.n_heads, num_key_value_heads=shape.n_kv_heads, head_dim=shape.head_dim,
            intermediate_size=shape.d_ff, tie_word_embeddings=True, max_position_embeddings=512,
        ))  # fmt: skip
        optimizer = torch.optim.AdamW(theirs.parameters(), 1e-4)
        ids = torch.tensor(tokens.astype(np.int64))

        def ours() -> float:
            nonlocal state
            began = time.perf_counter()
            state, metrics = step(state, parts)  # noqa: B023
            jax.block_until_ready(metrics)
            return time.perf_counter() - began

        def torchs() -> float:
            began = time.perf_counter()
            optimizer.zero_grad()  # noqa: B023
            theirs(input_ids=ids, labels=ids).loss.backward()  # noqa: B023
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)  # noqa: B023
            optimizer.step()  # noqa: B023
            return time.perf_counter() - began

        for _ in range(2):
            ours(), torchs()
        times = [(ours(), torchs()) for _ in range(rounds)]
        ratio = statistics.median(t / o for o, t in times)
        a, b = (tokens.size / statistics.median(column) for column in zip(*times, strict=True))
        print(f"\nTraining step, {name}: {a:.0f} tokens/s, torch {b:.0f} ({ratio:.2f} times)")
        if ratio < TORCH:
            missed.append(f"a training step of {name} is {ratio:.2f} times as fast as torch's; at least {TORCH}")
        found[name] = {"tokens_per_s": a, "torch": b, "ratio": ratio}
    return found


def memory(steps: int, missed: list[str]) -> dict:
    """Resident memory of a small run, from its hundredth step on."""
    config = tiny.get_config()
    config.update_from_flattened_dict({
        "problems.n_train": 60, "problems.n_heldout": 3, "problems.n_unseen": 1, "problems.real_data": "/nowhere",
        "text.vocab_size": 400, "model.d_model": 32, "model.n_layers": 1, "model.head_dim": 8, "model.d_ff": 32,
        "sft.steps": 30, "rl.steps": steps, "rl.prompts": 6, "rl.group_size": 4, "rl.problems": 24,
        "rl.long_inputs": 1, "rl.max_new_tokens": 24, "rl.checkpoint_every": 50, "rollout.slots": 24,
        "rollout.prompt_buckets": (128, 320), "rl.stop_entropy_share": 0.0, "rl.stop_length_share": 0.0,
    })  # fmt: skip
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        work = Workdir(folder)
        work.open(config)
        for module in (first, imitation):
            module.run(config, work)
        with after_each_step(lambda: seen.append(psutil.Process().memory_info().rss / 2**20)):
            stage.run(config, work)
    start = min(100, len(seen) // 2)
    growth = max(seen[-20:]) / max(seen[start : start + 20])
    print(f"\nMemory over {steps} steps: {seen[start]:.0f} MiB at step {start}, {seen[-1]:.0f} at the end"
          f" ({growth:.3f} times)")  # fmt: skip
    if growth > 1.05:
        missed.append(f"memory grows {growth:.2f} times over {steps} steps")
    return {"mib": seen, "growth": growth}


if __name__ == "__main__":
    sys.exit(main())
