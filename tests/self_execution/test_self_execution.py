"""Simulating, ranking and repairing with an engine that gives canned answers and counts what it is asked."""

import dataclasses
import subprocess
import sys

import pytest

from selfexec_jax.problems import Problem, Test
from selfexec_jax.self_execution import Asking, Invocation, fix, simulate, verify
from selfexec_jax.self_execution.candidates import candidates, program_of
from selfexec_jax.self_execution.fix import Told, random_feedback, simulated_feedback
from selfexec_jax.self_execution.simulate import request_seed
from selfexec_jax.tasks import fix as fix_task
from selfexec_jax.tasks import predict, solve
from tests.self_execution.canned import CannedEngine, Characters

COMPACT = Asking(template="compact", temperature=0.5, top_p=0.9, max_new_tokens=33)
ADD = Problem(
    "add", "Add.", public_tests=(Test("1 2\n", "3\n"), Test("4 5\n", "9\n")), private_tests=(Test("1 1\n", "777\n"),)
)
TWICE = Problem("twice", "Double.", kind="call", entry_point="twice", public_tests=(Test("[1]", "[2, 2]"),))


def asked_to_run(source, given, kind="stdio"):
    return predict.render(source, given, "compact", kind)[0]["content"]


# ---- candidates ------------------------------------------------------------------------------------------
def test_candidates_are_asked_for_by_problem_and_keep_their_places():
    engine = CannedEngine(lambda prompt, j: (f"{prompt.split()[1]}{j}", "length" if j == 1 else "stop"))
    samples = candidates(engine, Characters(), [ADD, TWICE], 3, 0, COMPACT)
    programs = [[program_of(sample, "compact") for sample in row] for row in samples]
    assert programs == [["Add.0\n", None, "Add.2\n"], ["Double.0\n", None, "Double.2\n"]]
    requests = engine.batches[0]
    assert [(r.n, r.max_new_tokens, r.temperature, r.top_p) for r in requests] == [(3, 33, 0.5, 0.9)] * 2
    assert requests[0].seed == request_seed(0, "candidates", "add") != requests[1].seed
    assert "777" not in "".join(engine.asked)


# ---- simulate --------------------------------------------------------------------------------------------
def test_equal_cases_are_simulated_once_and_answers_keep_their_places():
    engine = CannedEngine(lambda prompt, j: f"=>{prompt.splitlines()[1]}{j}")
    cases = [Invocation("a", "1"), Invocation("b", "1"), Invocation("a", "1"), Invocation("a", "2")]
    found = simulate(engine, Characters(), cases, 2, 0, COMPACT)
    assert engine.asked == [asked_to_run(*case) for case in (cases[0], cases[1], cases[3])]
    assert [[p.output for p in cell] for cell in found] == [["a0", "a1"], ["b0", "b1"], ["a0", "a1"], ["a0", "a1"]]
    assert [p.n_tokens for p in found[0]] == [4, 4]
    for request in engine.batches[0]:
        assert (request.n, request.temperature, request.top_p, request.max_new_tokens) == (2, 0.5, 0.9, 33)


def test_a_request_keeps_its_seed_wherever_it_stands():
    seeds = []
    one, two = Invocation("a", "1"), Invocation("b", "2")
    for cases, seed in (([one, two], 0), ([two, one], 0), ([one, two], 1)):
        engine = CannedEngine(lambda prompt, j: "=>")
        simulate(engine, Characters(), cases, 1, seed, COMPACT)
        seeds.append({case: r.seed for case, r in zip(cases, engine.batches[0], strict=True)})
    assert seeds[0] == seeds[1]
    assert len({*seeds[0].values(), *seeds[2].values()}) == 4
    assert request_seed(0, "ab", "c") != request_seed(0, "a", "bc")
    assert 0 <= request_seed(0, "x") < 1 << 48


def test_no_claim_and_a_cut_answer_predict_nothing():
    answers = {"a": "who knows", "b": ("=>3", "length"), "c": "x is 3.\n=>3\\n4"}
    engine = CannedEngine(lambda prompt, j: answers[prompt.splitlines()[1]])
    found = simulate(engine, Characters(), [Invocation(s, "") for s in "abc"], 1, 0, COMPACT)
    assert [cell[0].output for cell in found] == [None, None, "3\n4"]
    assert [cell[0].finish_reason for cell in found] == ["stop", "length", "stop"]
    assert found[2][0].text == "x is 3.\n=>3\\n4"


def test_a_simulation_in_pieces_goes_on_from_what_it_carries():
    said = {"<5": "a=1\n@t=1;x in [2]", "@t=1;x in [2]": "b=2\n@t=2", "@t=2": "c=3\n=>3", "<6": "=>6", "<7": "d\n@t=7",
            "@t=7": ("e\n@", "length"), "<8": "@t=8", "@t=8": "f\n@t=8"}  # fmt: skip
    engine = CannedEngine(lambda prompt, j: said[prompt.splitlines()[-1]])
    asking = dataclasses.replace(COMPACT, max_chunks=4)
    cases = [Invocation("p", given) for given in "5678"]
    whole, short, cut, endless = simulate(engine, Characters(), cases, 2, 0, asking)
    assert [p.output for p in whole + short + cut + endless] == ["3", "3", "6", "6", None, None, None, None]
    assert whole[0].text == "a=1\nb=2\nc=3\n=>3" and cut[1].finish_reason == "length"
    assert [len(batch) for batch in engine.batches] == [4, 6, 4, 2]  # a vote each, as they part after the first
    begins, goes_on = (len(asked_to_run("p", "5")), [len(predict.render("p", "", "compact", state=s)[0]["content"])
                                                     for s in ("t=1;x in [2]", "t=2")])  # fmt: skip
    assert [p.n_prompt for p in whole] == [begins + sum(goes_on), sum(goes_on)]
    assert {p.n_first for p in whole} == {begins}  # what the second vote would have read, had it been asked alone
    assert whole[0].n_tokens == sum(map(len, list(said.values())[:3])) and short[1].n_prompt == 0
    seeds = [r.seed for batch in engine.batches for r in batch]
    assert len(set(seeds)) == len(seeds)
    (single,) = simulate(engine, Characters(), cases[:1], 1, 0, COMPACT)
    assert single[0].output is None  # not asked in pieces


def test_of_several_answers_to_a_piece_the_most_frequent_end_is_gone_on_with():
    said = {"<5": ["a\n@t=9", "b\n@t=1", ("@t=9", "length"), "c\n@t=1"], "@t=1": ["=>4", "d\n=>3", "e", "=>3"],
            "<6": ["=>", "f\n=>", "g\n@t=2", "=>6"], "<7": ["who", "knows", "=>7\n", ("=>8", "length")],
            "<8": [("=>8", "length"), "h", "i", "j"]}  # fmt: skip
    engine = CannedEngine(lambda prompt, j: said[prompt.splitlines()[-1]][j % 4])
    asking = dataclasses.replace(COMPACT, max_chunks=3, chunk_votes=4)
    cases = [Invocation("p", given) for given in "5678"]
    goes_on, empty, rare, nothing = simulate(engine, Characters(), cases, 2, 0, asking)
    assert [p.output for p in goes_on + empty + rare + nothing] == ["3", "3", "", "", "7", "7", None, None]
    assert goes_on[0].text == "b\nd\n=>3" and nothing[0].finish_reason == "length"
    assert [[r.n for r in batch] for batch in engine.batches] == [[8] * 4, [4] * 2]
    # All that was drawn is paid for; a prompt is read once for all answers to it.
    drawn = sum(len(text if isinstance(text, str) else text[0]) for key in ("<5", "@t=1") for text in said[key])
    assert [p.n_tokens for p in goes_on] == [drawn, drawn]
    first, second = (len(predict.render("p", *given)[0]["content"]) for given in
                     (("5", "compact"), ("", "compact", "stdio", "t=1")))  # fmt: skip
    assert [p.n_prompt for p in goes_on] == [first + second, second]


def test_how_sure_a_simulation_was_is_told():
    class Sure(CannedEngine):
        def _sample(self, request, j):
            return dataclasses.replace(super()._sample(request, j), logprobs=(-0.5, -2.0, -0.25))

    ((said,),) = simulate(Sure(lambda prompt, j: "=>3"), Characters(), [Invocation("a", "")], 1, 0, COMPACT)
    assert said.logprob == -2.75


# ---- verify ----------------------------------------------------------------------------------------------
def outputs(table):
    """An engine that predicts by (source, input); a list holds an output a vote."""

    def answer(prompt, j):
        (_, source), given = prompt.splitlines()[:2], prompt.splitlines()[-1][1:]
        found = table[source, given]
        return f"=>{found[j] if isinstance(found, list) else found}"

    return CannedEngine(answer)


def test_scores_are_the_share_of_tests_and_votes_predicted_to_pass():
    engine = outputs(
        {("right", "1 2"): "3", ("right", "4 5"): ["9", "9.0"], ("wrong", "1 2"): "5", ("wrong", "4 5"): "",
         ("half", "1 2"): ["3", "4"], ("half", "4 5"): ["9", "8"],
         ("def twice", "twice([1])"): ["[2,2]", "no literal"]}
    )  # fmt: skip
    items = [(ADD, ["wrong", "right", "half", "right"]), (TWICE, ["def twice"]), (ADD, [])]
    add, twice, nothing = verify(engine, Characters(), items, 2, 0, COMPACT)
    assert add.scores == (0.0, 1.0, 0.5, 1.0)
    assert twice.scores == (0.5,)
    assert (nothing.scores, nothing.predictions, nothing.n_tokens, nothing.n_prefilled) == ((), (), 0, 0)
    assert [[[p.output for p in cell] for cell in row] for row in add.predictions][2] == [["3", "4"], ["9", "8"]]
    # Two votes on two tests of three distinct programs, each charged once, "=>" included.
    assert add.n_tokens == (3 + 3 + 3 + 5) + (3 + 3 + 3 + 3) + (3 + 3 + 2 + 2)
    # Two votes read one prompt.
    assert add.n_prefilled == sum(len(asked_to_run(s, g)) for s in ("wrong", "right", "half") for g in ("1 2", "4 5"))
    assert len(engine.asked) == 7
    assert len(engine.batches) == 1  # neither one a kind nor one a problem
    # Private tests and the expected outputs are nowhere in what was asked.
    assert not any("777" in asked or "1 1" in asked or ">3" in asked for asked in engine.asked)


def test_without_public_tests_nothing_is_known_of_a_candidate():
    bare = Problem("bare", "Do.")
    (ranking,) = verify(CannedEngine(None), Characters(), [(bare, ["x", "y"])], 1, 0, COMPACT)
    assert ranking.scores == (0.0, 0.0)


# ---- fix -------------------------------------------------------------------------------------------------
def told(pairs):
    """Feedback as a trainer passes it in: free of simulation, 100 tokens a program."""
    told.calls.append(list(pairs))
    return [Told([fix_task.Feedback(t, "0") for t in p.public_tests], 100, 7) for p, _ in pairs]


@pytest.fixture(autouse=True)
def _fresh():
    told.calls = []


def episodes(answers, items, max_fixes=4, asking=COMPACT):
    engine = CannedEngine(answers)
    return engine, fix(engine, Characters(), items, told, max_fixes, 0, asking)


def test_an_episode_repairs_until_it_submits():
    answers = {"first": "second", "second": "third", "third": "#SUBMIT"}
    engine, (episode,) = episodes(lambda prompt, j: answers[prompt.splitlines()[2]], [(ADD, "first")])
    assert (episode.first, episode.submitted) == ("first", "third\n")
    assert [(t.source, t.is_submit) for t in episode.turns] == [
        ("second\n", False), ("third\n", False), ("third\n", True),
    ]  # fmt: skip
    assert episode.n_tokens == sum(100 + n for n in (6, 5, 7))
    assert episode.n_prefilled == 3 * 7 + sum(map(len, engine.asked))
    assert [source for pairs in told.calls for _, source in pairs] == ["first", "second\n", "third\n"]
    for turn, source in zip(episode.turns, ("first", "second\n", "third\n"), strict=True):
        feedback = [fix_task.Feedback(t, "0") for t in ADD.public_tests]
        assert turn.messages == fix_task.render(ADD, source, feedback, "compact")
        assert list(turn.feedback) == feedback
    assert len({r.seed for batch in engine.batches for r in batch}) == 3
    assert not any("777" in asked for asked in engine.asked)


@pytest.mark.parametrize(
    ("answer", "asking"),
    [
        (" \n", COMPACT),
        (("print(3)", "length"), COMPACT),
        (("#SUBMIT", "length"), COMPACT),
        ("I do not know.", Asking()),
        ("```python\n1\n```\n```python\n2\n```", Asking()),
    ],
)
def test_garbage_keeps_the_standing_program_and_ends_the_episode(answer, asking):
    engine, (episode,) = episodes(lambda prompt, j: answer, [(ADD, "first")], asking=asking)
    assert episode.submitted == "first"
    assert [(t.source, t.is_submit) for t in episode.turns] == [("first", False)]
    text = answer[0] if isinstance(answer, tuple) else answer
    assert episode.n_tokens == 100 + len(text)
    assert len(engine.batches) == 1


@pytest.mark.parametrize("max_fixes", [0, 1, 3])
def test_at_most_so_many_turns(max_fixes):
    engine, (episode,) = episodes(lambda prompt, j: prompt.splitlines()[2] + "x", [(ADD, "p")], max_fixes)
    assert len(episode.turns) == len(engine.batches) == max_fixes
    assert episode.submitted.strip() == "p" + "x" * max_fixes
    assert not any(t.is_submit for t in episode.turns)


def test_episodes_go_in_step_and_each_ends_on_its_own():
    answers = {"a": "#SUBMIT", "b": "c", "c": "d", "d": "#SUBMIT"}
    items = [(ADD, "a"), (ADD, None), (TWICE, "b")]
    engine, found = episodes(lambda prompt, j: answers[prompt.splitlines()[2]], items)
    assert [len(batch) for batch in engine.batches] == [2, 1, 1]
    assert [e.submitted for e in found] == ["a", None, "d\n"]
    assert [len(e.turns) for e in found] == [1, 0, 3]
    assert found[1].n_tokens == 0
    paper = episodes(lambda p, j: fix_task.target(fix_task.Submit(), "paper"), [(ADD, "a")], asking=Asking())[1][0]
    assert paper.turns[0].is_submit


def test_simulated_feedback_is_the_commonest_prediction_and_is_charged():
    engine = outputs(
        {("p", "1 2"): ["3", "4", "4"], ("p", "4 5"): ["9", "8", "7"], ("def twice", "twice([1])"): "[2, 2]"}
    )
    feedback = simulated_feedback(engine, Characters(), 0, COMPACT, votes=3)
    add, twice = feedback([(ADD, "p"), (TWICE, "def twice")])
    assert [(f.test, f.output) for f in add.feedback] == [(ADD.public_tests[0], "4"), (ADD.public_tests[1], "9")]
    assert [f.output for f in twice.feedback] == ["[2, 2]"]
    assert (add.n_tokens, twice.n_tokens) == (6 * 3, 3 * 8)
    assert add.n_prefilled == sum(len(asked_to_run("p", given)) for given in ("1 2", "4 5"))
    assert not add.feedback[0].agrees and add.feedback[1].agrees


def test_a_failure_that_is_not_believed_is_told_as_a_pass():
    engine, asked = outputs({("p", "1 2"): ["4", "4", "3"], ("p", "4 5"): ["8", "8", "8"]}), []

    def believed(problem, source, runs):
        asked.append((problem, source, [[p.output.strip() for p in cell] for cell in runs]))
        return [False, True]

    words = lambda text, wanted, source: "so"  # noqa: E731
    (told,) = simulated_feedback(engine, Characters(), 0, COMPACT, 3, words, believed)([(ADD, "p")])
    assert asked == [(ADD, "p", [["4", "4", "3"], ["8", "8", "8"]])]
    assert [(f.agrees, f.words) for f in told.feedback] == [(True, ""), (False, "so")]
    assert "1 2" in (shown := fix_task.render(ADD, "p", told.feedback, "compact")[0]["content"])
    assert "got 8" in shown and "got 4" not in shown
    everything = simulated_feedback(engine, Characters(), 0, COMPACT, 3)([(ADD, "p")])[0]
    assert (told.n_tokens, told.n_prefilled) == (everything.n_tokens, everything.n_prefilled)  # it costs as much


def test_random_feedback_knows_nothing_of_the_program():
    tests = [(Test("1", f"{i}\n"), Test("2", f"{i + 1}\n")) for i in range(200)]
    problems = [Problem(str(i), "Add.", public_tests=pair) for i, pair in enumerate(tests)]
    ask = random_feedback(0, problems)
    told = ask([(p, "print(1)") for p in problems])
    assert [t.feedback for t in told] == [t.feedback for t in ask([(p, "print(1)") for p in problems])]
    agreeing = [f.agrees for t in told for f in t.feedback]
    assert 0.45 < sum(agreeing) / len(agreeing) < 0.6  # half of them, and what is drawn by chance
    assert {t.n_tokens for t in told} == {0}
    outputs = {t.output for p in problems for t in p.public_tests}
    assert all(f.output in outputs for t in told for f in t.feedback)


def test_a_whole_episode_on_simulated_feedback():
    program = solve.target("right", "compact")

    def answer(prompt, j):
        if prompt.startswith("run"):
            given = prompt.splitlines()[-1][1:]
            return f"=>{sum(map(int, given.split())) if 'right' in prompt else 0}"
        return "#SUBMIT" if " ok" in prompt and "got" not in prompt else program

    engine = CannedEngine(answer)
    feedback = simulated_feedback(engine, Characters(), 0, COMPACT)
    (episode,) = fix(engine, Characters(), [(ADD, "wrong")], feedback, 5, 0, COMPACT)
    assert episode.submitted == "right\n"
    assert [t.is_submit for t in episode.turns] == [False, True]
    assert episode.n_tokens == (3 + 3 + 5) + (3 + 3 + 7)
    assert episode.n_prefilled == sum(map(len, engine.asked))


def test_what_claims_to_work_without_executing_cannot_even_import_the_sandbox():
    code = (
        "import sys, selfexec_jax.self_execution\n"
        "print([m for m in sys.modules if 'sandbox' in m or m.endswith('judge') or m == 'selfexec_jax.stages'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_simulated_feedback_tells_how_the_commonest_wrong_output_came_about():
    said = ["t=3\n=>3", "t=4\n=>4", "t=9\n=>4"]
    engine = CannedEngine(lambda prompt, j: said[j])
    words = lambda text, wanted, source: f"{text} of {source} not {wanted.strip()}"  # noqa: E731
    (told,) = simulated_feedback(engine, Characters(), 0, COMPACT, 3, words)([(ADD, "p")])
    first, second = told.feedback
    assert (first.output, first.words) == ("4", "t=4 of p not 3") and second.words == "t=4 of p not 9"
    assert "got 4\nt=4 of p not 3" in fix_task.render(ADD, "p", told.feedback, "compact")[0]["content"]
    assert "How it came about:\nt=4 of p not 3" in fix_task.render(ADD, "p", told.feedback, "paper")[0]["content"]
    right = CannedEngine(lambda prompt, j: "=>3")
    (told,) = simulated_feedback(right, Characters(), 0, COMPACT, 1, words)([(ADD, "p")])
    assert told.feedback[0].words == ""  # it agrees
