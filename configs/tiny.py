"""The whole paper on two CPU cores, from random weights.

    python -m selfexec_jax.main --config=configs/tiny.py --workdir=runs/tiny

"""

from selfexec_jax.configs import ablations, base


def get_config(arg: str | None = None):
    c = base.get_config()
    c.name = "tiny"
    c.tasks.template = "compact"
    c.tasks.style = "compact"
    c.problems.largest_number = 15
    c.model.n_heads = 4
    c.model.n_kv_heads = 4
    c.model.head_dim = 32
    c.sft.optimizer = "muon"
    c.sft.batch_rows = 16  # small batches: at this size updates count for more than their noise
    c.sft.steps = 1300
    c.sft.learning_rate = 3e-3
    c.sft.log_every = 50
    return ablations.apply(c, arg)
