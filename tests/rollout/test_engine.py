"""Continuous batching must not show in any answer: not in tokens, not in log-probabilities, not in endings."""

import dataclasses
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfexec_jax.model import Transformer
from selfexec_jax.model.transformer import init_params, merged
from selfexec_jax.rollout import Engine, Request, decode
from selfexec_jax.train.scores import token_logprobs

CACHE = 64


@pytest.fixture(scope="module")
def new_engine(tiny, letters):
    def make(**options):
        options = {"slots": 6, "devices": jax.devices()[:1], "prefill_tokens": 48, "steps_per_dispatch": 4,
                   "prompt_buckets": (16,)} | options  # fmt: skip
        return Engine(tiny[0], letters, cache_length=CACHE, **options)

    return make


@pytest.fixture(scope="module")
def engine(new_engine, tiny):
    return new_engine().load(tiny[1], 0)


@pytest.fixture(scope="module")
def full(tiny, forward):
    """Logits of the trainer's forward for a sequence, compiled once by padding."""

    def logits(tokens):
        row = jnp.zeros((1, CACHE), jnp.int32).at[0, : len(tokens)].set(jnp.array(tokens))
        return forward(tiny[1], row, jnp.arange(CACHE)[None], jnp.ones((1, CACHE), jnp.int32))[:, : len(tokens)]

    return logits


def prompt(n, seed=0):
    return tuple(np.random.default_rng((n, seed)).integers(2, 64, n).tolist())


MIXED = [
    Request(prompt(5), n=3, max_new_tokens=20, seed=11),
    Request(prompt(14), n=1, max_new_tokens=30, temperature=0.0),
    Request(prompt(20), n=4, max_new_tokens=9, temperature=0.6, seed=1 << 40),
    Request(prompt(3), n=2, max_new_tokens=25, top_p=0.8, seed=3),
    Request(prompt(5), n=2, max_new_tokens=12, temperature=1.4, top_k=5, seed=4),
    Request(prompt(1), n=1, max_new_tokens=40, seed=5),
]


@pytest.fixture(scope="module")
def together(engine):
    return engine.generate(MIXED)  # 13 samples over 6 slots


def same(a, b, atol=1e-5):
    """The same tokens, and log-probabilities up to rounding: a cache is as long as the crowd needs, and processors with
    long vectors (AVX-512) add up a longer one in another order. Elsewhere they are the same to the last bit."""
    assert [(s.prompt_tokens, s.tokens, s.text, s.finish_reason) for s in a] == [
        (s.prompt_tokens, s.tokens, s.text, s.finish_reason) for s in b
    ]
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x.logprobs, y.logprobs, rtol=0, atol=atol)


def test_order_and_number_of_samples(together):
    assert [len(samples) for samples in together] == [r.n for r in MIXED]
    for request, samples in zip(MIXED, together, strict=True):
        assert {s.prompt_tokens for s in samples} == {request.prompt_tokens}
        assert all(len(s.tokens) == len(s.logprobs) <= request.max_new_tokens for s in samples)
    assert len({s.tokens for s in together[0]}) == 3  # the samples of a request differ


def test_answers_do_not_depend_on_the_rest_of_the_batch(engine, together):
    for request, samples in zip(MIXED, together, strict=True):
        same(engine.generate([request])[0], samples)  # in slots that others have used
    backwards = engine.generate(MIXED[::-1])[::-1]
    for a, b in zip(backwards, together, strict=True):
        same(a, b)


def test_with_a_cache_of_one_length_they_are_the_same_to_the_last_bit(new_engine, tiny):
    """So what rounds is the length of the cache alone: not the crowd, the slots, or what is prefilled together."""
    one_length = new_engine(prompt_buckets=()).load(tiny[1], 0)
    crowd = one_length.generate(MIXED)
    for request, samples in zip(MIXED, crowd, strict=True):
        same(one_length.generate([request])[0], samples, atol=0)
    backwards = one_length.generate(MIXED[::-1])[::-1]
    for a, b in zip(backwards, crowd, strict=True):
        same(a, b, atol=0)


def test_answers_do_not_depend_on_lanes_and_dispatches(new_engine, tiny, together):
    device = jax.devices()[0]
    other = new_engine(slots=4, devices=[device, device], steps_per_dispatch=7, prefill_tokens=1).load(tiny[1], 0)
    for a, b in zip(other.generate(MIXED), together, strict=True):
        same(a, b)


def test_sample_j_depends_on_the_seed_and_j_alone(engine, together):
    request = MIXED[0]
    more = engine.generate([Request(request.prompt_tokens, n=7, max_new_tokens=20, seed=11)])[0]
    same(more[:3], together[0])
    other = engine.generate([Request(request.prompt_tokens, n=3, max_new_tokens=20, seed=12)])[0]
    assert not {s.tokens for s in other} & {s.tokens for s in together[0]}


def test_logprobs_are_the_trainers_at_the_same_temperature(together, full):
    gaps = []
    for request, samples in zip(MIXED, together, strict=True):
        for s in samples:
            tokens = s.prompt_tokens + s.tokens
            expected = token_logprobs(full(tokens), jnp.array([tokens]), request.temperature or 1.0)
            gaps.append(np.abs(np.asarray(expected)[0, len(s.prompt_tokens) :] - s.logprobs))
    gaps = np.concatenate(gaps)
    assert gaps.mean() < 1e-5 and gaps.max() < 1e-3


def test_temperature_zero_is_the_argmax_of_the_full_forward(together, full):
    (answer,) = together[1]
    tokens = answer.prompt_tokens + answer.tokens
    best = np.asarray(full(tokens)[0].argmax(-1))
    assert best[len(answer.prompt_tokens) - 1 : -1].tolist() == list(answer.tokens)


@pytest.fixture(scope="module")
def many(engine):
    return engine.generate([Request(prompt(6), n=40, max_new_tokens=30, temperature=1.2, seed=9)])[0]


def test_an_answer_ends_at_the_end_mark_or_at_its_limit(many, letters):
    reasons = {s.finish_reason for s in many}
    assert reasons == {"stop", "length"}  # else the model is unsuited to this test
    for s in many:
        assert letters.end_id not in s.tokens[:-1]
        assert (s.tokens[-1] == letters.end_id) == (s.finish_reason == "stop")
        assert s.finish_reason == "stop" or len(s.tokens) == 30
        assert s.text == letters.decode(s.tokens)


def test_a_stop_string_ends_an_answer_wherever_it_falls_in_a_dispatch(engine, many, letters):
    ended = next(s for s in many if s.finish_reason == "stop" and len(s.tokens) % 4 not in (0, 1) and len(s.text) > 5)
    cut = next(s for s in many if s.finish_reason == "length")
    # Also when the end mark comes right behind it in the same dispatch.
    for s, stop in ((ended, ended.text[-3:]), (cut, cut.text[9:11]), (cut, cut.text[2:4])):
        request = Request(prompt(6), n=40, max_new_tokens=30, temperature=1.2, seed=9, stop=("no such text", stop))
        answer = engine.generate([request])[0][many.index(s)]
        n = s.text.index(stop) + len(stop)
        assert (answer.text, answer.tokens, answer.finish_reason) == (s.text[:n], s.tokens[:n], "stop")
        assert len(answer.logprobs) == n


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (Request((), max_new_tokens=5), "request 1.*prompt"),
        (Request(prompt(3), max_new_tokens=0), "request 1.*max_new_tokens"),
        (Request(prompt(3), n=0), "request 1"),
    ],
)
def test_an_impossible_request_is_refused_before_anything_is_decoded(engine, request_, named):
    before = engine.counts.dispatches
    with pytest.raises(ValueError, match=named):
        engine.generate([Request(prompt(3), max_new_tokens=4), request_])
    assert engine.counts.dispatches == before


def test_a_request_may_fill_the_cache_to_the_last_token(engine):
    prompts = prompt(50)
    (found,) = engine.generate([Request(prompts, n=8, max_new_tokens=CACHE - 50, seed=2)])
    short = engine.generate([Request(prompts, n=8, max_new_tokens=6, seed=2)])[0]
    assert max(len(s.tokens) for s in found) == CACHE - 50
    assert [s.tokens[:6] for s in found] == [s.tokens for s in short]


def test_stream_gives_samples_as_they_finish_and_can_be_abandoned(engine, together):
    slow, fast = Request(prompt(6), max_new_tokens=50, temperature=0.0), Request(prompt(7), n=2, max_new_tokens=2)
    order = [i for i, _ in engine.stream([slow, fast])]
    assert order == [1, 1, 0]
    stream = engine.stream([slow, fast])
    assert next(stream)[0] == 1
    stream.close()
    assert not any(int(lane.slots["left"].sum()) for lane in engine.lanes)  # no slot decodes on
    for a, b in zip(engine.generate(MIXED), together, strict=True):
        same(a, b)


def test_a_cancelled_request_comes_back_early_and_leaves_the_others_alone(engine):
    slow, fast = Request(prompt(6), max_new_tokens=50, temperature=0.0), Request(prompt(7), max_new_tokens=2)
    other = Request(prompt(8), max_new_tokens=30, temperature=0.0)
    alone = engine.generate([slow])[0][0]
    assert len(alone.tokens) > 20
    found = {}
    for i, s in engine.stream([slow, fast, other]):
        found[i] = s
        if i == 1:
            engine.cancel(0)
    assert found[0].finish_reason == "cancelled"
    assert 0 < len(found[0].tokens) < 20 and found[0].tokens == alone.tokens[: len(found[0].tokens)]
    same([found[2]], engine.generate([other])[0])
    same(engine.generate([slow])[0], [alone])  # a cancellation does not outlive its stream
    with pytest.raises(RuntimeError, match="no stream is running"):
        engine.cancel(0)
    first, second = engine.stream([fast]), engine.stream([fast])
    next(first)
    with pytest.raises(RuntimeError, match="answers a stream already"):
        next(second)
    first.close()


def test_new_weights_change_answers_and_version_without_compiling(new_engine, tiny):
    engine = new_engine()
    with pytest.raises(ValueError, match="load"):
        engine.generate(MIXED[:1])
    params = tiny[1]
    before = engine.load(params, 3).generate(MIXED)
    jitted = (decode.prefill, decode.insert, decode.resize, decode.decode)
    sizes = [f._cache_size() for f in jitted]
    after = engine.load(params | {"q": -params["q"]}, 4).generate(MIXED)
    assert [f._cache_size() for f in jitted] == sizes
    new_engine().load(params, 5).generate(MIXED)  # nor does a second engine of the same model
    assert [f._cache_size() for f in jitted] == sizes
    assert {s.params_version for samples in before for s in samples} == {3}
    assert {s.params_version for samples in after for s in samples} == {4}
    assert [s.tokens for s in after[0]] != [s.tokens for s in before[0]]


def test_slots_must_divide_over_the_devices(new_engine):
    with pytest.raises(ValueError, match="slots=5"):
        new_engine(slots=5, devices=jax.devices()[:1] * 2)


def test_weights_are_merged_and_cast_once_when_they_are_loaded(tiny, letters):
    changes = {"lora_rank": 2, "compute_dtype": "bfloat16", "scan_layers": True, "remat": "layer"}
    adapted = Transformer(dataclasses.replace(tiny[0].cfg, **changes))
    fresh = init_params(adapted, jax.random.key(0))
    given = {n: a + 0.1 if n.endswith("lora_b") else a for n, a in fresh.items()} | tiny[1]
    options = {"slots": 2, "cache_length": CACHE, "prompt_buckets": (16,), "devices": jax.devices()[:1]}
    engine = Engine(adapted, letters, **options).load(given, 0)
    held = engine.lanes[0].params
    assert {n: {a.dtype for a in jax.tree.leaves(each)} for n, each in held.items()} == {
        n: {jnp.dtype(jnp.float32 if n.endswith("norm") else jnp.bfloat16)} for n in tiny[1]
    }
    plain = Transformer(dataclasses.replace(tiny[0].cfg, compute_dtype="bfloat16"))
    other = Engine(plain, letters, **options).load(merged(given, adapted.cfg), 0)
    asked = [Request(prompt(5), max_new_tokens=12, seed=1)]
    assert engine.generate(asked)[0][0].tokens == other.generate(asked)[0][0].tokens


def test_a_prompt_that_does_not_fit_says_so_and_harms_no_other(engine, together):
    long = Request(prompt(60), n=2, max_new_tokens=5)
    answers = engine.generate([long, *MIXED])
    assert [(s.finish_reason, s.tokens, s.index) for s in answers[0]] == [("too_long", (), 0), ("too_long", (), 1)]
    assert answers[0][0].error == "request 0: a prompt of 60 and 5 new tokens do not fit rollout.cache_length=64"
    for a, b in zip(answers[1:], together, strict=True):
        same(a, b)
    (only,) = engine.generate([long])
    assert len(only) == 2


def test_requests_join_a_running_stream(engine, together):
    with pytest.raises(RuntimeError, match="no stream is running"):
        engine.submit(MIXED[0])
    found = {}
    for i, sample in engine.stream(MIXED[:2]):
        found.setdefault(i, []).append(sample)
        if len(found) == 1 and len(found[i]) == 1:
            assert [engine.submit(request) for request in MIXED[2:4]] == [2, 3]
            with pytest.raises(ValueError, match="request 4: needs a prompt"):
                engine.submit(Request((), max_new_tokens=5))
            with pytest.raises(RuntimeError, match="answers a stream already"):
                engine.generate(MIXED[:1])
        if i == 3 and len(found[3]) == 2:  # when all may have ended
            assert engine.submit(Request(prompt(60), max_new_tokens=5)) == 4
    for i in range(4):
        same(sorted(found[i], key=lambda s: s.index), together[i])
    assert found[4][0].finish_reason == "too_long"


def test_deadlines_and_cancellations_reach_those_that_wait(engine):
    slow = Request(prompt(6), n=6, max_new_tokens=50, temperature=0.0)  # in every slot
    late, never = Request(prompt(7), n=2, max_new_tokens=5, deadline_s=1e-9), Request(prompt(8), max_new_tokens=2)
    soon = Request(prompt(9), max_new_tokens=40, temperature=0.0, deadline_s=60)
    found = {}
    for i, sample in engine.stream([slow, late, never, soon]):
        found.setdefault(i, []).append(sample)
        engine.cancel(2)
    assert [(s.finish_reason, s.tokens) for s in found[1]] == [("deadline", ())] * 2
    assert [(s.finish_reason, s.tokens) for s in found[2]] == [("cancelled", ())]
    assert found[3][0].finish_reason in ("stop", "length") and len(found[0]) == 6
    held = Request(prompt(6), max_new_tokens=50, temperature=0.0, deadline_s=1e-9)
    stream = engine.stream([Request(prompt(7), max_new_tokens=3)])
    next(stream)
    stream.close()
    (cut,) = engine.generate([held])[0]
    assert cut.finish_reason == "deadline" and cut.tokens == ()


def test_short_slots_change_nothing(new_engine, tiny, together):
    engine = new_engine(short_slots=((2, 16), (2, 32))).load(tiny[1], 0)
    for a, b in zip(engine.generate(MIXED), together, strict=True):
        same(a, b)
    assert engine.counts.promoted > 2
    with pytest.raises(ValueError, match="short_slots"):
        new_engine(short_slots=((6, 16),))


def test_a_prompt_is_prefilled_once_for_all_its_samples(new_engine, tiny):
    engine = new_engine(slots=4).load(tiny[1], 0)
    asked = [Request(prompt(6), n=30, max_new_tokens=9, seed=1), Request(prompt(7), n=2, max_new_tokens=9),
             Request(prompt(6), n=5, max_new_tokens=20, seed=2),
             Request(prompt(6), max_new_tokens=9, top_p=0.5)]  # fmt: skip
    engine.generate(asked)
    assert engine.counts.prefilled == 2
    engine.load(tiny[1], 1).generate(asked[:1])
    assert engine.counts.prefilled == 3  # with new weights it is another cache


def test_slots_stay_occupied_while_others_wait(new_engine, tiny):
    engine = new_engine(slots=8, prefill_tokens=16).load(tiny[1], 0)
    lengths = np.random.default_rng(0).integers(2, 40, 120)
    engine.generate([Request(prompt(5, i), max_new_tokens=int(n), seed=i) for i, n in enumerate(lengths)])
    assert engine.counts.occupancy > 0.9


def test_nothing_is_compiled_after_warm_up(tiny, letters):
    engine = Engine(tiny[0], letters, slots=6, cache_length=CACHE, short_slots=((2, 32),), prompt_buckets=(16,),
                    prefill_tokens=32, steps_per_dispatch=4, devices=jax.devices()[:1]).load(tiny[1], 0)  # fmt: skip
    engine.warm_up()
    jitted = (decode.prefill, decode.insert, decode.resize, decode.decode, decode.release)
    sizes = [f._cache_size() for f in jitted]
    rng = np.random.default_rng(0)
    for seed in range(12):
        asked = [
            Request(
                prompt(int(rng.integers(1, 50)), i), n=int(rng.integers(1, 6)), max_new_tokens=int(rng.integers(1, 14)),
                temperature=float(rng.choice([0, 0.7, 1])), top_p=float(rng.choice([0.5, 1])),
                top_k=int(rng.choice([0, 3])), stop=("5",) if seed % 2 else (), seed=seed,
                deadline_s=float(rng.choice([0, 0.05])),
            )
            for i in range(int(rng.integers(1, 9)))
        ]  # fmt: skip
        for i, _ in engine.stream(asked):
            if rng.random() < 0.1:
                engine.cancel(i)
    assert [f._cache_size() for f in jitted] == sizes
    assert engine.counts.promoted > 0


@pytest.mark.parametrize("n", [2000, pytest.param(20_000, marks=pytest.mark.long)])
def test_soak(new_engine, tiny, n):
    """Requests of random shape in streams of hundreds; every one is answered, and nothing grows."""
    engine = new_engine(slots=16, steps_per_dispatch=8, short_slots=((4, 16),)).load(tiny[1], 0)
    rng, asked_for, live = np.random.default_rng(0), 0, []
    while asked_for < n:
        asked = [
            Request(
                prompt(int(rng.integers(1, 62)), int(rng.integers(30))), n=int(rng.integers(1, 4)),
                max_new_tokens=int(rng.integers(1, 10)), temperature=float(rng.choice([0, 1])),
                top_p=float(rng.choice([0.9, 1])), stop=("7",) if rng.random() < 0.1 else (), seed=i,
            )
            for i in range(min(500, n - asked_for))
        ]  # fmt: skip
        asked_for += len(asked)
        found = [[] for _ in asked]
        for i, sample in engine.stream(asked):
            found[i].append(sample.index)
            if rng.random() < 0.01:
                engine.cancel(int(rng.integers(len(asked))))
        assert [sorted(indices) for indices in found] == [list(range(request.n)) for request in asked]
        del found, asked, sample
        live.append((len(jax.live_arrays()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
    assert live[-1][0] <= live[0][0] + 5 and live[-1][1] < 1.1 * live[len(live) // 2][1]
