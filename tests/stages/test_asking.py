"""How a model is asked in an evaluation."""

import pytest

from selfexec_jax.configs import base, tiny
from selfexec_jax.stages.asking import asks_of


def test_simulations_go_on_in_pieces_only_where_they_are_told_in_pieces():
    config = base.get_config()
    assert asks_of(config)["simulate"].max_chunks == 1
    config.tasks.chunk_chars = 160
    assert asks_of(config)["simulate"].max_chunks == config.tasks.max_chunks > 1


def test_answers_that_would_be_all_alike_do_not_vote():
    asked = asks_of(tiny.get_config("long_runs_in_voted_pieces"))["simulate"]
    assert asked.chunk_votes == 5 and asked.temperature == 1.0
    config = tiny.get_config("long_runs_in_voted_pieces")
    config.eval.simulate_temperature = 0.0
    with pytest.raises(ValueError, match=r"eval\.chunk_votes.*eval\.simulate_temperature"):
        asks_of(config)
