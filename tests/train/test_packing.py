"""Packing of what RL learns from into micro-batches of few shapes."""

import jax
import numpy as np
import pytest

from selfexec_jax.model.sharding import make_mesh
from selfexec_jax.rollout import Sample
from selfexec_jax.train.packing import Item, pack, pack_rows, row_shapes
from selfexec_jax.train.rollouts import Turn
from tests.train.knobs import knobs


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(devices=jax.devices()[:1])


def items_of(lengths):
    return [Item(Turn(Sample((3,), (4,) * (n - 1), (-1.0,) * (n - 1), "", "stop", 0))) for n in lengths]


def test_first_fit():
    assert pack_rows([5, 4, 3, 1, 2], 8) == [[0, 2], [1, 3, 4]]
    assert pack_rows([], 8) == []
    with pytest.raises(ValueError, match="9 tokens.*row of 8"):
        pack_rows([3, 9], 8)
    assert pack_rows([5, 4, 9, 3, 1, 2, 8], 8, 2) == [[0, 3], [1, 4, 5]]  # of two rows, what fits
    assert pack_rows([5], 8, 2) == [[0], []] and pack_rows([5], 8, 0) == []


def test_a_sample_longer_than_a_row_is_an_error():
    with pytest.raises(ValueError, match=r"rl\.row_tokens"):
        pack(items_of([4, 7]), {6: [3]})


def test_micro_batches_have_two_shapes_within_the_token_budget(mesh):
    assert row_shapes(knobs(row_tokens=448, micro_tokens=7168), mesh) == {448: [16, 4]}
    assert row_shapes(knobs(row_tokens=448, micro_tokens=500), mesh) == {448: [1]}
    lengths = []
    for n in range(1, 60):
        items = items_of(np.random.default_rng(n).integers(5, 11, 2 * n))
        batches = pack(items, {10: [16, 4]})
        lengths += [len(b["tokens"]) for b in batches]
        rows = sum(len(b["tokens"]) for b in batches)
        used = sum(int((b["segments"].max(1) > 0).sum()) for b in batches)
        assert rows - used <= 3
    assert set(lengths) == {16, 4}


def test_short_rows_take_what_fits_and_long_ones_are_filled_up(mesh):
    options = knobs(row_tokens=352, short_row_tokens=128, micro_tokens=1408)
    assert row_shapes(options, mesh) == {352: [4, 1], 128: [11, 2]}
    with pytest.raises(ValueError, match=r"rl\.short_row_tokens=352 is not below rl\.row_tokens=352"):
        row_shapes(knobs(row_tokens=352, short_row_tokens=352), mesh)
    lengths = [300, 200, 129] + [128, 50, 40, 30] * 8
    items = items_of(lengths)
    batches = pack(items, row_shapes(options, mesh))
    assert [b["tokens"].shape for b in batches] == [(1, 352), (1, 352), (11, 128), *[(2, 128)] * 3]
    held = [{lengths[i] for i in np.unique(b["item"][b["segments"] > 0])} for b in batches]
    assert held[0] == {300, 50} and held[1] == {200, 129} and max(max(h) for h in held[2:]) == 128
    found = [i for b in batches for i in np.unique(b["item"][b["segments"] > 0])]
    assert sorted(found) == list(range(len(items)))
    assert [b["tokens"].shape for b in pack(items[3:5], row_shapes(options, mesh))] == [(2, 128)]
