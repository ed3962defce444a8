"""Where a run's model comes from."""

import json

import pytest

from selfexec_jax.checkpoints import TINY
from selfexec_jax.configs import tiny
from selfexec_jax.stages.origin import check_seed


def run_of(folder, seed, begins_with=""):
    config = tiny.get_config()
    config.seed, config.init_from = seed, begins_with
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(json.loads(config.to_json_best_effort())))
    return str(folder)


def test_problems_of_another_seed_that_were_learned_from_are_not_held_out(tmp_path):
    config = tiny.get_config()
    check_seed(config)
    first = run_of(tmp_path / "first", 3)
    config.seed, config.init_from = 3, run_of(tmp_path / "then", 3, first)
    check_seed(config)
    config.seed = 4
    with pytest.raises(ValueError, match=r"init_from=.*then: .*seed 3.*; set seed=3"):
        check_seed(config)
    config.seed, config.init_from = 3, run_of(tmp_path / "other", 3, run_of(tmp_path / "before", 1))
    with pytest.raises(ValueError, match="before: .*seed 1"):
        check_seed(config)
    config.eval.benchmark = "humaneval"
    check_seed(config)


def test_a_model_that_was_taken_home_knows_its_seed(tmp_path):
    config = tiny.get_config()
    config.init_from = str(TINY)
    check_seed(config)
    config.seed = 1
    with pytest.raises(ValueError, match="set seed=0"):
        check_seed(config)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')  # of somebody else
    config.init_from = str(tmp_path)
    check_seed(config)
