"""How a model is asked in an evaluation."""

import pytest

from selfexec_jax.configs import base, tiny
from selfexec_jax.stages.asking import asks_of


def test_simulations_go_on_in_pieces_only_where_they_are_told_in_pieces():
    config = base.get_config()
    assert asks_of(config)["simulate"].max_chunks == 1
    config.tasks.chunk_chars = 160
    assert asks_of(config)["simulate"].max_chunks == config.tasks.max_chunks > 1


@pytest.mark.parametrize(
    ("row", "field"),
    [("long_runs_in_voted_pieces", "eval.chunk_votes=5"), ("votes_3", "eval.votes=3"), ("base", "belief.votes=3")],
)
def test_answers_that_would_be_all_alike_do_not_vote(row, field):
    config = tiny.get_config(row if row != "base" else None)
    config.belief.problems = 20 if row == "base" else 0
    config.eval.simulate_temperature = 1.0
    asked = asks_of(config)["simulate"]
    assert asked.chunk_votes == config.eval.chunk_votes and asked.temperature == 1.0
    config.eval.simulate_temperature = 0.0
    with pytest.raises(ValueError, match=rf"^{field}: .*eval\.simulate_temperature"):
        asks_of(config)
