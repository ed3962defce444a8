"""The tool from end to end: small decoders compiled for slices that are not there."""

import json
import subprocess
import sys

import pytest

from tests.compiling import needs_libtpu

CONFIG = """
from selfexec_jax.configs import base

def get_config(arg=None):
    c = base.get_config()
    c.model.update({"d_model": 512, "n_layers": 4, "n_heads": 8, "n_kv_heads": 4, "head_dim": 128, "d_ff": 2048,
                    "attention": "splash", "scan_layers": True, "remat": "layer", "vocab_chunk": 4096,
                    "compute_dtype": "bfloat16"})
    c.text.vocab_size = 32_000
    c.mesh.update({"cpu_devices": 0, "fsdp": 4, "tensor": 2})
    c.sft.update({"row_tokens": 2048, "batch_rows": 8, "steps": 100})
    c.rl.update({"row_tokens": 2048, "short_row_tokens": 512, "micro_tokens": 16_384, "steps": 10})
    c.rollout.update({"tensor": 2, "cache_length": 2048, "prompt_buckets": (512, 1024), "slots": 512})
    return c
"""
N = 4 * (512 * 24 * 128 + 3 * 512 * 2048) + 32_000 * 512  # parameters in products


def plan(tmp_path, *args):
    path = tmp_path / "config.py"
    path.write_text(CONFIG)
    command = [sys.executable, "-m", "selfexec_jax.tools.plan", f"--config={path}", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


@needs_libtpu
@pytest.mark.timeout(900)
def test_a_plan_adds_up(tmp_path):
    done = plan(tmp_path, "--topology=v5e-8", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert (found["topology"], found["chips"], found["fits"], found["matrix_parameters"]) == ("v5e:2x4", 8, True, N)
    phases = {phase["name"]: phase for phase in found["phases"]}
    assert list(phases) == ["SFT", "RL update", "RL sampling", "evaluation"]
    # Float32 parameters and two moments, but for keys and values all divided over the 8 chips; those over 4.
    kept, of_kv = phases["SFT"]["kept"], 4 * 512 * 2 * 4 * 128
    assert kept["parameters"] == pytest.approx(4 * ((N - of_kv) / 8 + of_kv / 4), rel=0.01)
    assert kept["optimizer"] == pytest.approx(2 * kept["parameters"], rel=0.01)
    sampler = phases["RL sampling"]["kept"]
    assert sampler["weights of the sampler"] == pytest.approx(2 * N / 2, rel=0.01)  # bfloat16, over 2 chips
    assert sampler["cache"] == 2 * 4 * (512 // 4) * 4 * 128 * 2048 * 2 / 2  # 4 lanes a host of 8 chips
    programs = {p["name"]: p for phase in phases.values() for p in phase["programs"]}
    # Products of a step: forward, again, and twice backward; what the compiler makes of them may add some.
    step, tokens = programs["SFT micro-batch, rows of 2048"], 8 * 2048
    assert 0.95 < step["flops"] * 8 / (8 * N * tokens) < 1.1  # a layer's last product is not needed again
    assert 0.05 < phases["SFT"]["mfu"] < 0.75
    assert step["seconds"] >= max(step["busy_s"], step["network_s"]) + step["kernels_s"]
    # Of the tokens of an update 0.1 are in long rows.
    long, short = (programs[f"RL micro-batch, rows of {n}"]["runs"] for n in (2048, 512))
    learned = 32 * 8 * (1024 + 2048)
    assert (long, short) == pytest.approx((0.1 * learned / 16_384, 0.9 * learned / 16_384))
    # A step of decoding reads weights and cache once.
    reads = sampler["weights of the sampler"] + sampler["cache"]
    assert 0.8 < programs["decoding, a token a slot"]["memory_bytes"] / reads < 1.3
    assert phases["SFT"]["chip_hours"] == pytest.approx(phases["SFT"]["seconds"] * 100 * 8 / 3600)
    assert "rewards and the sandbox" in found["not_modelled"]


@needs_libtpu
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "slots, words",
    [(7424, ["DOES NOT FIT: evaluation is ", "lower rollout.slots"]),
     (16_384, ["DOES NOT FIT: decoding, a token a slot takes ", "take more chips"])],
)  # fmt: skip
def test_what_does_not_fit_says_by_how_much_and_what_to_change(tmp_path, slots, words):
    full = ["--set", f"rollout.slots={slots}", "--set", "sft.steps=0", "--set", "rl.steps=0"]
    done = plan(tmp_path, "--topology=v5e:2x4", *full)
    assert done.returncode == 1, done.stderr[-3000:]
    assert all(word in done.stdout for word in words)


@pytest.mark.parametrize(
    "args, words",
    [(["--topology=v5p-100"], "--topology=v5p-100: no such slice"),
     (["--topology=v5e-8", "--set", "sft.nothing=3"], "nothing"),
     (["--topology=v5e-8", "--set", "plan.shape=gpt", "--set", "mesh.fsdp=4"], "plan.shape='gpt' is none of"),
     (["--topology=v5e-8", "--set", "mesh.fsdp=3"], "mesh.fsdp=3"),
     (["--topology=v5e-64", "--set", "mesh.fsdp=8"], "rollout.tensor=2: v5e chips of several hosts")],
)  # fmt: skip
def test_bad_input_is_one_line(tmp_path, args, words):
    done = plan(tmp_path, *args)
    if "libtpu" in done.stderr:
        pytest.skip("pip install libtpu")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and words in done.stderr
