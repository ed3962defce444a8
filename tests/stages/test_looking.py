"""Heartbeats and profiles of a run that trains."""

import json

import jax
import jax.numpy as jnp
import pytest

from selfexec_jax.configs import base
from selfexec_jax.stages import looking as looking_module
from selfexec_jax.stages.looking import Looking
from selfexec_jax.stages.workdir import Workdir


def looking(tmp_path, **changes):
    config = base.get_config()
    config.update(changes)
    return Looking(config, Workdir(tmp_path), "rl")


def test_the_heartbeat_says_what_is_done_and_no_more_often_than_asked(tmp_path):
    path = tmp_path / "heartbeat" / "host-0.json"
    seldom = looking(tmp_path)
    seldom(3)
    assert {"stage": "rl", "step": 3}.items() <= json.loads(path.read_text()).items()
    seldom(4)
    assert json.loads(path.read_text())["step"] == 3
    often = looking(tmp_path, hosts={"beat_s": 0.0})
    for step in (4, 5):
        often(step)
        assert json.loads(path.read_text())["step"] == step


def test_the_steps_that_are_asked_for_are_profiled(tmp_path):
    profiled = looking(tmp_path, profile="rl:2-3")
    found = []
    for step in range(4):
        profiled(step)
        jax.block_until_ready(jnp.arange(10.0) * step)
        found.append(bool(list((tmp_path / "profile").rglob("*.xplane.pb"))))
    profiled.close()
    assert found == [False, False, False, True]
    cut_short = looking(tmp_path / "b", profile="rl:1-9")
    cut_short(0)
    cut_short.close()
    assert list((tmp_path / "b" / "profile" / "host-0").rglob("*.xplane.pb"))
    for other in ("sft:1-2", ""):
        looking(tmp_path / "c", profile=other)(0)
        assert not (tmp_path / "c" / "profile").exists()


@pytest.mark.parametrize("profile", ["rl", "rl:0-3", "rl:4-3", "eval:1-2", "rl:1"])
def test_a_misspelt_wish_is_one_line(tmp_path, profile):
    with pytest.raises(ValueError, match="not like sft:10-12"):
        looking(tmp_path, profile=profile)


def test_memory_is_that_of_the_fullest_host(tmp_path, monkeypatch):
    class Two:
        count, index, names, is_first = 2, 0, ("a", "b"), True

        def gather(self, what, value):
            return [value, {name: 3 * v for name, v in value.items()}]

    looked = Looking(base.get_config(), Workdir(tmp_path, Two()), "rl")
    line = {"reward": 1.0, "hosts": {"waiting_s": [0, 1]}}
    assert looked.with_memory(line) == line  # a CPU does not say
    monkeypatch.setattr(looking_module, "memory", lambda: {"memory_gib": 2.0})
    found = looked.with_memory(line)
    assert found == {"reward": 1.0, "memory_gib": 6.0, "hosts": {"waiting_s": [0, 1], "memory_gib": [2.0, 6.0]}}
    assert looking(tmp_path).with_memory({"loss": 1.0}) == {"loss": 1.0, "memory_gib": 2.0}
