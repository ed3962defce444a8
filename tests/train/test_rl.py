"""The RL loop: what is packed, what the gradient is, how stale it may be, and that a choice worth taking is learned."""

import contextlib
import dataclasses
import threading
from concurrent.futures import Future

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfexec_jax.model.sharding import make_mesh
from selfexec_jax.train import rl
from selfexec_jax.train.checkpoint import Checkpoints
from selfexec_jax.train.health import Unhealthy
from selfexec_jax.train.packing import pack, row_shapes
from selfexec_jax.train.rollouts import Ask, Drawn, End, Group, Outcome, Prompt, Rollout, Turn, with_advantages
from selfexec_jax.train.scores import token_logprobs
from selfexec_jax.train.state import abstract_state
from selfexec_jax.train.stopping import Stopped
from selfexec_jax.train.update import items_of, make_learner, make_optimizer
from tests.train.knobs import group, knobs, rollout
from tests.train.toy import Toy, prompts, right, small_engine, small_model

GROUPS = [
    group("predict", [1.0, -1.0, -1.0, -1.0], 1),
    group("solve", [1.0, 1.0, 1.0, 1.0], 2),  # no advantage
    group("rlef", [1.0, None, -1.0, -1.0], 3, n_turns=2),  # a member that the infrastructure failed
    group("solve", [None, None, float("nan"), 1.0], 4),  # fewer than two are left
    group("solve", [1.0, -1.0, 1.0, -1.0], 5, first_wrong=1),
]
WEIGHT = {"predict": 0.8, "solve": 1.0, "rlef": 2.0, "toy": 1.0}


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(devices=jax.devices()[:1])


def turns_of(groups):
    """(turn, advantage, where the advantage begins) of all that is to be learned from, by the first wrong line."""
    return [
        (turn, a, (r.outcome.first_wrong or 0) if a < 0 else 0)
        for g in groups
        for r, a in zip(g.rollouts, g.advantages, strict=True)
        for turn in r.turns
        if a
    ]


def test_advantages_are_weighted_after_the_baseline_and_failures_masked():
    found = with_advantages(GROUPS, "mean", WEIGHT)
    expected = [
        0.8 * np.array([1.5, -0.5, -0.5, -0.5]),
        np.zeros(4),
        2.0 * np.array([4 / 3, 0, -2 / 3, -2 / 3]),
        np.zeros(4),
        np.array([1, -1, 1, -1]),
    ]
    for g, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(g.advantages, e, atol=1e-6)
    assert with_advantages([], "mean", WEIGHT) == []


def test_a_batch_baseline_is_that_of_the_task():
    found = with_advantages([group("solve", [1.0, -1.0], 1), group("predict", [1.0, 1.0], 2)], "batch", WEIGHT)
    np.testing.assert_allclose(found[0].advantages, [1, -1], atol=1e-5)
    assert not found[1].advantages.any()


@pytest.mark.parametrize("shapes", [{24: [2]}, {24: [4, 2]}, {24: [2, 1], 8: [4, 2]}])
def test_packing_keeps_every_answer_once_and_drops_what_has_no_advantage(shapes):
    groups = with_advantages(GROUPS, "mean", WEIGHT)
    batches = pack(items_of(groups, knobs(credit="first_wrong")), shapes)
    assert all(b["tokens"].shape[0] in shapes[b["tokens"].shape[1]] for b in batches)
    found = []
    for batch in batches:
        assert len({v.shape for v in batch.values()}) == 1
        for row in range(len(batch["tokens"])):
            b = {k: v[row] for k, v in batch.items()}
            for segment in range(1, b["segments"].max() + 1):
                at = np.flatnonzero(b["segments"] == segment)
                assert (np.diff(at) == 1).all() and b["positions"][at].tolist() == list(range(len(at)))
                answer = at[b["is_answer"][at] == 1]
                assert answer.tolist() == at[-len(answer) :].tolist()
                assert (b["advantage"][at[: -len(answer)]] == 0).all()
                found.append(
                    (tuple(b["tokens"][at[: -len(answer)]]), tuple(b["tokens"][answer]),
                     tuple(b["sampler"][answer]), tuple(b["advantage"][answer]))
                )  # fmt: skip
            outside = b["segments"] == 0
            assert not any(b[k][outside].any() for k in ("tokens", "is_answer", "advantage", "sampler", "scale"))
    expected = []
    for turn, a, first in turns_of(groups):
        advantage = np.full(len(turn.sample.tokens), np.float32(a))
        advantage[:first] = 0
        sample = turn.sample
        expected.append((sample.prompt_tokens, sample.tokens, tuple(np.float32(sample.logprobs)), tuple(advantage)))
    assert len(expected) == 4 + 2 * 3 + 4
    assert sorted(found) == sorted(expected)


def test_an_advantage_counts_where_it_was_earned():
    """Over two turns, of which the first is right to the end and the second from its third token on is not."""
    right, better, worse = (rollout(np.random.default_rng(0), (2, 3), r, n_turns=2) for r in (1.0, -0.2, -0.6))
    a, b = (len(turn.sample.tokens) for turn in better.turns)
    at = a + min(2, b)
    better, worse = (Rollout(r.turns, dataclasses.replace(r.outcome, first_wrong=at)) for r in (better, worse))

    def learned(rollouts, advantages, **changes):
        g = Group(Prompt("predict", "0", (2, 3)), rollouts, np.float32(advantages))
        found = []
        for batch in pack(items_of([g], knobs(**changes)), {24: [4]}):
            for i in range(4 * len(rollouts)):
                tokens = batch["advantage"][(batch["item"] == i) & (batch["is_answer"] == 1)]
                found += [tokens.tolist()] if tokens.size else []
        return found

    rest = [0.0] * (a + b - at)
    assert sum(learned([better], [0.2]), []) == [np.float32(0.2)] * at + rest  # what came after did not earn it
    assert sum(learned([worse], [-0.2]), []) == [np.float32(-0.2)] * (a + b)
    blamed = sum(learned([worse], [-0.2], credit="first_wrong"), [])
    assert blamed == [0.0] * at + [np.float32(-0.2)] * (a + b - at)
    assert sum(learned([right], [0.8]), []) == [np.float32(0.8)] * (a + b)


def test_without_the_filter_all_that_earned_a_reward_is_packed():
    groups = with_advantages(GROUPS, "mean", WEIGHT)
    assert len(items_of(groups, knobs(zero_advantage_filter=False))) == 4 + 4 + 3 * 2 + 1 + 4
    # Without any advantage and without a regulariser there is nothing to learn.
    none = with_advantages(GROUPS[1:2], "mean", WEIGHT)
    assert items_of(none, knobs(zero_advantage_filter=False)) == []
    for regulariser in ({"kl": 0.1}, {"entropy_bonus": 0.1}):  # acts where no advantage does
        assert len(items_of(none, knobs(**regulariser))) == 4


def test_what_is_not_learned_from_is_not_packed():
    (g,) = with_advantages([group("rlef", [1.0, -1.0], 6, n_turns=3)], "mean", WEIGHT)
    simulated = [Rollout((r.turns[0], Turn(r.turns[1].sample, is_learned=False), r.turns[2]), r.outcome)
                 for r in g.rollouts]  # fmt: skip
    found = items_of([Group(g.prompt, simulated, g.advantages)], knobs())
    assert [item.turn for item in found] == [r.turns[i] for r in g.rollouts for i in (0, 2)]


def learner_of(model, options, mesh):
    tx = make_optimizer(options)
    _, start, target = abstract_state(model, tx, 0, mesh)
    return make_learner(model, tx, options, target, mesh), start


def gradients(model, params, mesh, options, batches):
    learner, _ = learner_of(model, options, mesh)
    total, metrics = jax.tree.map(jnp.zeros_like, params), []
    for batch in batches:
        total, found = learner.gradients.add(params, total, learner.place(batch))
        metrics.append(found)
    return total, metrics


@pytest.mark.parametrize("objective", ["clipped", "sequence_clipped", "policy_gradient"])
def test_on_policy_the_gradient_is_that_of_reinforce(tiny, forward, mesh, objective):
    model, params = tiny
    options = knobs(row_tokens=24, short_row_tokens=8, micro_tokens=48, prompts=5, group_size=4, max_new_tokens=9,
                    temperature=0.8, objective=objective, credit="first_wrong")  # fmt: skip
    groups = with_advantages(GROUPS, "mean", WEIGHT)
    batches = pack(items_of(groups, options), row_shapes(options, mesh))
    assert {b["tokens"].shape[1] for b in batches} == {24, 8}
    got, metrics = gradients(model, params, mesh, options, batches)

    # Each answer on its own, unpacked, padded to one length: sum of A log p over a fixed number.
    items = turns_of(groups)
    tokens, weight = np.zeros((len(items), 12), np.int32), np.zeros((len(items), 12), np.float32)
    for row, (turn, a, first) in enumerate(items):
        n, m = len(turn.sample.prompt_tokens), len(turn.sample.tokens)
        tokens[row, : n + m] = turn.sample.prompt_tokens + turn.sample.tokens
        weight[row, n + first : n + m] = a

    @jax.jit
    def reinforce(params):
        ones = jnp.ones(tokens.shape, jnp.int32)
        logits = forward(params, jnp.asarray(tokens), jnp.broadcast_to(jnp.arange(12), tokens.shape), ones)
        logprobs = token_logprobs(logits, tokens, 0.8)
        if objective == "sequence_clipped":  # every token of an answer stands for the mean of all
            is_answer = (np.arange(12) >= 4) & (tokens > 0)
            mean = (logprobs * is_answer).sum(1, keepdims=True) / is_answer.sum(1, keepdims=True)
            logprobs = jnp.broadcast_to(mean, tokens.shape)
        return -(logprobs * weight).sum() / (5 * 4 * 9)

    expected = jax.jit(jax.grad(reinforce))(params)
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], atol=1e-6, err_msg=name)
    assert max(float(jnp.abs(g).max()) for g in expected.values()) > 1e-3
    assert sum(int(m["sum"]["tokens"]) for m in metrics) == sum(len(t.sample.tokens) for t, *_ in items)
    assert all(int(m["sum"]["clipped"]) == 0 for m in metrics)


def test_off_policy_the_ratio_is_taken_to_the_policy_that_sampled(tiny, forward, mesh):
    model, params = tiny
    options = knobs(row_tokens=24, micro_tokens=24 * 8, prompts=5, group_size=4, max_new_tokens=9, staleness=1)
    groups = with_advantages(GROUPS, "mean", WEIGHT)
    learner, _ = learner_of(model, options, mesh)
    drawn = Drawn.of(groups)
    drawn.score(lambda turns: learner.score(params, turns))
    scored = with_advantages(drawn.collect()[0], "mean", WEIGHT)
    for g in scored:  # they are those of the whole, unpacked
        for r in g.rollouts:
            (turn, *_) = r.turns
            s = turn.sample
            whole = s.prompt_tokens + s.tokens
            tokens, ones = jnp.asarray([whole + (0,) * (12 - len(whole))]), jnp.ones((1, 12), jnp.int32)
            logits = forward(params, tokens, jnp.arange(12)[None], ones)
            alone = token_logprobs(logits, tokens)[0, len(s.prompt_tokens) : len(whole)]
            np.testing.assert_allclose(turn.old, alone, atol=1e-5)
    batches = pack(items_of(scored, options), {24: [8]})
    same, metrics = gradients(model, params, mesh, options, batches)
    assert sum(int(m["sum"]["clipped"]) for m in metrics) == 0
    on_policy, _ = gradients(model, params, mesh, knobs(**dict(options) | {"staleness": 0}), batches)
    for name in same:
        np.testing.assert_allclose(same[name], on_policy[name], atol=1e-6)
    # Where the answer has become likelier by far, what is right gains nothing more.
    far = [b | {"old": b["old"] - 1.0} for b in batches]
    _, metrics = gradients(model, params, mesh, options, far)
    positive = sum(int((b["advantage"] > 0).sum()) for b in batches)
    assert sum(int(m["sum"]["clipped"]) for m in metrics) == positive > 0


SMALL = dict(group_size=16, max_new_tokens=1, row_tokens=8, micro_tokens=128, learning_rate=2e-2, warmup_steps=1,
             checkpoint_every=1000, weight={"toy": 1.0}, stop_entropy_share=0.0, stop_length_share=0.0,
             stop_reward_drop=0.0)  # fmt: skip  # a bandit that is learned has no entropy left


def trained(options, toy, mesh, directory, max_new_tokens=1, engine=None):
    """(final parameters, a line a step, groups of every step)."""
    model, params = small_model()
    engine = engine or small_engine(model)
    lines, seen = [], []

    def log(step, line, groups):
        lines.append(line)
        seen.append(groups)

    found = rl.train(options, model, engine, lambda: params, mesh, 0, directory, toy, log)
    return found, lines, seen


GOOD = 2


def choosing_two(prompt, turns):
    return right(turns[-1].sample.tokens[0] == GOOD)


@pytest.mark.parametrize("name", ["the paper's", "off policy", "every regulariser"])
def test_a_two_token_bandit_is_learned(mesh, tmp_path, name):
    options = knobs(steps=25, prompts=2, **SMALL | {
        "the paper's": {},
        "off policy": {"staleness": 2, "updates": 2, "objective": "sequence_clipped", "normaliser": "sequence",
                       "advantage": "leave_one_out", "importance_cap": 2.0},
        "every regulariser": {"kl": 0.01, "entropy_bonus": 0.001, "advantage": "batch", "normaliser": "token",
                              "zero_advantage_filter": False},
    }[name])  # fmt: skip
    toy = Toy(prompts((3, 2), (2, 2, 3)), choosing_two)
    found, lines, _ = trained(options, toy, mesh, tmp_path / "rl")
    shares = [line["right/toy"] for line in lines]
    assert len(lines) == 25 and shares[0] < 0.4 and np.mean(shares[-3:]) > 0.9, shares
    assert lines[0]["reward/toy"] == pytest.approx(2 * shares[0] - 1)
    gaps = [line["logprob_gap"] for line in lines]
    assert max(gaps) < 1e-5 and max(line["logprob_gap_max"] for line in lines) < 1e-3
    assert [line["staleness"] for line in lines] == [min(t, options.staleness) for t in range(25)]
    # Started again, the finished run gives its parameters back and does nothing.
    toy.draw = lambda step, n: pytest.fail("drew")
    again, _, _ = trained(options, toy, mesh, tmp_path / "rl")
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_two_turn_episode_is_learned_by_its_end(mesh, tmp_path):
    """The first answer decides what is asked next; only the pair (4, then 6) is right, and both turns are learned."""

    def judge(prompt, turns):
        if len(turns) == 1:
            return [(9, turns[0].sample.tokens[0])]
        return right([t.sample.tokens[0] for t in turns] == [4, 6])

    # What follows a first answer depends on it, but a second right answer is worth nothing after a wrong first.
    options = knobs(steps=60, prompts=2, **SMALL | {"group_size": 32, "micro_tokens": 256})
    _, lines, seen = trained(options, Toy(prompts((3, 2), (2, 2, 3)), judge), mesh, tmp_path / "rl")
    assert lines[0]["right/toy"] < 0.2
    assert np.mean([line["right/toy"] for line in lines[-3:]]) > 0.9
    for r in seen[0][0].rollouts:
        assert [t.sample.prompt_tokens for t in r.turns] == [(3, 2), (9, r.turns[0].sample.tokens[0])]


def test_turns_that_are_simulated_are_asked_together_and_not_learned_from(mesh, tmp_path):
    class Simulating(Toy):
        def react(self, prompt, turns):
            ask = super().react(prompt, turns)
            if len(turns) == 1:
                object.__setattr__(ask, "is_learned", False)
            return ask

    def judge(prompt, turns):
        if len(turns) == 1:
            return [(9, 2), (9, 3), (9, 4)]
        return [(8, 8)] if len(turns) == 4 else right(turns[-1].sample.tokens[0] == 5)

    options = knobs(steps=2, prompts=2, **SMALL)
    _, lines, seen = trained(options, Simulating(prompts((3, 2), (2, 2, 3)), judge), mesh, tmp_path / "rl")
    for g in seen[0]:
        for r in g.rollouts:
            assert [t.is_learned for t in r.turns] == [True, False, False, False, True]
            assert [t.sample.prompt_tokens for t in r.turns[1:]] == [(9, 2), (9, 3), (9, 4), (8, 8)]
    kept = sum(bool(a) for g in seen[0] for a in g.advantages)
    assert lines[0]["turns"] == 2 and lines[0]["learned_tokens"] == sum(
        len(t.sample.prompt_tokens) + 1 for g in seen[0] for r, a in zip(g.rollouts, g.advantages, strict=True)
        for t in r.turns if t.is_learned and a
    ) and kept  # fmt: skip


def test_an_episode_that_ends_while_others_wait_does_not_end_them(mesh, tmp_path):
    class Late(Toy):
        def react(self, prompt, turns):
            if len(turns) > 1:
                return super().react(prompt, turns)
            asked, index = Future(), turns[0].sample.index
            said = End(super().react(prompt, turns)) if index % 2 else [(9, 9)]
            threading.Timer(0.02 * index, lambda: asked.set_result(said)).start()
            return Ask(asked)

    toy = Late(prompts((3, 2)), lambda prompt, turns: right(len(turns) == 2))
    _, lines, seen = trained(knobs(steps=1, prompts=1, **SMALL), toy, mesh, tmp_path / "rl")
    assert [len(r.turns) for r in seen[0][0].rollouts] == [2, 1] * 8 and lines[0]["right/toy"] == 0.5


@pytest.mark.parametrize("staleness", [0, 3])
def test_a_batch_is_sampled_wholly_by_the_policy_of_its_staleness(mesh, tmp_path, staleness):
    toy = Toy(prompts((3, 2), (2, 2, 3)), choosing_two, slow_s=0.01)
    options = knobs(steps=6, prompts=2, staleness=staleness, **SMALL)
    _, lines, seen = trained(options, toy, mesh, tmp_path / "rl")
    for step, groups in enumerate(seen):
        versions = {t.sample.params_version for g in groups for r in g.rollouts for t in r.turns}
        assert versions == {max(0, step - staleness)}
    # What a draw may know: the groups that were learned from when it was made.
    assert toy.drawn == [(t, 2 * max(0, t - staleness)) for t in range(6)]
    again = Toy(toy.prompts, choosing_two)
    _, twins, _ = trained(options, again, mesh, tmp_path / "again")  # late rewards change nothing
    for a, b in zip(lines, twins, strict=True):
        assert {k: v for k, v in a.items() if not k.endswith("_s") and k != "seconds"} == {
            k: v for k, v in b.items() if not k.endswith("_s") and k != "seconds"
        }


@pytest.mark.parametrize(
    "poison",
    [
        lambda i: Outcome(float("nan"), "odd"),
        lambda i: Outcome(None, "infra_error"),
        lambda i: Outcome(-1.0, "truncated"),
        lambda i: Outcome(float("inf") if i else None, "odd"),
    ],
    ids=["a reward that is no number", "nothing could be judged", "all truncated", "infinite"],
)
@pytest.mark.parametrize("advantage", ["mean", "batch"])
def test_poisoned_batches_change_nothing_but_the_counters(mesh, tmp_path, poison, advantage):
    toy = Toy(prompts((3, 2), (2, 2, 3)), lambda prompt, turns: poison(turns[-1].sample.index))
    options = knobs(steps=2, prompts=2, advantage=advantage, **SMALL | {"checkpoint_every": 1})
    _, params = small_model()
    found, lines, _ = trained(options, toy, mesh, tmp_path / "rl")
    for name in params:
        np.testing.assert_array_equal(found[name], params[name])
    assert [line["groups_kept"] for line in lines] == [0, 0] and lines[0]["grad_norm"] == 0
    assert all(np.isfinite(v) for line in lines for v in line.values())
    tx = make_optimizer(options)
    _, _, target = abstract_state(small_model()[0], tx, 0, mesh)
    with Checkpoints(tmp_path / "rl") as checkpoints:
        state, extra, _ = checkpoints.restore(target)
    assert int(state.step) == 0 and extra["run"]["step"] == 2
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.opt))


def test_an_empty_batch_and_answers_without_tokens_are_survived(mesh, tmp_path):
    toy = Toy([], choosing_two)
    _, lines, _ = trained(knobs(steps=1, prompts=2, **SMALL), toy, mesh, tmp_path / "none")
    assert lines[0]["groups"] == 0 and lines[0]["grad_norm"] == 0
    long = Prompt("toy", "long", tuple([3] * 40))  # leaves no room in the engine
    judge = lambda p, t: Outcome(None, "too_long") if p.name == "long" else choosing_two(p, t)  # noqa: E731
    toy = Toy([long, *prompts((3, 2))], judge)
    _, lines, _ = trained(knobs(steps=1, prompts=2, **SMALL | {"staleness": 1}), toy, mesh, tmp_path / "long")
    assert lines[0]["label/toy/too_long"] == 0.5 and lines[0]["masked"] == 16 and lines[0]["grad_norm"] > 0


def test_gradients_that_are_no_numbers_stop_the_run_and_leave_the_checkpoint(mesh, tmp_path):
    toy = Toy(prompts((3, 2), (2, 2, 3)), choosing_two)
    options = knobs(steps=4, prompts=2, kl=float("nan"), **SMALL | {"checkpoint_every": 1})
    with pytest.raises(Unhealthy, match=r"stopped in step 1: the gradients are not finite.*rl\.learning_rate"):
        trained(options, toy, mesh, tmp_path / "rl")
    assert not [p for p in (tmp_path / "rl").iterdir() if p.name.isdigit()]


def test_a_reward_that_collapses_stops_the_run(mesh, tmp_path):
    seen = []

    def judge(prompt, turns):
        seen.append(1)
        return right(len(seen) <= 4 * 32 and choosing_two(prompt, turns).is_right or len(seen) % 7 == 0)

    options = knobs(steps=40, prompts=2, health_window=2, **SMALL | {"learning_rate": 0.1, "stop_reward_drop": 0.3})
    with pytest.raises(Unhealthy, match=r"the reward fell from .* \(rl\.stop_reward_drop\)"):
        trained(options, Toy(prompts((3, 2), (2, 2, 3)), judge), mesh, tmp_path / "rl")


def test_the_best_checkpoint_is_kept_beside_the_last(mesh, tmp_path):
    """Validation asks for another token than training does: it is best early on."""

    def judge(prompt, turns):
        token = turns[-1].sample.tokens[0]
        return right(token != GOOD if prompt.name == "held" else token == GOOD)

    toy = Toy(prompts((3, 2), (2, 2, 3)), judge)
    toy.held_back = [Prompt("toy", "held", (3, 3))]
    options = knobs(steps=20, prompts=2, validate_every=4, validation_samples=16, **SMALL)
    _, lines, _ = trained(options, toy, mesh, tmp_path / "rl")
    values = {step: line["validation"] for step, line in enumerate(lines) if "validation" in line}
    assert sorted(values) == [0, 4, 8, 12, 16, 20] and values[20] < values[4]
    kept = [int(p.name) for p in (tmp_path / "rl_best").iterdir() if p.name.isdigit()]
    assert kept == [max(values, key=values.get)]


def test_nothing_is_compiled_after_the_first_steps(mesh, tmp_path):
    compiled = []
    toy = Toy(prompts((3, 2), (2, 2, 3)), lambda p, t: right(np.sum(t[-1].sample.tokens) % 2))
    options = knobs(steps=8, prompts=2, staleness=1, updates=2, kl=0.1,
                    **SMALL | {"max_new_tokens": 6, "row_tokens": 16, "micro_tokens": 64})  # fmt: skip
    model, params = small_model()
    engine = small_engine(model).load(params, 0).warm_up()
    events = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: events.append(name) if "backend_compile" in name else None
    )

    def log(step, line, groups):
        compiled.append(len(events))

    rl.train(options, model, engine, lambda: small_model()[1], mesh, 0, tmp_path / "rl", toy, log)
    assert compiled[2] > 0 and compiled[-1] == compiled[2], compiled




@pytest.mark.parametrize(("asked_in", "staleness"), [(1, 0), (3, 0), (4, 1)])
def test_asked_while_it_samples_a_run_leaves_that_and_goes_on_as_if_it_had_not(
    mesh, tmp_path, monkeypatch, asked_in, staleness
):
    """asked_in: the batch in whose sampling the run is asked to end."""
    options = knobs(steps=5, prompts=2, **SMALL | {"checkpoint_every": 2, "staleness": staleness})
    asks = lambda: Toy(prompts((3, 2), (2, 2, 3)), choosing_two)  # noqa: E731
    _, whole, _ = trained(options, asks(), mesh, tmp_path / "whole")
    toy = asks()
    flag, react = threading.Event(), toy.react

    def reacts(prompt, turns):
        if len(toy.drawn) == asked_in and turns[-1].sample.index == 2:
            flag.set()
        return react(prompt, turns)

    toy.react = reacts
    monkeypatch.setattr(rl, "between_steps", lambda: contextlib.nullcontext(flag.is_set))
    with pytest.raises(Stopped, match=f"saved after step {max(asked_in - 1 - staleness, 0)} of 5"):
        trained(options, toy, mesh, tmp_path / "cut")
    monkeypatch.undo()
    _, rest, _ = trained(options, asks(), mesh, tmp_path / "cut")
    timeless = lambda lines: [{k: v for k, v in x.items() if not k.endswith("_s") and k != "seconds"} for x in lines]  # noqa: E731
    assert timeless(rest) == timeless(whole)[5 - len(rest) :] and len(rest) == 5 - max(asked_in - 1 - staleness, 0)
