"""Names, cells and numbers of a report's tables."""

import re

from selfexec_jax.evals.looks import short_number

SPLITS = ("specified", "open", "unseen")
ORDER = (
    "output_prediction_sft", "output_prediction_rl", "pass_at_K", "random_at_K", "short1_at_K",
    "best_at_K_simulated", "best_at_K_frequent", "best_at_K_own_tests", "best_at_K_votes_1", "best_at_K_votes_2",
    "best_at_K_votes_3", "best_at_K_votes_4", "best_at_K_halved", "best_at_K_believed", "search", "best_at_K_executed",
    "single_turn", "self_rlef", "self_rlef_believed", "self_rlef_executed", "self_rlef_random",
    "fixed", "broken", "fixed_believed", "broken_believed", "fixed_public", "broken_public",
    "output_prediction_rl_over_sft", "best_at_K_simulated_over_pass_at_K", "best_at_K_simulated_over_short1_at_K",
    "simulation_gap_at_K", "best_at_K_frequent_over_best_at_K_simulated",
    "best_at_K_own_tests_over_best_at_K_simulated", "best_at_K_own_tests_over_best_at_K_frequent",
    "best_at_K_votes_1_over_best_at_K_simulated",
    "best_at_K_halved_over_best_at_K_simulated",
    "best_at_K_believed_over_best_at_K_simulated", "search_over_best_at_K_simulated", "search_over_best_at_K_votes_1",
    "self_rlef_over_single_turn", "self_rlef_believed_over_self_rlef", "self_rlef_executed_over_single_turn",
    "self_rlef_random_over_single_turn", "fixed_over_broken", "fixed_over_broken_public",
)


def names(entries):
    """Result names without their splits, in the order of a report: known families first, k ascending."""
    def place(name):
        family = re.sub(r"_at_\d+", "_at_K", name)
        ks = [int(k) for k in re.findall(r"_at_(\d+)", name)]
        return (ORDER.index(family) if family in ORDER else len(ORDER), *ks)

    return sorted(dict.fromkeys(name.partition("/")[0] for name in entries), key=place)


def splits(entries):
    found = dict.fromkeys(name.partition("/")[2] for name in entries)
    return ["all", *(s for s in SPLITS if s in found), *(s for s in found if s and s not in SPLITS)]


def key(name, split):
    return name if split == "all" else f"{name}/{split}"


def share(entry):
    return f"{100 * entry['value']:.1f} % [{100 * entry['low']:.1f}, {100 * entry['high']:.1f}]"


def full_cell(entry):
    if not entry:
        return ""
    return f"{share(entry)} · n {entry['n']:,} · {short_number(entry['tokens'])} tokens"


def points(entry):
    # Adding 0.0 turns the -0.0 that rounding leaves into 0.0.
    value, low, high = (round(100 * entry[name], 1) + 0.0 for name in ("value", "low", "high"))
    mark = " *" if entry["low"] > 0 or entry["high"] < 0 else ""
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]{mark}"


def tokens_per_problem(entry):
    return short_number(entry["tokens"] / entry["n"]) if entry and entry["n"] else ""


def subtitle(meta):
    return f"Config {meta['config']}, seed {meta['seed']}, K = {meta['K']}, {meta['date']}"


def duration(seconds):
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def in_words(value):
    if isinstance(value, dict):
        return ", ".join(f"{name} {in_words(inner)}" for name, inner in flat(value))
    if isinstance(value, (list, tuple)):
        return ", ".join(map(in_words, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def flat(tree, prefix=""):
    """The leaves of nested dicts as (path in words, value)."""
    for key, value in tree.items():
        name = f"{prefix}: {key}" if prefix else str(key)
        if isinstance(value, dict):
            yield from flat(value, name)
        else:
            yield name, value
