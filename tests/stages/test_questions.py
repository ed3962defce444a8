"""What an evaluation asks: the problems of the run's own sets, as many as the config has."""

import pytest

from selfexec_jax.configs import tiny
from selfexec_jax.problems.datasets import save_problems
from selfexec_jax.problems.generator import generate
from selfexec_jax.stages.questions import problems_and_cases
from selfexec_jax.stages.workdir import Workdir


@pytest.mark.parametrize("n_unseen", [0, 2])
def test_a_run_may_have_no_unseen_compositions(tmp_path, n_unseen):
    config = tiny.get_config()
    config.problems.update({"n_train": 4, "n_heldout": 3, "n_unseen": n_unseen})
    work = Workdir(tmp_path)
    work.data.mkdir()
    sets, _ = generate(config.problems, 0)
    for split in ("heldout", "unseen"):
        save_problems(work.data / f"{split}.jsonl", sets[split])
    problems, cases = problems_and_cases(config, work)
    assert problems == sets["heldout"] + sets["unseen"] and len(problems) == 3 + n_unseen and cases == []
