"""Mutated inputs: new, of the same types, the same for the same seed."""

import ast
import random

from selfexec_jax.problems.mutate import more_inputs, mutated

KNOWN = ["[1, 2, 3], 'abc', k=True", "{'a': [1.5], 2: None}, (), k=False"]


def test_new_inputs_are_of_the_same_types():
    found = more_inputs(KNOWN, 50, 0)
    assert len(set(found)) == len(found) == 50
    assert not set(found) & set(KNOWN)
    for text in found:
        call = ast.parse(f"f({text})", mode="eval").body
        values = [ast.literal_eval(part) for part in [*call.args, *(k.value for k in call.keywords)]]
        assert [k.arg for k in call.keywords] == ["k"]
        assert tuple(map(type, values)) in {(list, str, bool), (dict, tuple, bool)}


def test_the_seed_decides():
    assert more_inputs(KNOWN, 9, 3) == more_inputs(KNOWN, 9, 3) != more_inputs(KNOWN, 9, 4)


def test_bytes_stay_bytes():
    for seed in range(40):  # a capital of ÿ is no byte
        assert all(type(ast.literal_eval(text)) is bytes for text in more_inputs(["b'\\xff\\xb5'"], 3, f"{seed}"))


def test_what_cannot_be_changed_is_left_alone():
    assert mutated("g(1), x", random.Random(0)) == "g(1), x"
    assert mutated("", random.Random(0)) == ""
    assert more_inputs(["None"], 3, 0) == []
    assert more_inputs([], 3, 0) == []
    assert all(text.startswith("g(1), ") for text in more_inputs(["g(1), 5"], 5, 0))
    assert len(more_inputs(["b'x', {1}, 2.5"], 10, 0)) == 10
