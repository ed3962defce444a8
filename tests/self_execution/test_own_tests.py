"""Inputs that the model proposes, and its candidates' votes on their outputs."""

import pytest

from selfexec_jax.problems import Problem, Test
from selfexec_jax.self_execution import Asking
from selfexec_jax.self_execution.candidates import frequencies
from selfexec_jax.self_execution.own_tests import own_tests, propose_inputs
from selfexec_jax.self_execution.verify import Ranking, tie_broken
from selfexec_jax.tasks import predict, propose
from tests.self_execution.canned import CannedEngine, Characters

COMPACT = Asking(template="compact", max_new_tokens=33)
ADD = Problem("add", "Add.", public_tests=(Test("1 2\n", "3\n"),), private_tests=(Test("7 7\n", "777\n"),))
CALL = Problem("twice", "Double.", kind="call", entry_point="twice", public_tests=(Test("[1]", "[2, 2]"),))
SAID = ["1 2", "3 4", "3 4\n", ("5", "length"), "6 6", "8 8"]  # public, new, again, cut off, new, one too many


def engine_of(outputs):
    def answer(prompt, j):
        if prompt.startswith("input"):
            return SAID[j]
        source, given = prompt.splitlines()[1], prompt.splitlines()[-1][1:]
        return outputs[source][given]

    return CannedEngine(answer)


def test_inputs_are_new_ones_and_nothing_private_is_shown():
    engine = engine_of({})
    (of_add, of_call) = propose_inputs(engine, Characters(), [ADD, CALL], 2, 0, COMPACT)
    assert of_add == (["3 4\n", "6 6\n"], 3 + 3 + 4 + 1 + 3 + 3, len(propose.render(ADD, "compact")[0]["content"]))
    assert of_call == ([], 0, 0) and "777" not in "".join(engine.asked)


def ranking(*scores):
    return Ranking(scores, (), 0, 0)


def test_contenders_that_agree_with_most_are_ranked_first_where_public_tests_say_nothing():
    outputs = {"a": {"3 4": "=>7", "6 6": "=>12"}, "b": {"3 4": "=>7 ", "6 6": "=>0"},
               "c": {"3 4": "=>1", "6 6": "who"}, "d": {"3 4": "!ValueError", "6 6": "!ValueError"}}  # fmt: skip
    engine = engine_of(outputs)
    sources = ["a", "b", "c", None, "a", "d", "d", "d", "wrong"]  # the last is known by its public test
    items, rankings = [(ADD, sources), (CALL, ["x", "y"])], [ranking(1, 1, 1, 0, 1, 1, 1, 1, 0), ranking(1, 1)]
    ((add), (call)) = own_tests(engine, Characters(), items, rankings, 2, 0, COMPACT, COMPACT)
    assert add.inputs == ("3 4\n", "6 6\n")
    # Of seven contenders; who crashes in the same way agrees on nothing.
    assert add.scores == pytest.approx([n / 7 / 2 for n in (3 + 2, 3 + 1, 1, 0, 3 + 2, 0, 0, 0, 0)])
    asked = [predict.render(s, g, "compact")[0]["content"] for s in "abcd" for g in ("3 4", "6 6")]
    assert engine.asked[1:] == asked  # each program once
    answers = sum(len(said) for row in outputs.values() for said in row.values())
    assert add.n_tokens == 17 + answers and add.n_prefilled == len(engine.asked[0]) + sum(map(len, asked))
    assert (call.inputs, call.scores, call.n_tokens) == ((), (0.0, 0.0), 0)
    scores = tie_broken(rankings[0], add.scores)
    assert scores[0] == max(scores) > scores[1] > scores[8]


def test_a_program_that_public_tests_rule_out_does_not_vote_as_another_problems_contender():
    outputs = {"a": {"3 4": "=>0", "6 6": "=>0"}, "b": {"3 4": "=>0", "6 6": "=>0"},
               "c": {"3 4": "=>1", "6 6": "=>1"}}  # fmt: skip
    other = Problem("other", "Add.", public_tests=ADD.public_tests)
    items, rankings = [(other, ["a", "b"]), (ADD, ["a", "b", "c"])], [ranking(1, 1), ranking(0, 1, 1)]
    _, beside = own_tests(engine_of(outputs), Characters(), items, rankings, 2, 0, COMPACT, COMPACT)
    (alone,) = own_tests(engine_of(outputs), Characters(), items[1:], rankings[1:], 2, 0, COMPACT, COMPACT)
    assert beside.scores == alone.scores == (0.0, 0.5, 0.5)


def test_one_contender_needs_no_tests():
    engine = engine_of({})
    items = [(ADD, ["a", "a", None, "b"]), (ADD, [None, None])]
    found = own_tests(engine, Characters(), items, [ranking(1, 1, 0, 0.5), ranking(0, 0)], 2, 0, COMPACT, COMPACT)
    assert not engine.asked and [(own.inputs, own.n_tokens) for own in found] == [((), 0)] * 2


def test_programs_are_counted_whatever_their_names():
    sources = ["x = 1\nprint(x)\n", "y = 1\nprint(y)\n", "print((\n", None, "y = 2\nprint(y)\n"]
    assert frequencies(sources) == pytest.approx([0.4, 0.4, 0.2, 0.0, 0.2])
