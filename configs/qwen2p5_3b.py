"""The paper's Qwen2.5-3B: as `qwen2p5_7b.py`, on 64 chips of v5e or 32 of v6e.

    python -m selfexec_jax.main --config=configs/qwen2p5_3b.py --config.init_from=DIR --workdir=runs/qwen2p5_3b

Not run at full size yet.
"""

from selfexec_jax.configs import ablations, qwen2p5_7b

ROWS = {"v6e_32": ablations.Row("The same on v6e-32.", {"mesh.fsdp": 4})}


def get_config(arg: str | None = None):
    c = qwen2p5_7b.get_config()
    c.name = "qwen2p5_3b"
    c.plan.shape = "qwen2p5_3b"
    c.mesh.fsdp = 8  # of v5e-64
    c.mesh.context = 8
    c.sft.micro_batches = 8
    c.rl.micro_tokens = 655_360  # 32 rows, each on two chips
    c.rollout.tensor = 1  # what v5e and v6e can where there are several hosts
    c.rollout.slots = 32  # of a host: a batch's share of its answers
    c.rollout.short_slots = ((24, 4096),)
    return ablations.apply(c, arg, ROWS)
