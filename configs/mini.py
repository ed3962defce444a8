"""Eight families of problems, a larger model: for hours of CPU, or a chip; not measured yet.

    python -m selfexec_jax.main --config=configs/mini.py --workdir=runs/mini

"""

from selfexec_jax.configs import ablations, base


def get_config(arg: str | None = None):
    c = base.get_config()
    c.name = "mini"
    c.tasks.template = "compact"
    c.tasks.style = "compact"
    c.problems.families = (
        "accumulate",
        "extremum",
        "helper",
        "digits",
        "running",
        "pairs",
        "letters",
        "tables",
    )
    c.problems.n_train = 12_000
    c.text.vocab_size = 1024
    c.model.d_model = 256
    c.model.n_layers = 6
    c.model.n_heads = 8
    c.model.n_kv_heads = 4
    c.model.head_dim = 32
    c.model.d_ff = 768
    c.sft.optimizer = "muon"
    c.sft.learning_rate = 3e-3
    c.sft.steps = 8000
    c.sft.batch_rows = 32
    c.sft.row_tokens = 512
    c.rl.steps = 200
    c.rl.prompts = 64
    return ablations.apply(c, arg)
