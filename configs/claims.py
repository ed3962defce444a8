"""What the table of claims is measured with: tiny with three times as much RL and twice as many candidates.

    python -m tests.benchmarks.claims --workdir=runs/claims --seeds=3
"""

from selfexec_jax.configs import ablations, tiny

ROWS = tiny.ROWS


def get_config(arg: str | None = None):
    c = tiny.get_config()
    c.name = "claims"
    c.rl.steps = 48
    c.rl.validate_every = 12
    c.rl.validation_prompts = 160
    c.rl.validation_samples = 2
    c.eval.candidates = 16
    c.eval.more_candidates = 112
    return ablations.apply(c, arg, ROWS)
