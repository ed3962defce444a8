import errno
import os
import types

import pytest

from selfexec_jax import main
from selfexec_jax.configs import base
from selfexec_jax.stages import belief, report, rl, sft
from selfexec_jax.stages.workdir import Workdir, WorkdirError, write_whole


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    write_whole(path, b"old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device; nothing of it was written: .*report\.json"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["report.json"]


def test_what_a_stage_was_made_of_stays(tmp_path):
    config, work = base.get_config(), Workdir(tmp_path / "run")
    work.open(config)
    config.stages, config.mesh.fsdp = "eval", 2
    work.open(config)
    config.init_from = "elsewhere"
    with pytest.raises(WorkdirError, match="another init_from"):
        work.open(config)


@pytest.mark.parametrize(
    "begun, stage, said", [("sft", rl, "SFT began there and is not done"), ("rl", sft, "has RL that grew")]
)
def test_training_does_not_go_on_from_what_is_not_what_it_was_made_of(tmp_path, begun, stage, said):
    config, work = base.get_config(), Workdir(tmp_path / "run")
    work.open(config)
    (work.checkpoints / begun / "10").mkdir(parents=True)
    with pytest.raises(WorkdirError, match=said):
        stage.run(config, work)


def test_stages_after_one_that_was_left_out_are_made_again(tmp_path, monkeypatch):
    """What an evaluation of SFT says is not what one after RL says."""
    made = []
    stage = lambda name: types.SimpleNamespace(run=lambda config, workdir: made.append(name) or {})  # noqa: E731
    monkeypatch.setattr(main.importlib, "import_module", lambda name: stage(name.rpartition(".")[2]))
    work = Workdir(tmp_path)
    for wanted in (["sft", "eval", "report"], ["sft", "rl", "eval"], ["sft", "rl", "eval", "report"]):
        for name in wanted:
            main._run(name, None, work)
    assert made == ["sft", "eval", "report", "rl", "eval", "report"]


def test_what_was_found_of_an_earlier_model_is_not_taken_for_this_one(tmp_path):
    """After SFT is belief fitted and the model evaluated; then comes RL."""
    work = Workdir(tmp_path)
    work.write_json(work.data / belief.FILE, {})
    work.write_json(work.data / "eval.json", {})
    work.mark_done("belief", {})
    assert belief.belief_of(work) is not None
    work.unmark(["belief", "eval", "report"])
    assert belief.belief_of(work) is None
    with pytest.raises(ValueError, match="not evaluated; run the eval stage first"):
        report.run(base.get_config(), work)


def test_rows_are_the_same_bytes_for_the_same_rows(tmp_path):
    workdir = Workdir(tmp_path)
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        workdir.write_rows(tmp_path / name, [{"x": 1}, {"x": "é"}])
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert workdir.read_rows(tmp_path / "a.jsonl.gz") == [{"x": 1}, {"x": "é"}]
