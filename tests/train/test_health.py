"""When training stops itself."""

import pytest

from selfexec_jax.train.health import complaint
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


def test_what_recovers_or_has_just_begun_is_let_be():
    assert complaint([], OPTIONS) == complaint([GOOD] * 20, OPTIONS) == ""
    slip = GOOD | {"reward": -0.9, "infra_share": 1.0}
    assert complaint([GOOD, GOOD, slip, GOOD, GOOD, slip, GOOD], OPTIONS) == ""
