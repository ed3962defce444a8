"""The paper's Qwen2.5-7B: its counts, lengths and rates.

    python -m selfexec_jax.main --config=configs/qwen2p5_7b.py --config.init_from=DIR --workdir=runs/qwen2p5_7b

DIR: a Hugging Face folder, on a disk or in a bucket; the model's shape, tokenizer and chat template come from it, so
any other size or family that is imported runs with this file. Not run at full size yet. The paper's own data is not
public: the problems are generated ones, with `sft.sources` for more.
"""

from selfexec_jax.configs import ablations, base

ROWS = {
    "v6e_64": ablations.Row(
        "The same on v6e-64, whose chips have a third of the memory.",
        {"mesh.fsdp": 8, "mesh.context": 8, "sft.micro_batches": 8, "rl.micro_tokens": 655_360, "rollout.tensor": 1,
         "rollout.slots": 32, "rollout.short_slots": ((24, 4096),)},
    ),
}  # fmt: skip


def get_config(arg: str | None = None):
    c = base.get_config()
    c.name = "qwen2p5_7b"
    c.plan.shape = "qwen2p5_7b"
    c.problems.families = ("accumulate", "extremum", "helper", "digits", "running", "pairs", "letters", "tables")
    c.problems.n_train = 50_000
    c.problems.public_size = (3, 8)
    c.problems.private_size = (2, 12)
    c.problems.largest_number = 1000
    c.sft.narrated_size = 8
    c.sft.left_to_rl = ()
    c.rl.long_size = 9
    c.sandbox.workers = 64
    c.model.attention = "splash"
    c.model.scan_layers = True
    c.model.remat = "layer"
    c.model.compute_dtype = "bfloat16"
    c.model.query_block = 1024
    c.model.vocab_chunk = 16_384
    c.model.rope_scale = 2.0  # (paper)
    c.mesh.cpu_devices = 0
    c.mesh.fsdp = 16
    c.mesh.context = 4  # of v5p-128: rows of 65,536 lie on 4 chips, shorter ones are many enough to lie on one
    c.sft.row_tokens = 65_536  # (paper)
    c.sft.short_row_tokens = 8192
    c.sft.batch_rows = 64  # 4M tokens (paper)
    c.sft.micro_batches = 4
    c.sft.steps = 15_500  # (paper)
    c.sft.learning_rate = 8e-6  # (paper)
    c.sft.warmup_steps = 1000  # (paper)
    c.sft.beta2 = 0.95
    c.rl.steps = 4000  # (paper)
    c.rl.learning_rate = 1.4e-7  # (paper)
    c.rl.warmup_steps = 400  # (paper)
    c.rl.prompts = 64
    c.rl.max_new_tokens = 16_384
    c.rl.row_tokens = 20_480  # the longest prompt and answer
    c.rl.micro_tokens = 1_310_720  # 64 rows (paper: 1,048,576 tokens)
    c.rl.share.update({"predict": 0.25, "solve": 0.375, "rlef": 0.375})  # (paper: 25 % with Self-RLEF)
    c.rl.checkpoint_every = 200
    c.rl.validate_every = 200  # (paper)
    c.rl.keep = "best"  # (paper)
    c.rollout.slots = 64
    c.rollout.cache_length = 20_480
    c.rollout.short_slots = ((48, 4096),)
    c.rollout.prompt_buckets = (1024, 2048, 4096, 8192, 16_384)
    c.rollout.prefill_tokens = 8192
    c.rollout.steps_per_dispatch = 32
    c.rollout.tensor = 4
    c.eval.candidates = 20  # (paper)
    c.eval.votes = 5  # (paper)
    c.eval.max_fixes = 9  # (paper)
    c.eval.max_new_tokens = 16_384
    return ablations.apply(c, arg, ROWS)
