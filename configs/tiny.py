"""The whole paper on two CPU cores, from random weights.

    python -m selfexec_jax.main --config=configs/tiny.py --workdir=runs/tiny

"""

from selfexec_jax.configs import ablations, base


def get_config(arg: str | None = None):
    c = base.get_config()
    c.name = "tiny"
    c.tasks.template = "compact"
    c.tasks.style = "compact"
    c.problems.largest_number = 12
    c.model.n_heads = 4
    c.model.n_kv_heads = 4
    c.model.head_dim = 32
    c.sft.optimizer = "muon"
    c.sft.batch_rows = 16  # small batches: at this size updates count for more than their noise
    c.sft.steps = 1450
    c.sft.learning_rate = 3e-3
    c.rl.steps = 20
    c.rl.long_inputs = 0  # in a few minutes RL can teach one thing: the form that SFT left to it
    c.rl.prompts = 48
    c.rl.problems = 400
    c.rl.learning_rate = 3e-4
    c.rl.share.update({"predict": 0.75, "solve": 0.125, "fix": 0.125})
    c.eval.simulate_temperature = 0.0  # greedy: a small model's slips are noise that a draw only adds to
    c.eval.prediction_samples = 3
    c.sft.log_every = 50
    return ablations.apply(c, arg)
