"""What the table of claims is measured with: tiny with more RL, twice as many candidates, and all of its
simulations sampled at the temperature that RL trains.

    python -m tests.benchmarks.claims --workdir=runs/claims --seeds=0,1,2

Seed 0 without the ablations took 37 minutes on two shared cores, with one Self-RLEF episode a problem; README has what
it gave ("Results").
"""

from selfexec_jax.configs import ablations, tiny

ROWS = tiny.ROWS


def get_config(arg: str | None = None):
    c = tiny.get_config()
    c.name = "claims"
    c.rl.steps = 100
    c.rl.validate_every = 20
    c.rl.validation_prompts = 160
    c.rl.validation_samples = 2
    c.eval.simulate_temperature = 1.0  # (paper)
    c.eval.candidates = 16
    c.eval.episodes = 4  # a single one is right or wrong, which is most of an interval's width
    c.eval.more_candidates = 112
    return ablations.apply(c, arg, ROWS)
