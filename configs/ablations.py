"""Every ablation: name, the claim it tests, the fields it changes. `--config=configs/tiny.py:NAME`.

    python -m selfexec_jax.tools.ablate --config=configs/tiny.py --names=no_rl,rloo --seeds=3 --workdir=runs/ablations

runs rows beside their base and compares them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class Row:
    """One ablation: its claim in a line, and the fields that it changes; a value may be a function of the config.

    base: the row that it changes and is compared with ("": the config itself). expected_null: by its mathematics the
    change makes no difference, so a run shows what is noise. over: figures that the claim is about beside those of
    every run, each with the figure of its base that it is compared with.
    """

    claim: str
    change: dict[str, Any | Callable[[ConfigDict], Any]]
    base: str = ""
    expected_null: bool = False
    over: dict[str, str] = dataclasses.field(default_factory=dict)


def _only(task: str) -> dict[str, float]:
    return {name: float(name == task) for name in ("predict", "solve", "rlef")}


def _share(predict: float) -> dict[str, float]:
    return {"predict": predict, "solve": (1 - predict) / 2, "rlef": (1 - predict) / 2}


def _with_proposals(mix: ConfigDict) -> dict[str, float]:
    return {name: 0.9 * share for name, share in mix.items()} | {"propose": 0.1}


ABLATIONS = {
    # ---- what is taught
    "direct_answers": Row(
        "Narrating the execution, not only answering, is what makes a simulator (equal training tokens).",
        {"tasks.style": "direct"},
    ),
    "no_nlex": Row(
        "Without any example of running a program RL has nothing to start from.",
        {"sft.mix": {"predict": 0.0, "solve": 0.6, "fix": 0.4}},
    ),
    "cwm_frames": Row("Frames of a trace teach less than saying how values come about.", {"tasks.style": "cwm"}),
    "brief_narration": Row("Leaving out how values come about costs more than its tokens.", {"tasks.style": "brief"}),
    "full_narration": Row("English sentences teach a small model less than few tokens do.", {"tasks.style": "full"}),
    "changes_narration": Row("Telling a loop's body once, and then what changes, says the same in fewer tokens.",
                             {"tasks.style": "changes"}),
    "in_pieces": Row(
        "Told in pieces, from the state that each carries on, a long run is simulated as well as a short one.",
        {"tasks.chunk_chars": lambda c: c.rl.max_new_tokens},  # characters: a piece has fewer tokens than an answer may
    ),
    "in_voted_pieces": Row(
        "Going on from the state that most of five answers to a piece end with keeps slips from adding up.",
        {"eval.chunk_votes": 5, "eval.simulate_temperature": 1.0}, "in_pieces",
    ),
    "numbered": Row("With the places of words, items and rounds, a simulation does not lose count.",
                    {"tasks.style": "numbered", "tasks.template": "numbered"}),
    "outcomes": Row("A simulation that foretells crashes and timeouts sees programs that end in them.",
                    {"tasks.outcomes": True}),
    "no_output_prediction": Row(
        "Simulation has to be taught: without it there is nothing to verify or repair with.",
        {"sft.mix": {"predict": 0.0, "solve": 0.6, "fix": 0.4}, "rl.share": _share(0.0)},
    ),
    "solving_only": Row(
        "Standard reasoning: the same tokens spent on solving alone.",
        {"sft.mix": {"predict": 0.0, "solve": 1.0, "fix": 0.0}, "rl.share": _only("solve")},
    ),
    "no_fix_demonstrations": Row(
        "A model that never saw a repair does not make one.", {"sft.mix": {"predict": 0.6, "solve": 0.4, "fix": 0.0}}
    ),
    "no_solve_demonstrations": Row(
        "RL from narrations alone does not find programs.", {"sft.mix": {"predict": 0.7, "solve": 0.0, "fix": 0.3}}
    ),
    # ---- the tasks of RL
    "no_rl": Row("RL adds to SFT, and the scaffold gains less without it.", {"rl.steps": 0}),
    "untrained_scaffold": Row(
        "A model that was trained neither to fix nor by RL is not helped by the scaffold.",
        {"sft.mix": {"predict": 0.6, "solve": 0.4, "fix": 0.0}, "rl.steps": 0},
    ),
    "output_prediction_only": Row("Joint training costs some output prediction.", {"rl.share": _only("predict")}),
    "rl_solving_only": Row("RL on solving alone does not teach to simulate.", {"rl.share": _only("solve")}),
    "single_turn": Row(
        "Episodes of several turns teach to repair: the same without them.",
        {"rl.share": lambda c: {"predict": c.rl.share.predict, "solve": 1 - c.rl.share.predict, "rlef": 0.0}},
    ),
    "share_5": Row("How much output prediction a joint run needs: 5 %.", {"rl.share": _share(0.05)}),
    "share_15": Row("The same with 15 %, the paper's share for single turns.", {"rl.share": _share(0.15)}),
    "share_25": Row("The same with 25 %, the paper's share for Self-RLEF.", {"rl.share": _share(0.25)}),
    "share_50": Row("The same with 50 %.", {"rl.share": _share(0.5)}),
    "equal_weights": Row("Weighing output prediction by 0.8 makes little difference.", {"rl.weight.predict": 1.0}),
    "simulated_feedback": Row(
        "Training on simulated feedback does as well as on real feedback.",
        {"rl.feedback": "simulated", "rl.feedback_end": "simulated"},
    ),
    "annealed_feedback": Row(
        "Going over from real to simulated feedback does as well as real feedback.", {"rl.feedback_end": "simulated"}
    ),
    # Feedback that says more needs longer prompts, so these start from a base that has room for them.
    "roomy": Row(
        "What fuller feedback is compared with: rows and caches that are long enough for it.",
        {"sft.batch_rows": lambda c: c.sft.batch_rows * c.sft.row_tokens // max(c.sft.row_tokens, 512),
         "sft.row_tokens": lambda c: max(c.sft.row_tokens, 512),
         "rl.row_tokens": lambda c: max(c.rl.row_tokens, 640),
         "rollout.cache_length": lambda c: max(c.rollout.cache_length, 768),
         "rollout.prompt_buckets": lambda c: tuple(sorted({*c.rollout.prompt_buckets, 512})), "eval.episodes": 4},
    ),
    "departure_feedback": Row(
        "Saying how a wrong output came about repairs more than the output alone.",
        {"tasks.feedback": "departure"}, "roomy",
    ),
    "departure_step_rewards": Row(
        "Rewards for the steps of simulations make what they tell fix turns truer, so that these repair more.",
        {"rl.claims_share": 0.4}, "departure_feedback",
    ),
    "narration_feedback": Row(
        "Telling all of the run repairs no more than its output does (the paper found it unstable).",
        {"tasks.feedback": "narration"}, "roomy",
    ),
    "random_feedback": Row(
        "Feedback that knows nothing teaches nothing about repairing.",
        {"rl.feedback": "random", "rl.feedback_end": "random"},
    ),
    "correct_programs_only": Row(
        "Simulating right programs alone leaves wrong ones worse predicted.", {"rl.wrong_programs": False}
    ),
    "curriculum_off": Row("Prompts of a fitting solve rate teach faster.", {"rl.solve_rates": (0.0, 1.0)}),
    "recycling": Row("Programs that just failed are good to simulate.", {"rl.recycled": 0.5}),
    "first_wrong_credit": Row("Blaming a simulation from its first wrong line on teaches faster.",
                              {"rl.credit": "first_wrong"}),
    # ---- rewards
    "step_rewards": Row("Rewarding the steps of a simulation, not its output alone, teaches longer runs faster.",
                        {"rl.claims_share": 0.4}),
    "format_reward": Row(
        "An answer that cannot be read should cost more than a wrong one.",
        {"rl.reward_wrong": -0.5, "rl.reward_unreadable": -1.0},
    ),
    "overlong_masked": Row("Masking answers that were cut off, instead of punishing them.", {"rl.overlong": "mask"}),
    "no_gibberish_filter": Row(
        "Rejecting gibberish matters only where there is some.",
        {"rl.gibberish_repeats": 1.0, "rl.gibberish_nats": 1e9},
    ),
    # ---- the gradient
    "group_4": Row("Small groups: a noisier baseline, as many rollouts.",
                   {"rl.group_size": 4, "rl.prompts": lambda c: 2 * c.rl.prompts}),
    "group_16": Row("Large groups: fewer prompts, as many rollouts.",
                    {"rl.group_size": 16, "rl.prompts": lambda c: c.rl.prompts // 2}),
    "std_normalisation": Row("Dividing by the group's deviation favours prompts that are nearly solved or hopeless.",
                             {"rl.advantage": "mean_std"}),
    "rloo": Row("A baseline without the sample itself: the same gradient, larger by G / (G - 1).",
                {"rl.advantage": "leave_one_out"}),
    "batch_baseline": Row("A baseline (and deviation) of the batch does not know how hard a prompt is.",
                          {"rl.advantage": "batch"}),
    "token_normaliser": Row("Every token of a batch counts the same.", {"rl.normaliser": "token"}),
    "sequence_normaliser": Row("Every answer counts the same, so a token of a long one is blamed less.",
                               {"rl.normaliser": "sequence"}),
    "with_kl": Row("Holding on to the policy before RL slows it down.", {"rl.kl": 0.05}),
    "entropy_bonus": Row("A bonus for entropy keeps exploring.", {"rl.entropy_bonus": 0.003}),
    "unfiltered": Row("Rollouts without advantage add nothing but time.", {"rl.zero_advantage_filter": False},
                      expected_null=True),
    "policy_gradient": Row("On policy, with one update a batch, the clipped ratio is the plain policy gradient.",
                           {"rl.objective": "policy_gradient"}, expected_null=True),
    "staleness_1": Row("A batch that is one update old does no harm.", {"rl.staleness": 1}),
    "staleness_4": Row("A batch that is four updates old does no harm.", {"rl.staleness": 4}),
    "staleness_8": Row("A batch that is eight updates old, the paper's limit, begins to do harm.", {"rl.staleness": 8}),
    # On policy these are all the same gradient, so they start from a base that is not.
    "off_policy": Row("Four updates a batch that is one update old, under the clip.",
                      {"rl.staleness": 1, "rl.updates": 4}),
    "symmetric_clip": Row("Without the wider bound unlikely tokens gain less.", {"rl.clip_high": 0.2}, "off_policy"),
    "no_clip": Row("Without a clip nothing holds back tokens that have moved already.",
                   {"rl.objective": "policy_gradient"}, "off_policy"),
    "gspo": Row(
        "One ratio an answer is less noisy than one a token.",
        {"rl.objective": "sequence_clipped", "rl.normaliser": "sequence", "rl.clip_low": 3e-4, "rl.clip_high": 4e-4},
        "off_policy",
    ),
    "importance_weights": Row("Sampler and trainer agree so well that weights between them change nothing.",
                              {"rl.importance_cap": 2.0}, "off_policy", expected_null=True),
    # ---- inference
    "votes_3": Row("Three simulations a test, sampled at temperature 1.",
                   {"eval.votes": 3, "eval.simulate_temperature": 1.0}),
    "votes_5": Row("Five simulations a test, the paper's number, sampled at temperature 1.",
                   {"eval.votes": 5, "eval.simulate_temperature": 1.0}),
    "candidates_2": Row("Verification with few candidates, 2.", {"eval.candidates": 2}),
    "candidates_4": Row("Verification with 4 candidates.", {"eval.candidates": 4}),
    "candidates_8": Row("Verification with 8 candidates.", {"eval.candidates": 8}),
    "candidates_16": Row("Verification with 16 candidates.", {"eval.candidates": 16}),
    "belief": Row(
        "Fitted probabilities tell right programs from wrong ones better than counted votes, and save most of them.",
        {"belief.problems": 200}, "votes_5",
        over={"best_at_K_believed": "best_at_K_simulated", "search": "best_at_K_simulated"},
    ),
    "sure_80": Row("A search that ends sooner, when it is 80 % sure, saves tokens and solves hardly less.",
                   {"belief.sure": 0.8}, "belief", over={"search": "search"}),
    "executing": Row(
        "Executing the likeliest program where that gains ten points brings most of what executing all would.",
        {"belief.least_gains": (0.1,)}, "belief",
        over={"search_executing_from_0.1": "search", "best_at_K_executed": "search"},
    ),
    "abstaining": Row(
        "What is hardly likely to be right can be left unsubmitted for few right programs.",
        {"belief.abstain": 0.5}, "belief", over={"search": "search"},
    ),
    "believed_feedback": Row(
        "Fix turns that are told only of failures that are believed break fewer programs, for no more tokens.",
        {"belief.problems": 200, "belief.votes": 1, "belief.search_votes": 1},
        over={"self_rlef_believed": "self_rlef"},
    ),
    "one_public_test": Row("One public test tells few programs apart.", {"problems.n_public": 1}),
    "own_tests": Row(
        "Inputs that the model proposes, their outputs voted over its candidates, make up for public tests.",
        {"eval.own_tests": 6, "sft.mix": lambda c: _with_proposals(c.sft.mix)}, "one_public_test",
        over={"best_at_K_own_tests": "best_at_K_simulated"},
    ),
    "own_tests_as_votes": Row(
        "Tests of its own bring more than as many tokens spent on votes, eight, on the public test.",
        {"eval.own_tests": 0, "eval.votes": 8, "eval.simulate_temperature": 1.0}, "own_tests",
        over={"best_at_K_simulated": "best_at_K_own_tests"},
    ),
    "fixes_0": Row("No fix turn: a single turn.", {"eval.max_fixes": 0}),
    "fixes_1": Row("One fix turn, as trained.", {"eval.max_fixes": 1}),
    "fixes_3": Row("Three fix turns.", {"eval.max_fixes": 3}),
    "fixes_9": Row("Nine fix turns, the paper's number.", {"eval.max_fixes": 9}),
}  # fmt: skip


def row_named(name: str, rows: dict[str, Row] | None = None) -> Row:
    """The row of a name, among a config's own ones too. A name that no row has is an error that lists them."""
    table = ABLATIONS | (rows or {})
    if name not in table:
        raise ValueError(f"no ablation {name!r} in configs/ablations.py; there are: {', '.join(sorted(table))}")
    return table[name]


def apply(config: ConfigDict, name: str | None, rows: dict[str, Row] | None = None) -> ConfigDict:
    """The config with one row applied, after the row that it is based on."""
    if not name:
        return config
    row = row_named(name, rows)
    apply(config, row.base, rows)
    for field, value in row.change.items():
        value = value(config) if callable(value) else value
        fields = {f"{field}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {field: value}
        config.update_from_flattened_dict(fields)
    config.ablation = name
    return config
