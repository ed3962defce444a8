"""Packing loses nothing, mixes nothing up, and can be resumed."""

import collections
import itertools
import json

import numpy as np
import pytest

from selfexec_jax.train.data import Example, PackedUpdates, fits


def examples(start, n, seed=0):
    """Each example's tokens begin with a number of its own."""
    rng = np.random.default_rng(seed)
    return [
        Example([start + i, *[5] * int(rng.integers(1, 6))], [7] * int(rng.integers(1, 8))) for i in range(n)
    ]


def batches_of(sets, mix, n, seed=0, rows=4, row_tokens=24):
    return [batch for (batch,) in itertools.islice(PackedUpdates(sets, mix, rows, row_tokens, seed), n)]


def unpacked(batch):
    """The examples of a batch, read back by its segments: (tokens, answer mask)."""
    for tokens, is_answer, segments, positions in zip(*(batch[k] for k in BATCH), strict=True):
        for segment in range(1, segments.max() + 1):
            at = np.flatnonzero(segments == segment)
            assert (np.diff(at) == 1).all()
            assert positions[at].tolist() == list(range(len(at)))
            yield tokens[at].tolist(), is_answer[at].tolist()
        assert (is_answer[segments == 0] == 0).all() and (tokens[segments == 0] == 0).all()


BATCH = ("tokens", "is_answer", "segments", "positions")


def test_examples_come_back_whole_from_packed_rows():
    every = examples(100, 20)
    known = {e.prompt[0]: e for e in every}
    seen = []
    for batch in batches_of({"a": every}, {"a": 1.0}, 6):
        assert set(batch) == set(BATCH) and {v.shape for v in batch.values()} == {(4, 24)}
        for tokens, is_answer in unpacked(batch):
            example = known[tokens[0]]
            assert tokens == example.prompt + example.answer
            assert is_answer == [0] * len(example.prompt) + [1] * len(example.answer)
            seen.append(tokens[0])
    assert len(seen) > 30 and set(seen) == set(known)
    assert max(batch["segments"].max() for batch in batches_of({"a": every}, {"a": 1.0}, 6)) > 1  # rows are shared


def test_the_seed_decides_the_stream():
    sets = {"a": examples(100, 20)}
    same = [batches_of(sets, {"a": 1.0}, 3, seed=s) for s in (0, 0, 1)]
    for a, b in zip(same[0], same[1], strict=True):
        np.testing.assert_array_equal(a["tokens"], b["tokens"])
    assert any((a["tokens"] != b["tokens"]).any() for a, b in zip(same[0], same[2], strict=True))


def test_shares_are_kept_and_a_share_of_zero_is_left_out():
    sets = {"a": examples(100, 20), "b": examples(200, 20), "c": examples(300, 3)}
    firsts = [t[0] // 100 for b in batches_of(sets, {"a": 0.75, "b": 0.25, "c": 0.0}, 40) for t, _ in unpacked(b)]
    assert np.bincount(firsts, minlength=4)[1:] / len(firsts) == pytest.approx([0.75, 0.25, 0], abs=0.03)


def test_a_resumed_stream_goes_on_where_it_stopped():
    sets = {"a": examples(100, 20), "b": examples(200, 9)}
    whole, first, second = (PackedUpdates(sets, {"a": 0.5, "b": 0.5}, 4, 24, 0, 2, 8) for _ in range(3))
    for _ in range(5):
        next(whole), next(first)
    second.set_state(json.loads(json.dumps(first.get_state())))
    for _ in range(5):
        for a, b in zip(next(whole), next(second), strict=True):
            for name in BATCH:
                np.testing.assert_array_equal(a[name], b[name])


def test_short_examples_have_short_rows_and_everything_its_share():
    """Of both lengths as much is learned as without: shares of sets, and how often each example comes."""
    sets, mix = {"a": examples(100, 30), "b": examples(200, 30, seed=1)}, {"a": 0.7, "b": 0.3}
    known = {e.prompt[0]: e for found in sets.values() for e in found}
    stream, seen, tokens = PackedUpdates(sets, mix, 12, 24, 0, 6, 8), collections.Counter(), collections.Counter()
    for parts in itertools.islice(stream, 300):
        assert len(parts) == 6
        for part in parts:
            row = part["tokens"].shape[1]
            assert part["tokens"].shape == {24: (2, 24), 8: (6, 8)}[row]
            for found, is_answer in unpacked(part):
                example = known[found[0]]
                assert found == example.prompt + example.answer and sum(is_answer) == len(example.answer)
                assert (example.n_tokens > 8) == (row == 24)
                seen[found[0]] += 1
                tokens[row] += len(found)
    drawn = {name: sum(seen[e.prompt[0]] for e in found) for name, found in sets.items()}
    assert drawn["a"] / sum(drawn.values()) == pytest.approx(0.7, abs=0.03)
    weighted = [(e, share) for name, share in mix.items() for e in sets[name]]
    of_long = sum(share * e.n_tokens for e, share in weighted if e.n_tokens > 8)
    expected = of_long / sum(share * e.n_tokens for e, share in weighted)
    assert tokens[24] / sum(tokens.values()) == pytest.approx(expected, abs=0.05)
    of_a = [seen[e.prompt[0]] for e in sets["a"]]
    assert max(of_a) < 1.25 * min(of_a)


def test_short_rows_that_do_not_divide_long_ones_name_the_field():
    sets = {"a": examples(100, 20)}
    with pytest.raises(ValueError, match=r"sft\.short_row_tokens=9"):
        PackedUpdates(sets, {"a": 1.0}, 4, 24, 0, 2, 9)


def test_a_share_without_examples_names_the_field():
    with pytest.raises(ValueError, match=r"sft\.mix\.fix=0\.2"):
        PackedUpdates({"a": examples(1, 2), "fix": []}, {"a": 0.8, "fix": 0.2}, 4, 24, 0)


def test_examples_longer_than_a_row_are_left_out():
    short, exact, long = Example([1], [2]), Example([1] * 3, [2]), Example([1] * 3, [2, 2])
    assert fits([short, exact, long], 4) == [short, exact]
