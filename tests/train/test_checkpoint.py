"""Checkpoints: whole or not taken, damage is seen and passed over, and any mesh and type can be restored."""

import dataclasses
import logging
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfexec_jax.configs import base
from selfexec_jax.model.sharding import make_mesh
from selfexec_jax.train.checkpoint import Checkpoints
from selfexec_jax.train.checksum import checksums
from selfexec_jax.train.sft import make_optimizer
from selfexec_jax.train.state import abstract_state
from selfexec_jax.train.stopping import Stopped
from tests.train.toy import small_model


@pytest.fixture(scope="module")
def made():
    """(state, target)"""
    init, _, target = abstract_state(small_model()[0], make_optimizer(base.get_config().sft), 0, _mesh())
    return init(), target


def _mesh():
    return make_mesh(devices=jax.devices()[:1])


def states(made, n):
    state, _ = made
    return [dataclasses.replace(state, step=jnp.int32(i), params=jax.tree.map(lambda a, i=i: a + i, state.params))
            for i in range(1, n + 1)]  # fmt: skip


def save(folder, states, keep=2):
    with Checkpoints(folder, keep) as checkpoints:
        for state in states:
            checkpoints.save(int(state.step), state, {"data": int(state.step)}, {"a": np.arange(int(state.step))})


def harmed(how, folder, step):
    """Does it to every file that may hold parameters: not all of them are read."""
    files = [p for p in (folder / str(step) / "state").rglob("*") if p.is_file() and "/d/" in str(p)]
    for path in files:
        how(path)
    assert files


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_the_newest_are_kept_and_the_last_is_restored(made, tmp_path):
    given = states(made, 3)
    save(tmp_path / "c", given)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["2", "3"]
    with Checkpoints(tmp_path / "c") as checkpoints:
        state, extra, arrays = checkpoints.restore(made[1])
        assert same(state, given[-1]) and extra == {"data": 3} and arrays["a"].tolist() == [0, 1, 2]
    with Checkpoints(tmp_path / "none") as checkpoints:
        assert checkpoints.restore(made[1]) is None


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: harmed(cut, folder, 3),
        lambda folder: harmed(flip, folder, 3),
        lambda folder: harmed(Path.unlink, folder, 3),
        lambda folder: cut(folder / "3" / "state" / "_METADATA"),
        lambda folder: (folder / "3" / "extra" / "metadata").write_text("{"),
    ],
    ids=["cut", "a bit", "gone", "metadata", "extra"],
)
def test_a_damaged_checkpoint_is_passed_over_and_said(made, tmp_path, caplog, harm):
    given = states(made, 3)
    save(tmp_path / "c", given)
    harm(tmp_path / "c")
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert same(checkpoints.restore_params(made[1].params), given[1].params)
    with caplog.at_level(logging.WARNING), Checkpoints(tmp_path / "c") as checkpoints:
        state, extra, arrays = checkpoints.restore(made[1])
        assert same(state, given[1]) and extra == {"data": 2} and arrays["a"].tolist() == [0, 1]
        assert f"{tmp_path}/c/3: damaged (" in caplog.text
        checkpoints.save(3, given[2], {"data": 33})  # in the damaged one's place
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.restore(made[1])[1] == {"data": 33}


def test_what_a_read_fails_of_is_damage_unless_somebody_asks_to_end(made, tmp_path, monkeypatch, caplog):
    given = states(made, 2)
    save(tmp_path / "c", given)

    def read(step, params):
        if step.name == "2":
            raise ends

    with Checkpoints(tmp_path / "c") as checkpoints:
        monkeypatch.setattr(checkpoints, "_check", read)
        ends = TimeoutError()  # which says nothing
        assert same(checkpoints.restore_params(made[1].params), given[0].params)
        assert "c/2: damaged (TimeoutError: )" in caplog.text
        ends = Stopped("asked to end")
        with pytest.raises(Stopped):
            checkpoints.restore(made[1])


def test_when_all_are_damaged_nothing_begins_again_by_itself(made, tmp_path):
    save(tmp_path / "c", states(made, 2))
    for step in (1, 2):
        harmed(flip, tmp_path / "c", step)
    said = "every checkpoint there is damaged"
    with Checkpoints(tmp_path / "c") as checkpoints, pytest.raises(ValueError, match=said):
        checkpoints.restore(made[1])


def test_what_is_saved_is_what_was_there_when_save_was_called(made, tmp_path):
    """Training goes on in the memory that a checkpoint is written from."""
    state = states(made, 1)[0]
    before = jax.device_get(state)
    step = jax.jit(lambda s: jax.tree.map(lambda a: a + 1 if a.dtype == jnp.float32 else a, s), donate_argnums=0)
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, state, {})
        for _ in range(50):
            state = step(state)
        jax.block_until_ready(state)
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert same(checkpoints.restore(made[1])[0], before)


def test_parameters_are_restored_in_another_type(made, tmp_path):
    given = states(made, 1)
    save(tmp_path / "c", given)
    target = {k: jax.ShapeDtypeStruct(v.shape, jnp.bfloat16, sharding=v.sharding) for k, v in given[0].params.items()}
    with Checkpoints(tmp_path / "c") as checkpoints:
        found = checkpoints.restore_params(target)
    assert {a.dtype for a in found.values()} == {jnp.dtype(jnp.bfloat16)}
    assert same(found, {k: v.astype(jnp.bfloat16) for k, v in given[0].params.items()})


def test_sums_are_those_of_a_slow_reference_and_see_every_bit():
    rng = np.random.default_rng(0)
    tree = {"a": rng.normal(size=(3, 5)).astype(np.float32), "b": np.uint8([1, 2]), "c": np.int32(7)}
    tree["d"] = jnp.asarray(tree["a"], jnp.bfloat16)

    def slow(a):
        words = np.asarray(a).reshape(-1).view({1: np.uint8, 2: np.uint16, 4: np.uint32}[a.dtype.itemsize])
        return sum(int(w) * (2 * i * 2654435761 + 1) for i, w in enumerate(words)) % 2**32

    found = checksums(tree)
    assert found == {f"['{k}']": slow(np.atleast_1d(v)) for k, v in tree.items()}
    for bit in (0, 13, 31):
        changed = tree | {"a": tree["a"].copy()}
        changed["a"].view(np.uint32)[1, 2] ^= np.uint32(1 << bit)
        assert checksums(changed) != found
    swapped = tree | {"a": tree["a"][::-1]}
    assert checksums(swapped)["['a']"] != found["['a']"]


def test_a_run_that_goes_on_from_before_a_damaged_checkpoint_saves_again(made, tmp_path):
    """Also at steps that lie before the damaged one."""
    given = states(made, 4)
    save(tmp_path / "c", [given[1], given[3]])
    harmed(flip, tmp_path / "c", 4)
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert same(checkpoints.restore(made[1])[0], given[1])
        checkpoints.save(3, given[2], {})
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["2", "3"]
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert same(checkpoints.restore(made[1])[0], given[2])


def test_what_is_noted_is_noted_as_it_was(made, tmp_path):
    notes = {"rates": {"a": 1}}
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, states(made, 1)[0], notes)
        notes["rates"]["a"] = 2
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.restore(made[1])[1] == {"rates": {"a": 1}}


def test_a_checkpoint_that_one_host_cannot_read_is_passed_over_by_all(made, tmp_path):
    class Two:
        count = 2

        def gather(self, what, value):
            return [value, "OSError: cut" if what == "c 2" else ""]

    given = states(made, 2)
    save(tmp_path / "c", given)
    with Checkpoints(tmp_path / "c", hosts=Two()) as checkpoints:
        assert same(checkpoints.restore(made[1])[0], given[0])
