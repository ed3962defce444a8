"""When training stops itself."""

import pytest

from selfexec_jax.train.health import complaint, watched
from tests.train.knobs import knobs

GOOD = {"entropy": 0.5, "answer_tokens_mean": 50.0, "reward": 0.2, "infra_share": 0.0}
OPTIONS = knobs(health_window=3, stop_entropy_share=0.1, stop_length_share=0.2, stop_reward_drop=0.5,
                stop_infra_share=0.5)  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"entropy": 0.04}, "rl.stop_entropy_share"),
        ({"answer_tokens_mean": 9.0}, "rl.stop_length_share"),
        ({"reward": -0.4}, "rl.stop_reward_drop"),
        ({"infra_share": 0.6}, "rl.stop_infra_share"),
    ],
)
def test_a_collapse_is_named_once_it_lasts(bad, field):
    history = [GOOD] * 4
    assert complaint(history + [GOOD | bad] * 2, OPTIONS) == ""
    assert field in complaint(history + [GOOD | bad] * 3, OPTIONS)
    off = knobs(health_window=3, stop_entropy_share=0.0, stop_length_share=0.0, stop_reward_drop=0.0,
                stop_infra_share=0.0)  # fmt: skip
    assert complaint(history + [GOOD | bad] * 3, off) == ""


def test_steps_that_had_nothing_to_measure_are_left_out():
    empty = GOOD | {"entropy": None, "reward": None}
    assert complaint([GOOD] * 4 + [empty] * 6, OPTIONS) == ""
    assert complaint([empty] * 4 + [GOOD | {"reward": -0.9}] * 6, OPTIONS) == ""
    line = {"entropy": 0.0, "learned_tokens": 0.0, "answer_tokens_mean": 3.0, "reward": 0.0, "infra_share": 0.0}
    assert watched(line)["entropy"] is None and watched(line)["reward"] is None
    known = watched(line | {"learned_tokens": 5.0, "label_reward/solve/failed": -1.0})
    assert (known["entropy"], known["reward"]) == (0.0, 0.0)


def test_what_recovers_or_has_just_begun_is_let_be():
    assert complaint([], OPTIONS) == complaint([GOOD] * 20, OPTIONS) == ""
    slip = GOOD | {"reward": -0.9, "infra_share": 1.0}
    assert complaint([GOOD, GOOD, slip, GOOD, GOOD, slip, GOOD], OPTIONS) == ""
