"""What an evaluation asks: the problems of the run's own sets, as many as the config has."""

import pytest

from selfexec_jax.configs import tiny
from selfexec_jax.problems import Problem, Test
from selfexec_jax.problems.datasets import save_problems
from selfexec_jax.problems.generator import generate
from selfexec_jax.stages.checks import check
from selfexec_jax.stages.questions import problems_and_cases
from selfexec_jax.stages.workdir import Workdir


def test_a_benchmark_is_read_where_it_was_kept_out_of_training(tmp_path, monkeypatch):
    monkeypatch.delenv("SELFEXEC_DATA", raising=False)
    problem = Problem("mine", "Say 3.", solutions=("print(3)",), private_tests=(Test("", "3"),))
    save_problems(tmp_path / "own.jsonl", [problem])
    config = tiny.get_config()
    config.problems.real_data, config.eval.benchmark = str(tmp_path), "own"
    check(config)
    assert [p.id for p in problems_and_cases(config, Workdir(tmp_path))[0]] == ["mine"]


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
