"""The rollout engine: `python -m tests.benchmarks.engine [--parts PARTS] [--tunix PYTHON] [--plot FILE]`.

Tokens a second against `transformers` generate on the CPU, and against the sampler of google-tunix where --tunix names
an interpreter that has it: same weights, same prompts, same lengths, in turns. What share of a decoding step are the
matrix products and cache reads alone; what refilling is worth on mixed lengths; what samples of one prompt cost to
prefill. Random weights; no sequence ends early.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from selfexec_jax.model import ModelConfig, Transformer, hf
from selfexec_jax.model.transformer import init_params
from selfexec_jax.rollout import Engine, Request
from selfexec_jax.rollout.types import Counts
from selfexec_jax.rollout.waiting import Sequence
from tests.benchmarks.ending import conclude, parser_of

SIZES = {
    "1M": ModelConfig(vocab_size=768, d_model=128, n_layers=4, n_heads=4, n_kv_heads=4, head_dim=32, d_ff=384),
    "100M": ModelConfig(vocab_size=8192, d_model=768, n_layers=12, n_heads=12, n_kv_heads=12, head_dim=64, d_ff=2048),
}
AT_ONCE = (1, 8, 32, 64)
PROMPT, NEW = 32, 96  # tokens
TARGETS = {"1M": 2.0, "100M": 1.5}  # times transformers at 32 and 64 sequences
TUNIX = 1.5  # times its sampler there


class NoEnd:
    """A tokenizer of a model that never ends by itself."""

    pad_id, end_id = 0, -1

    def decode(self, ids) -> str:
        return ""


def prompts(n: int, length: int, vocab: int, seed: int = 0) -> list[tuple[int, ...]]:
    return [tuple(row) for row in np.random.default_rng(seed).integers(2, vocab, (n, length)).tolist()]


def random_model(size: str) -> tuple[Transformer, dict]:
    model = Transformer(SIZES[size])
    return model, jax.jit(lambda: init_params(model, jax.random.key(0)))()


def engine_of(size: str, model: Transformer, params: dict, n: int, buckets: tuple[int, ...]) -> Engine:
    """Small weights: each device has slots of its own. Large ones are shared, so that each is read once a step."""
    devices = jax.local_devices()[:n] if size == "1M" else jax.local_devices()
    engine = Engine(
        model, NoEnd(), slots=n, cache_length=PROMPT + NEW, prompt_buckets=buckets, prefill_tokens=PROMPT * n,
        steps_per_dispatch=32, tensor=1 if size == "1M" else len(devices), devices=devices,
    )  # fmt: skip
    return engine.load(params, 0)


def timed(way) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


@contextlib.contextmanager
def tunix(python: str | None, folder: str):
    """Seconds that google-tunix's sampler takes for prompts, as a function; None without an interpreter."""
    if python is None:
        yield None
        return
    script = Path(__file__).with_name("tunix_sampler.py")
    with subprocess.Popen(
        [python, str(script), folder, str(PROMPT), str(NEW)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    ) as process:  # fmt: skip

        def seconds(given: list[tuple[int, ...]]) -> float:
            process.stdin.write(json.dumps(given) + "\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        yield seconds
        process.stdin.close()


def speed(size: str, rounds: int, python: str | None) -> list[dict]:
    """All in turns at each number of sequences at once."""
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model, params = random_model(size)
        hf.save(folder, model, params)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        with tunix(python, folder) as sampler:
            for n in AT_ONCE:
                engine = engine_of(size, model, params, n, (PROMPT, 64, 96))
                given = [(2, *row[1:]) for row in prompts(n, PROMPT, model.cfg.vocab_size)]  # tunix begins with 2
                asked = [Request(prompt, max_new_tokens=NEW, seed=i) for i, prompt in enumerate(given)]
                tokens = torch.tensor(given)
                how = {"do_sample": True, "top_k": 0, "max_new_tokens": NEW, "min_new_tokens": NEW, "pad_token_id": 0,
                       "eos_token_id": None}  # fmt: skip

                def generate(tokens=tokens, how=how):
                    with torch.no_grad():
                        theirs.generate(tokens, attention_mask=torch.ones_like(tokens), **how)

                ways = {"ours": lambda engine=engine, asked=asked: timed(lambda: engine.generate(asked)),
                        "transformers": lambda generate=generate: timed(generate)}  # fmt: skip
                if sampler:
                    ways["tunix"] = lambda given=given: sampler(given)
                for way in ways.values():
                    way()  # compiles, warms up
                seconds = {name: [] for name in ways}
                for _, (name, way) in itertools.product(range(rounds), ways.items()):
                    if name == "ours":  # no prompt is known from the round before
                        jax.block_until_ready([lane.params for lane in engine.load(params, 0).lanes])
                    seconds[name].append(way())
                each = {name: n * NEW / statistics.median(found) for name, found in seconds.items()}
                ratios = {f"over {name}": each["ours"] / rate for name, rate in each.items() if name != "ours"}
                rows.append({"size": size, "sequences": n, **each, **ratios})
    return rows


def floor(rounds: int) -> dict:
    """Milliseconds of a decoding step of 64 sequences at 100M, and of its matrix products and cache reads alone."""
    n, steps = 64, 16
    (lane,), cfg = engine_of("100M", *random_model("100M"), n, (PROMPT,)).lanes, SIZES["100M"]
    K, H = cfg.n_kv_heads, cfg.head_dim
    product = lambda w, x_BxI: jax.lax.optimization_barrier(  # noqa: E731
        jax.lax.dot_general(w, x_BxI, (((1,), (1,)), ((), ())))
    ).T

    @jax.jit
    def stripped(params: dict, cache: list[dict], x_BxD: jax.Array) -> jax.Array:
        def step(x_BxD: jax.Array, _) -> tuple[jax.Array, jax.Array]:
            for i, entry in enumerate(cache):
                q, k, v = (product(params[name][i], x_BxD) for name in "qkv")
                scores = jnp.einsum("bkqh,bksh->bkqs", q.reshape(n, K, -1, H), entry["k"])
                read = jnp.einsum("bkqs,bksh->bkqh", scores, entry["v"]).reshape(n, -1)
                x_BxD = product(params["o"][i], read + k + v)
                x_BxD = product(params["down"][i], product(params["gate"][i], x_BxD) + product(params["up"][i], x_BxD))
            return x_BxD, product(params["embed"], x_BxD).max(axis=1)

        return jax.lax.scan(step, x_BxD, None, length=steps)[1]

    given = prompts(n, PROMPT, cfg.vocab_size)
    seconds = {"step": [], "floor": []}
    with jax.set_mesh(lane.mesh):
        x_BxD = jnp.zeros((n, cfg.d_model))
        for i in range(rounds + 1):
            sequences = [Sequence(Request(prompt, max_new_tokens=NEW), j, 0) for j, prompt in enumerate(given)]
            lane.place(sequences, PROMPT, 0)
            for _ in range(3):
                jax.block_until_ready((lane.caches, lane.slots))
                taken = timed(lambda: (lane.start(steps, n, -1), lane.finish()))
                alone = timed(lambda: jax.block_until_ready(stripped(lane.params, lane.caches[0], x_BxD)))
                if i:
                    seconds["step"].append(taken / steps * 1e3)
                    seconds["floor"].append(alone / steps * 1e3)
            lane.clear()
    found = {f"{name}_ms": statistics.median(each) for name, each in seconds.items()}
    return found | {"share": found["floor_ms"] / found["step_ms"]}


def mixed(rounds: int) -> dict:
    """512 requests of geometric lengths over 64 slots: refilled, and in batches that wait for their longest."""
    model, params = random_model("1M")
    engine = Engine(
        model, NoEnd(), slots=64, cache_length=560, prompt_buckets=(32, 64, 128, 256, 384), prefill_tokens=128
    ).load(params, 0)
    lengths = np.clip(np.random.default_rng(0).geometric(1 / 128, 512), 16, 512)
    asked = [Request(prompt, max_new_tokens=int(length), seed=i)
             for i, (prompt, length) in enumerate(zip(prompts(512, 32, 768), lengths, strict=True))]  # fmt: skip
    batches = [asked[i : i + 64] for i in range(0, 512, 64)]
    ways = {"refilled": lambda: engine.generate(asked), "in batches": lambda: [engine.generate(b) for b in batches]}
    seconds, occupancy = {name: [] for name in ways}, {}
    for i, (name, way) in itertools.product(range(rounds + 1), ways.items()):
        engine.counts = Counts()
        taken = timed(way)
        if i:  # the first compiles
            seconds[name].append(taken)
        occupancy[name] = engine.counts.occupancy
    each = {name: float(lengths.sum()) / statistics.median(found) for name, found in seconds.items()}
    return {**each, "ratio": each["refilled"] / each["in batches"], "occupancy": occupancy["refilled"]}


def shared_prompt(rounds: int) -> dict:
    """Seconds to the first token of 1 and of 8 samples of a prompt of 512 tokens."""
    model, params = random_model("1M")
    engine = Engine(
        model, NoEnd(), slots=8, cache_length=640, prompt_buckets=(512,), prefill_tokens=512, steps_per_dispatch=1,
        devices=jax.local_devices()[:1],
    ).load(params, 0)  # fmt: skip
    given = iter(prompts(2 * (rounds + 1), 512, 768))  # a prompt is not prefilled twice
    seconds: dict[int, list[float]] = {1: [], 8: []}
    for i, n in itertools.product(range(rounds + 1), seconds):
        asked = [Request(next(given), n=n, max_new_tokens=1)]
        taken = timed(lambda asked=asked: engine.generate(asked))
        if i:
            seconds[n].append(taken)
    one, eight = (statistics.median(found) for found in seconds.values())
    return {"one_s": one, "eight_s": eight, "ratio": eight / one}


def draw(found: dict, names: list[str], file: str) -> None:
    """Tokens a second against sequences at once, a panel a size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sizes = [size for size in SIZES if size in found]
    figure, panels = plt.subplots(1, len(sizes), figsize=(4.2 * len(sizes), 3.2), squeeze=False)
    for panel, size in zip(panels[0], sizes, strict=True):
        for name, mark in zip(("ours", *names), "osD", strict=False):
            rows = found[size]
            panel.plot([r["sequences"] for r in rows], [r[name] for r in rows], marker=mark, label=name)
        panel.set(xscale="log", yscale="log", title=f"{size} parameters", xlabel="sequences at once",
                  ylabel="tokens a second")  # fmt: skip
        panel.set_xticks(AT_ONCE, AT_ONCE)
        low, high = panel.get_ylim()
        ticks = [m * 10**e for e in range(6) for m in (1, 2, 5) if low <= m * 10**e <= high]
        panel.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
        panel.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main(argv=None) -> int:
    parser = parser_of("engine", __doc__)
    parser.add_argument("--parts", default="1M,100M,floor,mixed,prompt", help="what is measured (default all)")
    parser.add_argument("--tunix", metavar="PYTHON", help="an interpreter that has google-tunix")
    parser.add_argument("--plot", metavar="FILE", help="draw the speeds")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    args = parser.parse_args(argv)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", os.cpu_count())
    parts, found, missed = args.parts.split(","), {}, []
    names = ["transformers", *(["tunix"] if args.tunix else [])]
    print("| parameters | sequences | ours, tokens/s |", *(f"{name} | ratio |" for name in names))
    print("|---|---|---|" + "---|---|" * len(names))
    for size in (s for s in SIZES if s in parts):
        found[size] = speed(size, args.rounds, args.tunix)
        for row in found[size]:
            others = [f"{row[name]:,.0f} | {row[f'over {name}']:.2f} |" for name in names]
            print(f"| {size} | {row['sequences']} | {row['ours']:,.0f} |", *others, flush=True)
            wanted = {"transformers": TARGETS[size], "tunix": TUNIX} if row["sequences"] >= 32 else {}
            missed += [
                f"{size}, {row['sequences']} sequences: {row[f'over {name}']:.2f} times {name}, not {wanted[name]}"
                for name in names if name in wanted and row[f"over {name}"] < wanted[name]
            ]  # fmt: skip
    if args.plot:
        draw(found, names, args.plot)
    if "floor" in parts:
        found["floor"] = floor(args.rounds)
        print("a step and its floor:", {name: round(value, 2) for name, value in found["floor"].items()})
        if found["floor"]["share"] < 0.7:
            missed.append(f"share of the floor: {found['floor']['share']:.2f}, not 0.7")
    if "mixed" in parts:
        found["mixed"] = mixed(args.rounds)
        print("mixed lengths:", {name: round(value, 2) for name, value in found["mixed"].items()})
        if found["mixed"]["ratio"] < 1.7:
            missed.append(f"mixed lengths: {found['mixed']['ratio']:.2f} times batches, not 1.7")
        if found["mixed"]["occupancy"] < 0.9:
            missed.append(f"occupancy: {found['mixed']['occupancy']:.2f}, not 0.9")
    if "prompt" in parts:
        found["prompt"] = shared_prompt(args.rounds)
        print("a shared prompt:", {name: round(value, 4) for name, value in found["prompt"].items()})
        if found["prompt"]["ratio"] > 1.3:
            missed.append(f"a shared prompt: {found['prompt']['ratio']:.2f}, not 1.3")
    return conclude(args, found, missed)


if __name__ == "__main__":
    sys.exit(main())
