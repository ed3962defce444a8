"""The whole pipe on imported checkpoints: every stage runs, resumes and exports. Random weights learn nothing."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from test_pipeline import run

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import vocabularies  # noqa: E402
from families import FAMILIES, miniature  # noqa: E402

SMALL = [
    "--config=configs/qwen2p5_7b.py", "--config.problems.n_train=24", "--config.problems.n_heldout=3",
    "--config.problems.n_unseen=2", "--config.problems.real_data=/nowhere", "--config.sandbox.workers=2",
    "--config.mesh.cpu_devices=2", "--config.mesh.fsdp=2", "--config.mesh.context=1",
    "--config.model.attention=xla", "--config.model.vocab_chunk=100",
    "--config.model.query_block=128", "--config.model.compute_dtype=float32", "--config.model.rope_scale=1.0",
    "--config.sft.steps=3", "--config.sft.batch_rows=4", "--config.sft.micro_batches=2", "--config.sft.row_tokens=1024",
    "--config.sft.short_row_tokens=512",
    "--config.sft.checkpoint_every=1", "--config.sft.log_every=1", "--config.rl.steps=2", "--config.rl.prompts=4",
    "--config.rl.group_size=2", "--config.rl.problems=3", "--config.rl.own_programs=1",
    "--config.rl.max_new_tokens=24", "--config.rl.row_tokens=1024", "--config.rl.micro_tokens=2048",
    "--config.rl.validate_every=1", "--config.rl.validation_prompts=2", "--config.rl.checkpoint_every=1",
    "--config.rollout.slots=8", "--config.rollout.cache_length=1024",
    "--config.rollout.prompt_buckets=(512,)", "--config.rollout.prefill_tokens=2048",
    "--config.rollout.steps_per_dispatch=8", "--config.rollout.tensor=2", "--config.rollout.short_slots=((4,768),)",
    "--config.eval.candidates=2", "--config.eval.votes=1",
    "--config.eval.max_new_tokens=24", "--config.eval.max_fixes=1", "--config.eval.bootstrap=100",
]  # fmt: skip
TOKENIZERS = {"qwen2": "qwen", "qwen3": "qwen", "llama": "llama", "cwm": "llama", "gemma2": "gemma",
              "gemma3_text": "gemma"}  # fmt: skip


def checkpoint(folder, family):
    """A miniature in a folder, with a tokenizer and chat template as its family has them."""
    folder.mkdir()
    vocabularies.save_byte_pairs(folder, TOKENIZERS[family], ["for i in range(10): total += i\nprint(total)\n"] * 50)
    miniature(family, vocab_size=700, num_hidden_layers=3, **layers_of(family)).save_pretrained(folder)
    return folder


def layers_of(family):
    kinds = FAMILIES[family][1].get("layer_types")
    return {"layer_types": kinds[:3]} if kinds else {}


def taken_home(start, workdir, out):
    """The export of a run loads in transformers, differs from where the run began, and speaks as it did."""
    command = [sys.executable, "-m", "selfexec_jax.tools.convert", "--from", workdir, "--to", out, "--json"]
    done = subprocess.run([*command, "--dtype", "float32"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["stage"] == "rl"
    before, after = (transformers.AutoModelForCausalLM.from_pretrained(folder).float() for folder in (start, out))
    assert after.config.model_type == before.config.model_type
    moved = [
        float((a - b).detach().abs().max())
        for (_, a), (_, b) in zip(before.named_parameters(), after.named_parameters(), strict=True)
    ]
    assert 0 < max(moved) < 0.01 and np.isfinite(moved).all()
    chat = [{"role": "user", "content": "run\nprint(1)"}]
    said = [transformers.AutoTokenizer.from_pretrained(folder).apply_chat_template(chat, add_generation_prompt=True)
            for folder in (start, out)]  # fmt: skip
    assert said[0] == said[1]


@pytest.mark.parametrize(
    "family", ["qwen3", *(pytest.param(name, marks=pytest.mark.long) for name in TOKENIZERS if name != "qwen3")]
)
def test_every_stage_runs_and_exports(tmp_path, family):
    start = checkpoint(tmp_path / "start", family)
    workdir = tmp_path / "run"
    run(workdir, config=[*SMALL, f"--config.init_from={start}"])
    report = json.loads((workdir / "report.json").read_text())
    assert report["results"]["pass_at_1"]["n"] == 3 and "output_prediction_rl" in report["results"]
    assert not (workdir / "data" / "tokenizer.model").exists()
    taken_home(start, workdir, tmp_path / "out")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_adapters_resuming_and_runs_that_begin_with_runs(tmp_path):
    start = checkpoint(tmp_path / "start", "qwen3")
    flags = [*SMALL, f"--config.init_from={start}", "--config.model.lora_rank=2", "--config.sft.optimizer=adafactor",
             "--config.rl.optimizer=adafactor"]  # fmt: skip
    workdir, out = tmp_path / "run", tmp_path / "out"
    run(workdir, "--config.stages=problems,sft", config=flags)
    # A stage that was cut off goes on from its last checkpoint.
    (workdir / "done" / "sft.json").unlink()
    shutil.rmtree(workdir / "checkpoints" / "sft" / "3")
    run(workdir, config=flags)
    taken_home(start, workdir, out)
    # An export is evaluated without training.
    run(tmp_path / "again", f"--config.init_from={out}", "--config.stages=problems,eval,report", config=SMALL)
    found = json.loads((tmp_path / "again" / "report.json").read_text())["results"]
    assert "output_prediction_pretrained" in found
    # And so is a run that began with a run that began with the checkpoint.
    adapters = ["--config.model.lora_rank=2", "--config.rl.optimizer=adafactor"]
    run(tmp_path / "third", f"--config.init_from={workdir}", "--config.stages=problems,rl", *adapters, config=SMALL)
    run(tmp_path / "fourth", f"--config.init_from={tmp_path}/third", "--config.stages=problems,eval", *adapters,
        config=SMALL)  # fmt: skip
    assert json.loads((tmp_path / "fourth" / "done" / "eval.json").read_text())["policy"] == "rl"
