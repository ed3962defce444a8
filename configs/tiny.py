"""The whole paper on two CPU cores, from random weights.

    python -m selfexec_jax.main --config=configs/tiny.py --workdir=runs/tiny

Took 30 minutes on two cores that other work shared for the first ten (seed 0): of 320 held-out problems, pass@1 70.4 %
[66.6, 74.0], best@8 simulated 89.3 % [86.1, 92.3] (executed 92.6 %), Self-RLEF 80.6 % after 71.6 % in a single turn;
output prediction 87.6 % on programs like those that were narrated. RL moves output prediction little here, by +0.7
points [-0.7, 2.1] on what was not narrated (n=1,347); claims.py has 100 steps of it.
"""

import dataclasses

from selfexec_jax.configs import ablations, base

_LONG = {"sft.row_tokens": 512, "sft.batch_rows": 8, "rl.steps": 0, "eval.max_new_tokens": 384}

ROWS = {
    "direct_answers_equal_examples": ablations.Row(
        "The claim of direct_answers at equal examples: without narration a row holds nearly twice as many.",
        {"tasks.style": "direct", "sft.batch_rows": 8, "sft.steps": 1090},
    ),
    # Styles compared after SFT, in rows that are long enough for all of them.
    "styles": ablations.Row("What the styles of narration are compared with: rows of 512 tokens, no RL.", _LONG),
    # Ways to simulate long runs: as many tokens of training, of runs over up to 24 numbers that fit into rows of 256.
    "long_runs": ablations.Row(
        "What ways to simulate long runs are compared with: runs over up to 24 numbers that fit into a row, no RL.",
        {"problems.private_size": (2, 24), "sft.narrated_size": 24, "rl.steps": 0, "rollout.cache_length": 1024,
         "rollout.prompt_buckets": (64, 96, 128, 160, 192, 256, 384, 512)},
    ),
    "long_runs_in_pieces": ablations.Row(
        "A run in pieces, the state carried on, is simulated however long it is.",
        {"tasks.chunk_chars": 160}, "long_runs",
    ),
    "long_runs_in_voted_pieces": dataclasses.replace(
        ablations.ABLATIONS["in_voted_pieces"], base="long_runs_in_pieces"
    ),
    "long_runs_in_long_rows": ablations.Row(
        "Rows in which the longest of these runs are whole are the plain way to reach as far, at as many tokens.",
        {"sft.row_tokens": 1024, "sft.batch_rows": 4}, "long_runs",
    ),
    "long_runs_full": ablations.Row(
        "How far the paper's sentences reach, in long rows as well.",
        {"tasks.style": "full"}, "long_runs_in_long_rows",
    ),
    "long_runs_numbered": dataclasses.replace(ablations.ABLATIONS["numbered"], base="long_runs_in_long_rows"),
    "long_runs_in_numbered_pieces": ablations.Row(
        "With numbers the state that pieces carry on stays right.",
        {"tasks.style": "numbered", "tasks.template": "numbered", "sft.row_tokens": 512, "sft.batch_rows": 8},
        "long_runs_in_pieces",
    ),
    "long_runs_changes": ablations.Row(
        "Telling a loop's body once, and then what changes, lets a simulation reach further.",
        {"tasks.style": "changes"}, "long_runs_in_long_rows",
    ),
    "long_runs_brief": ablations.Row(
        "Telling only what a round leaves lets a simulation reach further.",
        {"tasks.style": "brief"}, "long_runs_in_long_rows",
    ),
    # Half of what the solver learns for the further families is right where it ends, and crashes or takes too long.
    # Twice the usual training: after 1,000 updates half of what right programs print is simulated wrong.
    "traps": ablations.Row(
        "What foretelling how runs end is compared with: problems whose slow or careless programs are a trap, no RL.",
        {"problems.families": ("accumulate", "extremum", "edges", "limits"), "problems.time_limit_s": 0.25,
         "sandbox.cpu_s": 0.25, "sft.learn_traps": True, "sft.steps": 2000, "rl.steps": 0},
    ),
    "traps_foretold": dataclasses.replace(ablations.ABLATIONS["outcomes"], base="traps"),
    # What speeds learning up is seen where there is much to learn: after a third of SFT, on outputs alone.
    "early": ablations.Row(
        "What rewards for simulations are compared with: RL on output prediction, of a model that SFT left early.",
        {"sft.steps": 350, "rl.share": {"predict": 1.0, "solve": 0.0, "rlef": 0.0}, "rl.steps": 60,
         "rl.validate_every": 6, "rl.validation_prompts": 128, "rl.validation_samples": 2},
    ),
} | {
    name: dataclasses.replace(ablations.ABLATIONS[name], base=base)
    for base, names in {
        "styles": ("cwm_frames", "brief_narration", "full_narration"),
        "early": ("step_rewards", "first_wrong_credit"),
    }.items()
    for name in names
}


def get_config(arg: str | None = None):
    c = base.get_config()
    c.name = "tiny"
    c.tasks.template = "compact"
    c.tasks.style = "compact"
    c.problems.n_train = 2200
    c.problems.public_size = (3, 3)
    c.problems.largest_number = 9
    c.problems.largest_constant = 9
    c.problems.names = 1  # keeping a name that is used once is the last thing that a small solver learns
    c.model.n_heads = 4
    c.model.n_kv_heads = 4
    c.model.head_dim = 32
    c.sft.optimizer = "muon"
    c.sft.batch_rows = 16  # small batches: at this size updates count for more than their noise
    c.sft.micro_batches = 2  # small ones stay in a core's cache: half as fast again as one
    c.sft.steps = 1000
    c.sft.mix.update({"predict": 0.6, "solve": 0.25, "fix": 0.15})
    c.sft.learning_rate = 3e-3
    c.rl.steps = 40
    c.rl.max_new_tokens = 224
    c.rl.row_tokens = 352
    c.rl.short_row_tokens = 256
    c.rl.micro_tokens = 2112  # for the same reason
    c.rl.prompts = 48
    c.rl.problems = 400
    c.rl.learning_rate = 1.5e-4  # twice as much undoes in noise what it learns
    c.rl.final_lr_share = 0.0
    c.rl.share.update({"predict": 0.75, "solve": 0.125, "rlef": 0.125})
    c.eval.simulate_temperature = 0.0  # greedy: a small model's slips are noise that a draw only adds to
    c.eval.max_fixes = 6
    c.eval.prediction_samples = 2
    c.sft.log_every = 50
    return ablations.apply(c, arg, ROWS)
