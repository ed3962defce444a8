"""The paper's CWM 32B: rows of 131,072 tokens, 10,000 updates of RL.

    python -m selfexec_jax.main --config=configs/cwm_32b.py --config.init_from=DIR --workdir=runs/cwm_32b

Not run at full size yet.
"""

from selfexec_jax.configs import ablations, qwen2p5_7b


def get_config(arg: str | None = None):
    c = qwen2p5_7b.get_config()
    c.name = "cwm_32b"
    c.plan.shape = "cwm_32b"
    c.model.rope_scale = 1.0
    c.mesh.fsdp = 8  # of v5p-512
    c.mesh.context = 32  # chips that share a row of 131,072; shorter rows lie on fewer
    c.sft.row_tokens = 131_072  # (paper)
    c.sft.batch_rows = 32  # 4M tokens (paper)
    c.rollout.slots = 48
    c.rollout.short_slots = ((36, 4096),)
    c.rl.steps = 10_000  # (paper)
    c.rl.keep = "last"  # (paper)
    return ablations.apply(c, arg)
