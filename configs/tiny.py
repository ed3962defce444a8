"""The whole paper on two CPU cores, from random weights.

    python -m selfexec_jax.main --config=configs/tiny.py --workdir=runs/tiny

"""

from selfexec_jax.configs import ablations, base


def get_config(arg: str | None = None):
    c = base.get_config()
    c.name = "tiny"
    c.tasks.template = "compact"
    c.tasks.style = "compact"
    return ablations.apply(c, arg)
