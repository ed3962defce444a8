"""What answers earn and what is asked next, with a real sandbox and answers that are written here."""


import dataclasses
import json
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from selfexec_jax.configs import base
from selfexec_jax.problems import Problem, Test
from selfexec_jax.problems.judge import run_on
from selfexec_jax.problems.splits import program_key
from selfexec_jax.rollout import Sample
from selfexec_jax.sandbox import Execution, SandboxPool, TraceBudget
from selfexec_jax.stages.checks import check, check_rl
from selfexec_jax.stages.environment import ExecutionTasks
from selfexec_jax.stages.rewards import Case, Episode, Rewards, has_room, is_gibberish, repeats, standing
from selfexec_jax.stages.verdicts import Verdicts
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tasks import fix, predict
from selfexec_jax.traces import narrate, recorded_for
from selfexec_jax.train.rollouts import Ask, Group, Outcome, Prompt, Rollout, Turn

ADD = Problem(
    "add", "Add two numbers.", public_tests=(Test("1 2\n", "3\n"), Test("4 5\n", "9\n")),
    private_tests=(Test("-1 1\n", "0\n"), Test("10 20\n", "30\n")),
)  # fmt: skip
RIGHT = "a, b = map(int, input().split())\nprint(a + b)\n"
WRONG = "a, b = map(int, input().split())\nprint(a - b)\n"
PUBLIC_ONLY = "a, b = map(int, input().split())\nprint({1: 3, 4: 9}[a])\n"
PROBING = "print(open('/etc/passwd').read())\n" + RIGHT
TOO_LONG = "".join(f"x{i} = {i * i}\n" for i in range(60))


class Characters:
    """A token a character, so that a prompt can be read back."""

    def encode_prompt(self, messages):
        return [ord(c) for c in messages[0]["content"]]

    def decode(self, ids):
        return "".join(map(chr, ids))


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(workers=2) as found:
        yield found


def config_with(**changes):
    config = base.get_config()
    config.tasks.template = config.tasks.style = "compact"
    config.rl.row_tokens, config.rl.max_new_tokens, config.rl.problems = 700, 200, 4
    for name, value in changes.items():
        config.rl[name] = value
    return config


@pytest.fixture
def rewards(pool, tmp_path):
    made = []

    def make(**changes):
        made.append(Verdicts(tmp_path / f"journal-{len(made)}", pool))
        return Rewards(config_with(**changes), Characters(), [ADD], pool, made[-1])

    yield make
    for verdicts in made:
        verdicts.close()


def turn(text, reason="stop", is_learned=True, logprob=-0.1):
    tokens = tuple(map(ord, text))
    return Turn(Sample((1,), tokens, (logprob,) * len(tokens), text, reason, 0), is_learned)


def solve_prompt():
    return Prompt("solve", "add", (1,), ADD)


def episode(kind="real"):
    return Prompt("rlef", "add", (1,), Episode(ADD, kind))


def said(ask):
    found = ask.prompts.result(timeout=60)
    return found if not isinstance(found, list) else ["".join(map(chr, tokens)) for tokens in found]


# ---- solving --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (RIGHT, Outcome(1.0, "passed", True)),
        (WRONG, Outcome(-1.0, "failed")),
        (PUBLIC_ONLY, Outcome(-1.0, "failed", remarks=("passes_public_only",))),
        (PROBING, Outcome(-1.0, "failed", remarks=("denied",))),
        (" ", Outcome(-0.5, "no_answer")),
    ],
)
def test_a_program_earns_its_verdict(rewards, answer, outcome):
    assert rewards(reward_unreadable=-0.5).react(solve_prompt(), [turn(answer)]).result(timeout=60) == outcome


@pytest.mark.parametrize(
    ("changes", "given", "outcome"),
    [
        ({}, turn(RIGHT, "length"), Outcome(-1.0, "truncated")),
        ({"overlong": "mask"}, turn(RIGHT, "length"), Outcome(None, "truncated")),
        ({}, turn("ab" * 60, "length"), Outcome(-1.0, "truncated")),  # going on for ever is no way out
        ({}, turn("", "too_long"), Outcome(None, "too_long")),
        ({}, turn("ab" * 60), Outcome(None, "gibberish")),
        ({"gibberish_repeats": 1.0}, turn("ab" * 60), Outcome(-1.0, "failed")),
        ({}, turn(RIGHT, logprob=-4.0), Outcome(None, "gibberish")),
        ({"gibberish_nats": 5.0}, turn(RIGHT, logprob=-4.0), Outcome(1.0, "passed", True)),
    ],
)
def test_what_is_no_answer_is_punished_or_masked(rewards, changes, given, outcome):
    assert rewards(**changes).react(solve_prompt(), [given]).result(timeout=60) == outcome


def test_repeats_are_counted_and_short_answers_never_gibberish():
    assert repeats(range(100)) == 0 and repeats([1, 2] * 50) > 0.95 and repeats([]) == 0
    assert not is_gibberish(turn("ab" * 10, logprob=-9.0).sample, 0.5, 1.0)


# ---- predicting -----------------------------------------------------------------------------------------
def test_a_prediction_earns_its_label(rewards):
    prompt = Prompt("predict", "0/0", (1,), Case(ADD, RIGHT, "1 2\n", "3\n"))
    earned = lambda text, **changes: rewards(**changes).react(prompt, [turn(text)]).result(timeout=60)  # noqa: E731
    assert earned("=>3") == Outcome(1.0, "ok", True)
    assert earned("=>4") == Outcome(-1.0, "wrong")
    assert earned("four", reward_unreadable=-2.0) == Outcome(-2.0, "no_answer")


def simulated(pool):
    """The lines of a right simulation, and the prompt that asks for it; its output is 18."""
    source = "t = 0\nfor x in map(int, input().split()):\n    t += x * 2\nprint(t)\n"
    run = run_on(source, ADD, "4 5\n", TraceBudget(of=recorded_for("compact")))
    told = narrate(pool.submit(run).result(timeout=60).trace, style="compact").text
    return told.rstrip("\n").split("\n"), Prompt("predict", "0/0", (1,), Case(ADD, source, "4 5\n", "18\n"))


def test_blame_begins_with_the_first_line_that_does_not_hold(rewards, pool):
    lines, prompt = simulated(pool)

    def blamed(text, **changes):
        return rewards(**changes).react(prompt, [turn(text)]).result(timeout=60)

    answer = "\n".join([*lines, "=>18"])
    assert blamed(answer, credit="first_wrong") == Outcome(1.0, "ok", True)
    for i, line in enumerate(lines):
        if not any(c.isdigit() for c in line):
            continue
        wrong = "\n".join([*lines[:i], line[:-1] + ("1" if line[-1] != "1" else "2"), *lines[i + 1 :], "=>0"])
        found = blamed(wrong, credit="first_wrong")
        assert wrong[: found.first_wrong] == "\n".join(lines[:i]), (i, wrong)
        assert blamed(wrong).first_wrong is None
    # All was simulated right but the output: the last line is to blame.
    late = "\n".join([*lines, "=>19"])
    assert late[blamed(late, credit="first_wrong").first_wrong :] == "\n=>19"


def test_steps_earn_their_share_and_no_wrong_output_beats_a_right_one(rewards, pool):
    lines, prompt = simulated(pool)

    def earned(*lines, share=0.4):
        found = rewards(claims_share=share).react(prompt, [turn("\n".join(lines))]).result(timeout=60)
        return found.reward

    assert earned(*lines, "=>18") == pytest.approx(1.0)
    slips = [
        earned(*lines[:i], "t=99+1=100", *lines[i + 1 :], "=>19") for i in range(len(lines) + 1)
    ]  # the later the mistake, the more it earns
    assert slips == sorted(slips) and slips[0] == pytest.approx(-1.0) and slips[-1] > -0.4
    padded = earned(*lines, *lines, *lines, "=>19")
    assert -1.0 < padded < slips[-1] and earned(*lines[:2], "=>19") < slips[-1]
    guessed = earned("=>18")  # nothing is told, and the output is right
    assert guessed == pytest.approx(0.2) and guessed > max(slips)
    assert earned(*lines, "=>19", share=0.0) == -1.0
    # What has no answer earns what it told as well: nobody gains by guessing one early.
    told = "\n".join([*lines[:-1], lines[-1][:3]])
    for finish, label in (("stop", "no_answer"), ("length", "truncated")):
        unanswered = rewards(claims_share=0.4).react(prompt, [turn(told, finish)]).result(timeout=60)
        assert unanswered.label == label and unanswered.reward == earned(*lines[:-1], "=>19")
        assert rewards().react(prompt, [turn(told, finish)]).result(timeout=60) == Outcome(-1.0, label)


def test_steps_that_are_left_out_are_missing_but_end_nothing(rewards, pool):
    lines, prompt = simulated(pool)
    some = [*lines[:3], *lines[4:]]  # all but that the loop ends
    whole, short = (rewards(claims_share=0.4).react(prompt, [turn("\n".join([*told, "=>19"]))]).result(timeout=60)
                    for told in (lines, some))  # fmt: skip
    assert -0.3 < short.reward < whole.reward and short.first_wrong == len("\n".join(some))


def test_of_a_run_too_long_to_record_the_answer_alone_counts(rewards):
    source = "t = 0\nfor x in range(6000):\n    t += x\nprint(t)\n"
    prompt = Prompt("predict", "0/0", (1,), Case(ADD, source, "", "17997000\n"))
    for changes in ({"claims_share": 0.4}, {"credit": "first_wrong"}):
        for answer, outcome in (("t=0\n=>17997000", Outcome(1.0, "ok", True)), ("t=1\n=>1", Outcome(-1.0, "wrong"))):
            assert rewards(**changes).react(prompt, [turn(answer)]).result(timeout=60) == outcome


def test_a_run_is_recorded_once_for_all_that_simulate_it(rewards, pool):
    lines, prompt = simulated(pool)
    found, runs = rewards(claims_share=0.4), []
    submit = found._pool.submit
    found._pool = SimpleNamespace(submit=lambda run: runs.append(run) or submit(run))
    for answer in ("=>18", "=>19", lines[0] + "\n=>18"):
        assert found.react(prompt, [turn(answer)]).result(timeout=60).reward is not None
    assert len(runs) == 1


def test_a_simulation_in_pieces_goes_on_from_its_state_until_there_is_an_output(rewards, pool):
    lines, prompt = simulated(pool)
    begins, goes_on = "\n".join([*lines[:3], "@t=8;x in [5]"]), "\n".join([*lines[3:], "=>18"])

    def given(**tasks):
        found = rewards(claims_share=0.4)
        found._config.tasks.update(tasks)
        return found

    asks = given(chunk_chars=1).react(prompt, [turn(begins)])
    ((tokens,),) = [asks.prompts.result(timeout=60)]
    assert asks.is_learned and Characters().decode(tokens) == f"run\n{prompt.subject.source}@t=8;x in [5]"
    for at, wrong in ((2, lines[2][:-1] + "7"), (4, lines[4][:-1] + "7")):  # in either piece
        told = [*lines[:at], wrong, *lines[at + 1 :]]
        pieces = [turn("\n".join([*told[:3], "@t=8;x in [5]"])), turn("\n".join([*told[3:], "=>18"]))]
        first = given(chunk_chars=1).react(prompt, pieces).result(timeout=60).first_wrong
        whole = "".join(p.sample.text for p in pieces)
        assert whole[first:].lstrip("\n").startswith(wrong)
    done = given(chunk_chars=1).react(prompt, [turn(begins), turn(goes_on)])
    assert done.result(timeout=60) == Outcome(pytest.approx(1.0), "ok", True, len(begins + goes_on) - len("\n=>18"))
    for told in ([turn(begins), turn(begins)], [turn(begins)]):  # the last that is allowed, or in pieces unasked
        whole = given(chunk_chars=len(told) - 1, max_chunks=2).react(prompt, told)
        assert (whole := whole.result(timeout=60)).label == "no_answer" and whole.reward < -0.3


# ---- episodes -------------------------------------------------------------------------------------------
def test_an_episode_is_told_what_its_program_really_gave_and_earns_the_last_verdict(rewards):
    found = rewards()
    ask = found.react(episode(), [turn(WRONG)])
    assert isinstance(ask, Ask) and ask.is_learned
    expected = fix.render(ADD, WRONG, [fix.Feedback(ADD.public_tests[0], "-1\n"),
                                       fix.Feedback(ADD.public_tests[1], "-1\n")], "compact")  # fmt: skip
    (asked,) = said(ask)
    assert asked == expected[0]["content"]
    assert "-1 1" not in asked and "30" not in asked  # nothing private
    assert found.react(episode(), [turn(WRONG), turn(RIGHT)]).result(timeout=60) == Outcome(1.0, "passed", True)
    submits = found.react(episode(), [turn(WRONG), turn("#SUBMIT")])
    assert submits.result(timeout=60) == Outcome(-1.0, "failed")
    assert found.react(episode(), [turn(RIGHT), turn("#SUBMIT")]).result(timeout=60).is_right
    assert found.react(episode(), [turn(RIGHT), turn(" ")]).result(timeout=60).label == "no_answer"


def test_feedback_says_where_a_failing_run_leaves_what_is_wanted_when_asked_to(pool, rewards):
    source = "a, b = map(int, input().split())\nc = a - b\nprint(c)\n"
    said_of = {"departure": ["c=-1", "c=-1"],
               "narration": ["a=1;b=2\nc=1-2=-1\nprint -1", "a=4;b=5\nc=4-5=-1\nprint -1"]}  # fmt: skip
    for kind, words in said_of.items():
        found = rewards()
        found._config.tasks.feedback = kind
        found = Rewards(found._config, Characters(), [ADD], pool, found.verdicts)
        feedback = [fix.Feedback(t, "-1", words=w) for t, w in zip(ADD.public_tests, words, strict=True)]
        expected = fix.render(ADD, source, feedback, "compact")[0]["content"]
        assert said(found.react(episode(), [turn(source)])) == [expected]
        assert words[0] in expected and said(found.react(episode(), [turn(source)])) == [expected]  # remembered
        simulated = [turn(f"{w}\n=>-1", is_learned=False) for w in said_of["narration"]]
        assert said(found.react(episode("simulated"), [turn(source), *simulated])) == [expected]
        # What is passed needs no words, and neither does what gave nothing to tell of.
        half = [turn("c=3\nprint 3\n=>3", is_learned=False), turn("=>", "length", is_learned=False)]
        feedback = [fix.Feedback(ADD.public_tests[0], "3"), fix.Feedback(ADD.public_tests[1], None)]
        expected = fix.render(ADD, source, feedback, "compact")[0]["content"]
        assert said(found.react(episode("simulated"), [turn(source), *half])) == [expected]
    odd = config_with()
    odd.tasks.feedback = "odd"
    with pytest.raises(ValueError, match="tasks.feedback='odd' is none of output, departure, narration"):
        Rewards(odd, Characters(), [ADD], pool, None)


def test_at_most_so_many_fixes(rewards):
    found = rewards(fixes=2)
    assert isinstance(found.react(episode(), [turn(WRONG), turn(PUBLIC_ONLY)]), Ask)
    assert found.react(episode(), [turn(WRONG), turn(WRONG), turn(RIGHT)]).result(timeout=60).is_right
    none = rewards(fixes=0)
    assert none.react(episode(), [turn(RIGHT)]).result(timeout=60).is_right


def test_simulated_feedback_asks_about_every_public_test_and_those_answers_are_not_learned(rewards):
    found = rewards()
    ask = found.react(episode("simulated"), [turn(WRONG)])
    assert not ask.is_learned
    assert said(ask) == [predict.render(WRONG, t.input, "compact")[0]["content"] for t in ADD.public_tests]
    simulated = [turn("=>3", is_learned=False), turn("=>7", "length", is_learned=False)]
    ask = found.react(episode("simulated"), [turn(WRONG), *simulated])
    feedback = [fix.Feedback(ADD.public_tests[0], "3"), fix.Feedback(ADD.public_tests[1], None)]
    assert ask.is_learned and said(ask) == [fix.render(ADD, WRONG, feedback, "compact")[0]["content"]]
    assert found.react(episode("simulated"), [turn(WRONG), *simulated, turn(RIGHT)]).result(timeout=60).is_right


def test_random_feedback_does_not_depend_on_what_the_program_gives(rewards, pool):
    found = rewards()
    ask = found.react(episode("random"), [turn(WRONG)])
    (asked,) = said(ask)
    assert asked.startswith("fix") and "-1" not in asked and "got" in asked or " ok" in asked


def test_an_episode_whose_next_prompt_has_no_room_ends_with_its_verdict(rewards):
    ending = said(rewards().react(episode(), [turn(TOO_LONG)]))
    assert ending.outcome.result(timeout=60) == Outcome(-1.0, "failed")
    # The engine's cache may be what is too small.
    config = config_with()
    config.rollout.cache_length = 300
    assert not has_room(config, [1] * 101) and has_room(config, [1] * 100)
    config.rollout.cache_length = 2000
    assert not has_room(config, [1] * 501) and has_room(config, [1] * 500)


class Broken:
    """A pool whose runs never happen."""

    def __init__(self, pool):
        self._pool = pool

    def request(self, runs, limits, finding, make):
        done = Future()
        done.set_result(make([Execution("infra_error") for _ in runs], None))
        return done


def test_what_the_infrastructure_failed_is_no_reward_and_not_remembered(pool, tmp_path):
    verdicts = Verdicts(tmp_path, Broken(pool))
    found = Rewards(config_with(), Characters(), [ADD], pool, verdicts)
    assert found.react(solve_prompt(), [turn(RIGHT)]).result(timeout=60) == Outcome(None, "infra_error")
    ended = said(found.react(episode(), [turn(WRONG)])).outcome
    assert ended.result(timeout=60) == Outcome(None, "infra_error")
    verdicts._pool = pool
    assert found.react(solve_prompt(), [turn(RIGHT)]).result(timeout=60).is_right
    verdicts.close()


def test_the_standing_program_is_the_last_one_that_was_written():
    assert standing([turn(WRONG), turn("#SUBMIT")], "compact") == WRONG
    assert standing([turn(WRONG), turn("=>1", is_learned=False), turn(RIGHT)], "compact") == RIGHT
    assert standing([turn(WRONG), turn(" ")], "compact") is None


def test_a_judge_that_breaks_is_heard_of(pool, tmp_path):
    class Raising:
        def request(self, *_, **__):
            broken = Future()
            broken.set_exception(RuntimeError("the comparison broke"))
            return broken

    verdicts = Verdicts(tmp_path, Raising())
    found = Rewards(config_with(), Characters(), [ADD], pool, verdicts)
    for prompt in (solve_prompt(), episode()):
        reaction = found.react(prompt, [turn(RIGHT)])
        with pytest.raises(RuntimeError, match="the comparison broke"):
            (reaction.prompts if isinstance(reaction, Ask) else reaction).result(timeout=60)
    verdicts.close()


def test_a_problem_without_public_tests_is_judged_by_its_private_ones(rewards):
    bare = dataclasses.replace(ADD, id="bare", public_tests=())
    assert rewards().react(Prompt("solve", "bare", (1,), bare), [turn(RIGHT)]).result(timeout=60).is_right
    ends = rewards().react(Prompt("rlef", "bare", (1,), Episode(bare)), [turn(WRONG)])
    assert ends.result(timeout=60) == Outcome(-1.0, "failed")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [*((field, "odd", "is none of") for field in ("advantage", "objective", "normaliser", "optimizer", "overlong",
                                                  "credit", "feedback", "feedback_end", "keep")),
     ("staleness", -1, "at least 0"), ("updates", 0, "at least 1"), ("checkpoint_every", 0, "at least 1"),
     ("group_size", 1, "take 2 or more"), ("keep", "best", "validate_every"),
     ("solve_rates", (0.7, 0.1), "a share"), ("recycled", 1.5, "from 0 to 1"),
     ("claims_share", 0.5, "below 0.5"), ("claims_share", -0.1, "from 0"),
     ("share", {"predict": 0.5, "solve": 0.5, "rlef": 0.4}, "add up to 1")],
)  # fmt: skip
def test_a_field_that_cannot_be_is_named(field, value, says):
    """Of the `rl` section, and what does not go with the sampler's rounding or with pieces."""
    with pytest.raises(ValueError, match=rf"rl\.{field}=.*{says}"):
        check_rl(config_with(**{field: value}))
    check_rl(base.get_config())
    rounded = base.get_config()
    rounded.rollout.int8_cache = True
    with pytest.raises(ValueError, match=r"set rl\.importance_cap"):
        check_rl(rounded)
    pieces = config_with(feedback_end="simulated")
    pieces.tasks.chunk_chars = 80
    with pytest.raises(ValueError, match=r"tasks\.chunk_chars: pieces go with"):
        check_rl(pieces)
    pieces = config_with(claims_share=0.4)
    pieces.tasks.chunk_chars = 80
    with pytest.raises(ValueError, match=r"rl\.claims_share=0\.4: goes with simulations that are told whole"):
        check_rl(pieces)
    for reward in ({"reward_unreadable": 0.0}, {"reward_wrong": 1.0}):
        check_rl(config_with(**reward))
        with pytest.raises(ValueError, match=r"rl\.claims_share=0\.4: goes with rewards"):
            check_rl(config_with(claims_share=0.4, **reward))
    for field, value in (("claims_share", 0.4), ("credit", "first_wrong")):
        direct = config_with(**{field: value})
        direct.tasks.style = "direct"
        with pytest.raises(ValueError, match=rf"rl\.{field}=.*tells no steps"):
            check_rl(direct)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [("rl.advantage", "grpo", "is none of"), ("eval.votes", 5, "simulate_temperature"),
     ("tasks.feedback", "all", "none of"), ("eval.benchmark", "humanevil", "unknown benchmark"),
     ("eval.max_new_tokens", 512, r"rollout\.cache_length=512"),
     ("rl.max_new_tokens", 600, r"rollout\.cache_length=512"), ("eval.episodes", 0, r"eval\.episodes=0: at least 1"),
     ("belief.votes", 0, r"belief\.votes=0: at least 1"), ("problems.n_public", 0, r"problems\.n_public=0: at least 1"),
     ("eval.benchmark", "cruxeval_i", "asks for inputs"), ("eval.benchmark", "own", r"there is no .*own\.jsonl")],
)  # fmt: skip
def test_what_would_be_found_out_after_training_is_found_out_before(field, value, says):
    config = base.get_config()
    check(config)
    section, _, name = field.partition(".")
    config.eval.simulate_temperature = 0.0
    config.belief.update({"problems": 9, "votes": 1, "search_votes": 1})
    check(config)
    config[section][name] = value
    with pytest.raises(ValueError, match=says):
        check(config)
    if name == "max_new_tokens":
        config.eval.endpoint = "http://somewhere"  # has a cache of its own
        check(config)


def test_a_benchmark_is_kept_out_of_further_training_data(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFEXEC_DATA", str(tmp_path))
    config = base.get_config()
    config.sft.sources = (("more.jsonl", 0.5, "openmath"),)
    check(config)
    config.eval.benchmark = "own"
    with pytest.raises(ValueError, match="eval.benchmark=own: there is no .*own.jsonl; put it there"):
        check(config)
    (tmp_path / "own.jsonl").touch()
    check(config)
    config.eval.benchmark_data = str(tmp_path / "mine.jsonl")
    (tmp_path / "mine.jsonl").touch()
    with pytest.raises(ValueError, match="mine.jsonl: not kept out of sft.sources; name it in problems.keep_out"):
        check(config)
    config.problems.keep_out = ("mine.jsonl",)
    check(config)


def test_a_benchmark_was_kept_out_of_what_earlier_runs_learned_from(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SELFEXEC_DATA", str(tmp_path))
    config, before, run = base.get_config(), base.get_config(), Workdir(tmp_path / "before")
    before.sft.sources = (("more.jsonl", 0.5, "openmath"),)
    run.write_json(run.root / "config.json", json.loads(before.to_json_best_effort()))
    (tmp_path / "own.jsonl").touch()
    config.init_from, config.eval.benchmark = str(run.root), "own"
    check(config)
    assert "own.jsonl was kept out of its sft.sources is not known" in caplog.text
    run.mark_done("problems", {"kept_out": ["mbpp.jsonl"]})
    with pytest.raises(ValueError, match="init_from=.*before learned from sft.sources, but not without .*own.jsonl"):
        check(config)
    run.mark_done("problems", {"kept_out": ["mbpp.jsonl", "own.jsonl"]})
    check(config)


# ---- the journal ----------------------------------------------------------------------------------------
class Counting:
    def __init__(self, pool):
        self.n, self._pool = 0, pool

    def request(self, *args, **more):
        self.n += 1
        return self._pool.request(*args, **more)


def test_a_verdict_is_found_out_once_and_read_after_a_kill(pool, tmp_path):
    counting = Counting(pool)
    verdicts = Verdicts(tmp_path, counting)
    first = verdicts.final(PUBLIC_ONLY, ADD).result(timeout=60)
    assert (first.status, first.is_private, counting.n) == ("failed", True, 2)
    assert verdicts.final(PUBLIC_ONLY, ADD).result(timeout=60) == first and counting.n == 2
    assert verdicts.public(WRONG, ADD).result(timeout=60).outputs == ("-1\n", "-1\n") and counting.n == 3
    with open(tmp_path / "0.host-0.jsonl", "ab") as journal:  # a kill in the middle of a line
        journal.write(b'{"key": "ab')
    again = Verdicts(tmp_path, counting)
    assert again.final(PUBLIC_ONLY, ADD).result(timeout=60) == first and counting.n == 3
    again.final(RIGHT, ADD).result(timeout=60)
    assert counting.n == 5
    third = Verdicts(tmp_path, counting)
    assert third.final(RIGHT, ADD).result(timeout=60).status == "passed" and counting.n == 5
    for each in (verdicts, again, third):
        each.close()


def test_the_journal_goes_back_as_far_as_a_checkpoint_may_need_it(pool, tmp_path):
    counting = Counting(pool)
    verdicts = Verdicts(tmp_path, counting)
    verdicts.public(WRONG, ADD).result(timeout=60)
    one = verdicts.next_generation()
    verdicts.public(RIGHT, ADD).result(timeout=60)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.host-0.jsonl", "1.host-0.jsonl"]
    # Killed before the checkpoint was whole: the run goes on from the one before, which knows the first verdict.
    before = Verdicts(tmp_path, counting)
    n = counting.n
    before.public(WRONG, ADD).result(timeout=60)
    before.public(RIGHT, ADD).result(timeout=60)
    assert counting.n == n
    after = Verdicts(tmp_path, counting)
    after.start(one)
    after.public(RIGHT, ADD).result(timeout=60)
    after.public(WRONG, ADD).result(timeout=60)  # of a batch that was sampled ahead
    assert counting.n == n and sorted(p.name for p in tmp_path.iterdir()) == ["0.host-0.jsonl", "1.host-0.jsonl"]
    after.next_generation()
    after.public(RIGHT, ADD).result(timeout=60)
    assert counting.n == n
    after.next_generation()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{i}.host-0.jsonl" for i in range(4)]
    after.public(RIGHT, ADD).result(timeout=60)
    assert counting.n == n + 1
    after.next_generation()  # the newest two checkpoints may be damaged or not whole; no older one is resumed from
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{i}.host-0.jsonl" for i in range(1, 5)]
    for each in (verdicts, before, after):
        each.close()


# ---- what is drawn --------------------------------------------------------------------------------------
def problems(n):
    return [
        Problem(f"add-{i}", f"Add {i}.", public_tests=(Test("1 2\n", "3\n"),), private_tests=(Test("5 5\n", "10\n"),))
        for i in range(n)
    ]


def tasks_of(rewards, n=10, alike=(), missed_alike=(), **changes):
    """alike: numbers of problems whose reference is another's, number 0's; missed_alike: whose near miss is."""
    made = rewards(**changes)
    found = [dataclasses.replace(p, solutions=(f"{RIGHT}print({0 if i in alike else i})\n",))
             for i, p in enumerate(problems(n))]  # fmt: skip
    rows = [
        {"problem": p.id, "source": source, "written": count, "public": [output], "long": [["9 9\n", "18\n"]]}
        for i, p in enumerate(found)
        for source, count, output in (
            (f"{RIGHT}# {i}\n{i}\n", i % 5, "3\n"),
            (f"{WRONG}# {i}\n{0 if i in missed_alike else i}\n", 4 - i % 5, "-1\n"),
        )
    ]
    config = config_with(**changes)
    return ExecutionTasks(config, Characters(), found, rows, made)


def test_tasks_are_drawn_by_their_shares_and_alike_again(rewards):
    share = {"predict": 0.5, "solve": 0.25, "rlef": 0.25}
    tasks = tasks_of(rewards, share=share)
    for step in range(5):
        drawn = tasks.draw(step, 8)
        assert [p.task for p in drawn] == ["predict"] * 4 + ["rlef"] * 2 + ["solve"] * 2
        assert [(p.task, p.name) for p in drawn] == [(p.task, p.name) for p in tasks.draw(step, 8)]
        assert len({(p.task, p.name) for p in drawn}) == 8
    assert tasks.validation() == []


def test_prompts_that_are_never_or_always_solved_are_drawn_last(rewards):
    tasks = tasks_of(rewards, share={"predict": 0.0, "solve": 1.0, "rlef": 0.0})
    # Before RL 0, 1, 2, 3 or 4 of 4 own programs passed: solve rates 0, 0.25, 0.5, 0.75 and 1.
    inside = {f"add-{i}" for i in range(10) if i % 5 in (1, 2)}
    assert {p.name for p in tasks.draw(0, 4)} == inside
    assert {p.name for p in tasks.draw(0, 6)} > inside
    # The remainder goes by what the whole numbers left over.
    odd = tasks_of(rewards, share={"predict": 0.05, "solve": 0.475, "rlef": 0.475})
    drawn = [p.task for step in range(300) for p in odd.draw(step, 9)]
    assert abs(drawn.count("predict") / len(drawn) - 0.05) < 0.012
    solved = next(p for p in tasks.draw(0, 10) if p.name == "add-1")
    rollouts = [Rollout((turn(RIGHT),), Outcome(1.0, "passed", True))] * 4
    tasks.learn([Group(solved, rollouts, None)])
    assert "add-1" not in {p.name for p in tasks.draw(0, 3)}
    again = tasks_of(rewards, share={"predict": 0.0, "solve": 1.0, "rlef": 0.0})
    again.restore(tasks.state())
    assert [p.name for p in again.draw(3, 3)] == [p.name for p in tasks.draw(3, 3)]
    everything = tasks_of(rewards, share={"predict": 0.0, "solve": 1.0, "rlef": 0.0}, solve_rates=(0.0, 1.0))
    assert len({p.name for step in range(20) for p in everything.draw(step, 4)}) == 10


def test_outputs_of_wrong_programs_are_predicted_unless_left_out(rewards):
    only = {"predict": 1.0, "solve": 0.0, "rlef": 0.0}
    programs = lambda tasks: {p.subject.source.split("#")[0] for p in tasks.draw(0, 20)}  # noqa: E731
    assert programs(tasks_of(rewards, share=only)) == {RIGHT, WRONG}
    assert programs(tasks_of(rewards, share=only, wrong_programs=False)) == {RIGHT}


def test_failed_programs_come_back_as_outputs_to_predict(rewards):
    share = {"predict": 0.5, "solve": 0.5, "rlef": 0.0}
    tasks = tasks_of(rewards, share=share, recycled=0.5, recycled_kept=2)
    (prompt,) = [p for p in tasks.draw(0, 20) if p.task == "solve" and p.name == "add-2"]
    failed = [f"a, b = map(int, input().split())\nprint(a * b)  # {i}\n" for i in range(3)]
    answers = [*failed, RIGHT, " "]
    rollouts = [Rollout((turn(a),), tasks.react(prompt, [turn(a)]).result(timeout=60)) for a in answers]
    tasks.learn([Group(prompt, rollouts, None)])
    again = [p for p in tasks.draw(1, 8) if p.name.startswith("recycled/")]
    assert {(p.subject.source, p.subject.input, p.subject.output) for p in again} == {
        (source, "1 2\n", "2\n") for source in failed[1:]
    }
    other = tasks_of(rewards, share=share, recycled=0.5)
    other.restore(tasks.state())
    assert [p.name for p in other.draw(1, 8)] == [p.name for p in tasks.draw(1, 8)]


def test_feedback_is_annealed(rewards):
    share = {"predict": 0.0, "solve": 0.0, "rlef": 1.0}
    tasks = tasks_of(rewards, share=share, feedback_end="simulated", steps=21)
    kinds = [[p.subject.feedback for p in tasks.draw(step, 10)] for step in range(21)]
    assert set(kinds[0]) == {"real"} and set(kinds[20]) == {"simulated"}
    assert 0.3 < sum(k == "simulated" for row in kinds[8:13] for k in row) / 50 < 0.7


def test_validation_prompts_are_never_drawn(rewards):
    tasks = tasks_of(rewards, alike=(5, 8), missed_alike=(3, 4), validate_every=1, validation_prompts=6)
    held = {(p.task, p.name) for p in tasks.validation()}
    assert len(held) == 6 and {task for task, _ in held} == {"predict", "solve"}
    problems_held = {p.subject.problem.id if p.task == "predict" else p.name for p in tasks.validation()}
    drawn = [p for step in range(20) for p in tasks.draw(step, 12)]
    names = {p.subject.id if p.task == "solve" else p.subject.problem.id for p in drawn}
    assert names == {f"add-{i}" for i in (3, 4, 6, 7, 9)} and names.isdisjoint(problems_held)
    told = lambda prompts: {program_key(p.subject.source) for p in prompts if p.task == "predict"}  # noqa: E731
    assert len(told(drawn)) == 5 + 3 and told(drawn).isdisjoint(told(tasks.validation()))
