"""Every ablation: name, the claim it tests, the fields it changes. `--config=configs/tiny.py:NAME`."""

from ml_collections import ConfigDict

ABLATIONS = {
    "no_nlex": (
        "Narrating the execution, not only answering, is what makes a simulator (equal training tokens).",
        {"tasks.style": "direct"},
    ),
    "no_rl": (
        "RL adds to SFT.",
        {"rl.steps": 0},
    ),
    "no_output_prediction": (
        "Simulation has to be taught: without it there is nothing to verify or repair with.",
        {
            "sft.mix": {"predict": 0.0, "solve": 0.6, "fix": 0.4},
            "rl.share": {"predict": 0.0, "solve": 0.5, "rlef": 0.5},
        },
    ),
    "solving_only": (
        "Standard reasoning: the same tokens spent on solving alone.",
        {
            "sft.mix": {"predict": 0.0, "solve": 1.0, "fix": 0.0},
            "rl.share": {"predict": 0.0, "solve": 1.0, "rlef": 0.0},
        },
    ),
    "no_fix_demonstrations": (
        "A model that never saw a repair does not make one.",
        {"sft.mix": {"predict": 0.6, "solve": 0.4, "fix": 0.0}},
    ),
    "no_solve_demonstrations": (
        "RL from narrations alone does not find programs.",
        {"sft.mix": {"predict": 0.7, "solve": 0.0, "fix": 0.3}},
    ),
}


def apply(config: ConfigDict, name: str | None, rows: dict | None = None) -> ConfigDict:
    """The config with one row applied. A name that no row has is an error that lists them."""
    if not name:
        return config
    table = ABLATIONS | (rows or {})
    if name not in table:
        raise ValueError(f"no ablation {name!r} in configs/ablations.py; there are: {', '.join(sorted(table))}")
    for field, value in table[name][1].items():
        fields = {f"{field}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {field: value}
        config.update_from_flattened_dict(fields)
    config.ablation = name
    return config
