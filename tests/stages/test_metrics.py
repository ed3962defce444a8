import json
import sys
import threading
import types

import pytest
from tensorboardX.proto import event_pb2

from selfexec_jax.stages.metrics import Metrics, reached, read_metrics
from selfexec_jax.stages.workdir import Workdir


def test_metrics_cut_short_by_a_kill_are_left_out_and_the_last_line_of_a_step_counts(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"stage": "sft", "step": 2, "loss": 1}\n{"stage": "sft", "step": 1, "loss": 3}\n'
        '{"stage": "sft", "step": 2, "loss": 2}\n{"stage": "sft", "st'
    )
    assert [(m["step"], m["loss"]) for m in read_metrics(Workdir(tmp_path))] == [(1, 3), (2, 2)]


def test_how_far_a_stage_has_come(tmp_path):
    workdir = Workdir(tmp_path)
    assert reached(workdir, "rl") == "rl"
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({"stage": "rl", "step": i}) + "\n" for i in range(8)))
    assert reached(workdir, "rl") == "rl at step 7, saved at step 0"
    for name in ("3", "6", "9.partial"):
        (tmp_path / "checkpoints" / "rl" / name).mkdir(parents=True)
    assert reached(workdir, "rl") == "rl at step 7, saved at step 6"


def test_tensorboard_is_told_by_no_thread_that_an_interrupt_could_leave_waiting(tmp_path):
    running = threading.active_count()
    metrics = Metrics(Workdir(tmp_path), "sft")
    metrics.write(1, {"loss": 1.5, "hosts": {"memory": [1.0, 2.0]}})
    metrics.write(2, {"loss": 0.5})
    assert threading.active_count() == running
    metrics.close()
    (path,) = (tmp_path / "events" / "sft").iterdir()
    data, events = path.read_bytes(), []
    while data:  # a length of eight bytes and its checksum, an event and its checksum
        n = int.from_bytes(data[:8], "little")
        events.append(event_pb2.Event.FromString(data[12 : 12 + n]))
        data = data[16 + n :]
    found = [(e.step, {v.tag: v.simple_value for v in e.summary.value}) for e in events[1:]]
    assert events[0].file_version == "brain.Event:2"
    assert found == [(1, {"loss": 1.5, "hosts/memory/0": 1.0, "hosts/memory/1": 2.0}), (2, {"loss": 0.5})]


def test_weights_and_biases_hears_the_same_and_goes_on_in_the_same_run(tmp_path, monkeypatch):
    heard, inits = [], []
    run = types.SimpleNamespace(
        log=lambda values, step: heard.append((step, values)), finish=lambda: heard.append("end")
    )
    fake = types.SimpleNamespace(init=lambda **given: inits.append(given) or run)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    (tmp_path / "config.json").write_text('{"name": "tiny"}')
    for _ in range(2):
        metrics = Metrics(Workdir(tmp_path), "sft", "mine")
        metrics.write(3, {"loss": 1.5, "hosts": {"memory": [1.0, 2.0]}})
        metrics.close()
    assert heard == 2 * [(3, {"loss": 1.5, "hosts/memory/0": 1.0, "hosts/memory/1": 2.0}), "end"]
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "config.json").write_text("{}")
    Metrics(Workdir(tmp_path / "again"), "sft", "mine").close()
    assert inits[2]["id"] != inits[0]["id"]
    assert inits[0] == inits[1] and inits[0]["project"] == "mine" and inits[0]["resume"] == "allow"
    assert inits[0]["config"] == {"name": "tiny"} and inits[0]["name"] == f"{tmp_path.name}/sft"


def test_weights_and_biases_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"wandb=mine: needs the extra: pip install 'selfexec_jax\[wandb\]'"):
        Metrics(Workdir(tmp_path), "sft", "mine")
