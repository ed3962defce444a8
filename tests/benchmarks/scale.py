"""Scale: `python -m tests.benchmarks.scale [--parts plan,stall,hosts] [--chips 16,64,512]`.

`plan`: the least time of an SFT update of the 7B config by the number of v5p chips, at 16,384 tokens a chip, compiled
for chips that are not here (needs libtpu). `stall`: what saving checkpoints costs the training of tiny. `hosts`: a very
small run as one process with four devices and as two with two each, in turns: what talking to each other costs a step.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.ending import conclude, parser_of

ROOT = Path(__file__).resolve().parents[2]
EFFICIENCY, STALL = 0.9, 0.02
FSDP = {128: 32}  # else as many as there are, 64 at most: whole sides of the torus
ROW, ROWS = 8192, 2  # tokens a row, rows a chip


def main() -> int:
    parser = parser_of("scale", __doc__)
    parser.add_argument("--parts", default="plan,stall,hosts", help="with commas between them")
    parser.add_argument("--chips", default="16,32,64,128,256,512", help="of `plan`")
    parser.add_argument("--rounds", type=int, default=3, help="of `hosts` (default 3)")
    args = parser.parse_args()
    found, missed = {}, []
    if "plan" in args.parts:
        found["plan"] = plan([int(n) for n in args.chips.split(",")], missed)
    if "stall" in args.parts:
        found["stall"] = stall(missed)
    if "hosts" in args.parts:
        found["hosts"] = hosts(args.rounds)
    return conclude(args, found, missed)


def plan(chips: list[int], missed: list[str]) -> list[dict]:
    """Least seconds of an update, and what they are made of."""
    rows = []
    print("\n| chips | update, s | products | kernel | other | exposed collectives | busiest link | efficiency |")
    print("|" + 8 * "---|")
    for n in chips:
        fields = {
            "model.attention": "splash", "rl.steps": 0, "mesh.fsdp": FSDP.get(n, min(n, 64)), "mesh.context": 1,
            "mesh.tensor": 1,
            "sft.row_tokens": ROW, "sft.short_row_tokens": 0, "sft.batch_rows": ROWS * n, "sft.micro_batches": 1,
            "rollout.tensor": 1,
        }  # fmt: skip
        command = [sys.executable, "-m", "selfexec_jax.tools.plan", "--config=configs/qwen2p5_7b.py", "--json",
                   f"--topology=v5p-{2 * n}"]  # fmt: skip
        command += [f"--set={name}={value}" for name, value in fields.items()]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise RuntimeError(done.stderr[-2000:])
        phase = next(p for p in json.loads(done.stdout)["phases"] if p["name"] == "SFT")
        parts = {key: sum(p["runs"] * p[key] for p in phase["programs"])
                 for key in ("compute_s", "kernels_s", "busy_s", "exposed_s", "network_s")}  # fmt: skip
        row = {"chips": n, "seconds": phase["seconds"], "mfu": phase["mfu"]} | parts
        row["efficiency"] = (rows[0]["seconds"] if rows else row["seconds"]) / row["seconds"]
        rows.append(row)
        print(f"| {n} | {row['seconds']:.3f} | {row['compute_s']:.3f} | {row['kernels_s']:.3f} |"
              f" {row['busy_s'] - row['compute_s']:.3f} | {row['exposed_s']:.3f} | {row['network_s']:.3f} |"
              f" {row['efficiency']:.1%} |", flush=True)  # fmt: skip
    if rows[-1]["efficiency"] < EFFICIENCY:
        missed.append(f"{rows[-1]['chips']} chips are {rows[-1]['efficiency']:.1%} as efficient as {rows[0]['chips']}")
    return rows


def stall(missed: list[str]) -> dict:
    """Seconds that a save holds up training, of a state like tiny's, while the next steps run."""
    import jax

    jax.config.update("jax_num_cpu_devices", 2)
    import numpy as np

    from selfexec_jax.configs import tiny
    from selfexec_jax.model import Transformer
    from selfexec_jax.model.sharding import make_mesh
    from selfexec_jax.train import sft
    from selfexec_jax.train.checkpoint import Checkpoints
    from selfexec_jax.train.state import abstract_state, model_config

    config, mesh = tiny.get_config(), make_mesh()
    model, tx, rows = Transformer(model_config(config, 768)), sft.make_optimizer(config.sft), config.sft.batch_rows
    init, _, target = abstract_state(model, tx, 0, mesh)
    state, update = init(), sft.make_update(model, tx, target, mesh)
    tokens = np.random.default_rng(0).integers(2, 700, (rows // 2, config.sft.row_tokens)).astype(np.int32)
    part = {"tokens": tokens, "positions": np.tile(np.arange(tokens.shape[1], dtype=np.int32), (len(tokens), 1)),
            "segments": np.ones_like(tokens), "is_answer": np.ones_like(tokens)}  # fmt: skip

    def step() -> float:
        nonlocal state
        began = time.perf_counter()
        state, metrics = update(state, [part, part])
        jax.block_until_ready(metrics)
        return time.perf_counter() - began

    saves, after, without = [], [], []
    with tempfile.TemporaryDirectory() as folder, Checkpoints(folder) as checkpoints:
        for _ in range(3):
            step()
        for i in range(6):
            without.append(statistics.mean(step() for _ in range(5)))
            began = time.perf_counter()
            checkpoints.save(i, state, {})
            saves.append(time.perf_counter() - began)
            after.append(statistics.mean(step() for _ in range(5)))
    a_step = statistics.median(without)
    extra = statistics.median(saves[1:]) + 5 * max(statistics.median(after[1:]) - a_step, 0.0)
    every = config.sft.checkpoint_every
    share = extra / (every * a_step)
    print(f"\nA checkpoint: {statistics.median(saves[1:]):.3f} s until training goes on, {extra:.3f} s in all, beside"
          f" steps of {a_step:.3f} s; every {every} steps it is {share:.2%} of the time")  # fmt: skip
    if share > STALL:
        missed.append(f"checkpoints take {share:.1%} of the time; at most {STALL:.0%}")
    return {"save_s": saves, "step_s": a_step, "extra_s": extra, "share": share}


def hosts(rounds: int) -> dict:
    """Seconds of the twenty updates of tests/hosts/host.py, after the first five, and of its steps of RL."""
    found: dict[str, dict[int, list[float]]] = {what: {1: [], 2: []} for what in ("sft", "rl")}
    for _ in range(rounds):
        for what, times in found.items():
            for n in times:
                times[n].append(_seconds(what, n))
    ratios = {what: statistics.median(b / a for a, b in zip(times[1], times[2], strict=True))
              for what, times in found.items()}  # fmt: skip
    for what, times in found.items():
        one, two = (statistics.median(times[n]) for n in times)
        print(f"\n{what}: {one:.3f} s a step as one process, {two:.3f} s as two ({ratios[what]:.2f} times)")
    return {"seconds": found, "ratio": ratios}


def _seconds(what: str, n: int) -> float:
    from tests.hosts.test_hosts import free_port

    with tempfile.TemporaryDirectory() as folder:
        address = f"127.0.0.1:{free_port()}"
        command = [sys.executable, "-m", "tests.hosts.host", what]
        runs = [
            subprocess.Popen([*command, str(i), str(n), str(4 // n), address, folder], cwd=ROOT, text=True,
                             env=os.environ | {"JAX_PLATFORMS": "cpu"}, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
            for i in range(n)
        ]  # fmt: skip
        out, _ = runs[0].communicate()
        for run in runs[1:]:
            run.communicate()
    times = [json.loads(line)["time"] for line in out.splitlines() if line.startswith("{")]
    return (times[-1] - times[5]) / (len(times) - 6)


if __name__ == "__main__":
    sys.exit(main())
