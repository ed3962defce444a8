"""Where a run's model comes from."""

import json
import shutil

import pytest

from selfexec_jax.checkpoints import TINY
from selfexec_jax.configs import tiny
from selfexec_jax.stages.model import load, trained
from selfexec_jax.stages.origin import check_seed
from selfexec_jax.stages.workdir import Workdir


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


def test_a_run_is_named_where_it_is_mounted(tmp_path):
    config = tiny.get_config()
    config.init_from = f"file://{run_of(tmp_path / 'first', 0)}"
    with pytest.raises(ValueError, match="name the folder where that is mounted"):
        check_seed(config)


def test_a_model_is_asked_on_other_devices_than_it_was_trained_on(tmp_path):
    shutil.copytree(TINY, tmp_path / "home")
    kept = json.loads((tmp_path / "home" / "run.json").read_text())
    kept["rollout"]["tensor"] = kept["mesh"]["tensor"] = 3
    (tmp_path / "home" / "run.json").write_text(json.dumps(kept))
    loaded = trained(str(tmp_path / "home"))
    assert loaded.engine() is not None and loaded.params("sft").keys() == loaded.pretrained().keys()


def test_a_run_that_trained_nothing_has_no_parameters(tmp_path):
    """The model that it began with would be taken for it."""
    config = trained(run_of(tmp_path / "run", 0, str(TINY))).config
    with pytest.raises(ValueError, match="no such checkpoint"):
        load(config, Workdir(tmp_path / "other")).params("sft")


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
