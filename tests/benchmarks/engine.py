"""The rollout engine: `python -m tests.benchmarks.engine [--parts PARTS] [--rounds N] [--json FILE] [--check]`.

Tokens a second against `transformers` generate on the CPU, same weights, same prompts, same lengths, in turns; what
refilling is worth on mixed lengths; what samples of one prompt cost to prefill. Random weights; no sequence ends early.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from selfexec_jax.model import ModelConfig, Transformer, hf
from selfexec_jax.model.transformer import init_params
from selfexec_jax.rollout import Engine, Request
from selfexec_jax.rollout.types import Counts
from tests.benchmarks.ending import conclude, parser_of

SIZES = {
    "1M": ModelConfig(vocab_size=768, d_model=128, n_layers=4, n_heads=4, n_kv_heads=4, head_dim=32, d_ff=384),
    "100M": ModelConfig(vocab_size=8192, d_model=768, n_layers=12, n_heads=12, n_kv_heads=12, head_dim=64, d_ff=2048),
}
AT_ONCE = (1, 8, 32, 64)
PROMPT, NEW = 32, 96  # tokens
TARGETS = {"1M": 2.0, "100M": 1.5}  # at 32 and 64 sequences


class NoEnd:
    """A tokenizer of a model that never ends by itself."""

    pad_id, end_id = 0, -1

    def decode(self, ids) -> str:
        return ""


def prompts(n: int, length: int, vocab: int, seed: int = 0) -> list[tuple[int, ...]]:
    return [tuple(row) for row in np.random.default_rng(seed).integers(2, vocab, (n, length)).tolist()]


def speed(size: str, rounds: int) -> list[dict]:
    """Both in turns at each number of sequences at once."""
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count())
    model = Transformer(SIZES[size])
    params = jax.jit(lambda: init_params(model, jax.random.key(0)))()
    with tempfile.TemporaryDirectory() as folder:
        hf.save(folder, model, params)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    for n in AT_ONCE:
        # Small weights: a device has slots of its own. Large ones are shared, so that each is read once a step.
        devices = jax.local_devices()[:n] if size == "1M" else jax.local_devices()
        engine = Engine(
            model, NoEnd(), slots=n, cache_length=PROMPT + NEW, prompt_buckets=(PROMPT, 64, 96),
            prefill_tokens=PROMPT * n, tensor=1 if size == "1M" else len(devices), devices=devices,
        ).load(params, 0)  # fmt: skip
        given = prompts(n, PROMPT, model.cfg.vocab_size)
        asked = [Request(prompt, max_new_tokens=NEW, seed=i) for i, prompt in enumerate(given)]
        tokens = torch.tensor(given)
        how = {"do_sample": True, "top_k": 0, "max_new_tokens": NEW, "min_new_tokens": NEW, "pad_token_id": 0,
               "eos_token_id": None}  # fmt: skip

        def generate(tokens=tokens, how=how):
            with torch.no_grad():
                theirs.generate(tokens, attention_mask=torch.ones_like(tokens), **how)

        ways = {"ours": lambda engine=engine, asked=asked: engine.generate(asked), "theirs": generate}
        for way in ways.values():
            way()  # compiles, warms up
        seconds = {name: [] for name in ways}
        for _, (name, way) in itertools.product(range(rounds), ways.items()):
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
        each = {name: n * NEW / statistics.median(found) for name, found in seconds.items()}
        rows.append({"size": size, "sequences": n, **each, "ratio": each["ours"] / each["theirs"]})
    return rows


def mixed(rounds: int) -> dict:
    """512 requests of geometric lengths over 64 slots: refilled, and in batches that wait for their longest."""
    model = Transformer(SIZES["1M"])
    params = jax.jit(lambda: init_params(model, jax.random.key(0)))()
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
        began = time.perf_counter()
        way()
        if i:  # the first compiles
            seconds[name].append(time.perf_counter() - began)
        occupancy[name] = engine.counts.occupancy
    each = {name: float(lengths.sum()) / statistics.median(found) for name, found in seconds.items()}
    return {**each, "ratio": each["refilled"] / each["in batches"], "occupancy": occupancy["refilled"]}


def shared_prompt(rounds: int) -> dict:
    """Seconds to the first token of 1 and of 8 samples of a prompt of 512 tokens."""
    model = Transformer(SIZES["1M"])
    params = jax.jit(lambda: init_params(model, jax.random.key(0)))()
    engine = Engine(
        model, NoEnd(), slots=8, cache_length=640, prompt_buckets=(512,), prefill_tokens=512, steps_per_dispatch=1,
        devices=jax.local_devices()[:1],
    ).load(params, 0)  # fmt: skip
    given = iter(prompts(2 * (rounds + 1), 512, 768))  # a prompt is not prefilled twice
    seconds: dict[int, list[float]] = {1: [], 8: []}
    for i, n in itertools.product(range(rounds + 1), seconds):
        began = time.perf_counter()
        engine.generate([Request(next(given), n=n, max_new_tokens=1)])
        jax.block_until_ready(jnp.zeros(1))
        if i:
            seconds[n].append(time.perf_counter() - began)
    one, eight = (statistics.median(found) for found in seconds.values())
    return {"one_s": one, "eight_s": eight, "ratio": eight / one}


def main(argv=None) -> int:
    parser = parser_of("engine", __doc__)
    parser.add_argument("--parts", default="1M,100M,mixed,prompt", help="what is measured (default all)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    args = parser.parse_args(argv)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", os.cpu_count())
    parts, found, missed = args.parts.split(","), {}, []
    print("| parameters | sequences | ours, tokens/s | transformers, tokens/s | ratio |\n|---|---|---|---|---|")
    for size in (s for s in SIZES if s in parts):
        found[size] = speed(size, args.rounds)
        for row in found[size]:
            print(f"| {size} | {row['sequences']} | {row['ours']:,.0f} | {row['theirs']:,.0f} | {row['ratio']:.2f} |")
            if row["sequences"] >= 32 and row["ratio"] < TARGETS[size]:
                missed.append(f"{size}, {row['sequences']} sequences: {row['ratio']:.2f}, not {TARGETS[size]}")
    if "mixed" in parts:
        found["mixed"] = mixed(args.rounds)
        print("mixed lengths:", {name: round(value, 2) for name, value in found["mixed"].items()})
        if found["mixed"]["ratio"] < 1.7:
            missed.append(f"mixed lengths: {found['mixed']['ratio']:.2f} times batches, not 1.7")
    if "prompt" in parts:
        found["prompt"] = shared_prompt(args.rounds)
        print("a shared prompt:", {name: round(value, 4) for name, value in found["prompt"].items()})
        if found["prompt"]["ratio"] > 1.3:
            missed.append(f"a shared prompt: {found['prompt']['ratio']:.2f}, not 1.3")
    return conclude(args, found, missed)


if __name__ == "__main__":
    sys.exit(main())
