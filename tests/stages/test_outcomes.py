"""Runs that give no output: narrated, asked for and counted where the config says so, and left out elsewhere."""

import concurrent.futures
import dataclasses

import pytest

from selfexec_jax.configs import tiny
from selfexec_jax.problems import Problem, Test
from selfexec_jax.problems.datasets import save_problems
from selfexec_jax.problems.endings import ending
from selfexec_jax.problems.generator import generate, trapped
from selfexec_jax.sandbox import Limits, Run, SandboxPool, TraceBudget
from selfexec_jax.self_execution import Prediction
from selfexec_jax.stages import breakdown
from selfexec_jax.stages.material import run_programs
from selfexec_jax.stages.measures import grade_cases, wanted_of
from selfexec_jax.stages.outcomes import outcome_by, recorded, told_of
from selfexec_jax.stages.problems import narrate_training
from selfexec_jax.stages.questions import cases_of
from selfexec_jax.stages.sft import build_examples
from selfexec_jax.stages.verdicts import Verdicts
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.traces.limit import TOO_LONG

EASY = Problem("down", "Count down.", private_tests=(Test("3\n", "0\n"),), time_limit_s=0.15)
SLOW = "n = int(input())\nwhile n > 0:\n    n -= 1\nprint(n)\n"


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(workers=2, limits=Limits(cpu_s=0.15), min_tier="rlimits_only") as pool:
        yield pool


def config(row="traps_foretold", **changes):
    found = tiny.get_config(row)
    found.problems.update({"n_train": 8, "n_heldout": 4, "n_unseen": 0, "families": ("edges", "limits")} | changes)
    return found


@pytest.fixture(scope="module")
def problems():
    return generate(config().problems, 1)[0]["train"]


@pytest.fixture(scope="module")
def rows(problems, pool):
    return {row: narrate_training(config(row), problems, pool)[0] for row in ("traps", "traps_foretold")}


def test_a_run_that_takes_too_long_keeps_what_is_told_of_it(pool):
    found = [[f.result(60) for f in recorded(config(row), pool, [(EASY, Run(SLOW, n)) for n in ("3", "9" * 12)])]
             for row in ("traps", "traps_foretold")]  # fmt: skip
    for short, long in found:
        assert (short.status, short.trace.stop, short.stdout) == ("ok", None, "0\n")
        assert long.status == "timeout" and long.trace.stop is not None
    assert [len(long.trace.events) < 20 for _, long in found] == [False, True]


def test_a_run_that_only_its_recording_slows_down_is_no_timeout(pool):
    class Slowing:
        """A pool whose recorded runs are all said to take too long."""

        def submit(self, run, limits=None):
            assert limits is None or limits.cpu_s == EASY.time_limit_s  # those that judge it
            done = concurrent.futures.Future()
            execution = pool.submit(run).result(60)
            if run.trace is not None:
                done.set_result(type(execution)(**vars(execution) | {"status": "timeout"}))
            else:
                done.set_result(execution)
            return done

    (execution,) = (f.result(60) for f in recorded(config(), Slowing(), [(EASY, Run(SLOW, "3"))]))
    assert (execution.status, execution.stdout, execution.trace) == ("ok", "0\n", None)


def test_a_run_whose_recording_alone_is_cut_off_is_not_told_as_too_long(pool):
    """Nor one that its recording alone slows down."""
    (cut,) = pool.map([dataclasses.replace(Run(SLOW, "2000"), trace=TraceBudget(events=1000))])
    assert (cut.stdout, cut.trace.stop is None) == ("0\n", False)
    assert told_of(config(), cut.trace, "0\n") is told_of(config(), cut.trace, None) is cut.trace
    assert told_of(config(), cut.trace, ending("timeout")).stop == TOO_LONG


def test_endings_are_narrated_where_the_config_asks(problems, rows):
    without, told = rows["traps"], rows["traps_foretold"]
    assert [r for r in told if not r["output"].startswith("\0")] == without
    names = {r["output"] for r in told} - {r["output"] for r in without}
    assert ending("timeout") in names and names & {ending(n) for n in ("ValueError", "IndexError", "ZeroDivisionError")}
    traps = {source for p in problems for source in trapped(p)}
    for row in told:
        if row["output"] == ending("timeout"):
            assert row["source"] in traps and row["text"].endswith("over 100 rounds") and not row["is_right"]
        elif row["output"].startswith("\0"):
            assert row["source"] in traps and f"\nraise {row['output'][1:]}: " in row["text"]


def test_traps_are_learned_and_endings_are_taught(problems, rows, tmp_path):
    class Letters:
        encode_prompt = staticmethod(lambda messages: list(messages[0]["content"]))
        encode_answer = staticmethod(list)

    workdir, asked = Workdir(tmp_path), config()
    workdir.data.mkdir(parents=True)
    save_problems(workdir.data / "train.jsonl", problems)
    workdir.write_rows(workdir.data / "narrations.jsonl.gz", rows["traps_foretold"])
    found = build_examples(asked, workdir, Letters())
    last = ["".join(e.answer).rpartition("\n")[2] for e in found["predict"]]
    assert "!timeout" in last and any(line.startswith("=>") for line in last) and "\0" not in "".join(last)
    fixes = ["".join(e.prompt) for e in found["fix"]]
    assert any("got !timeout" in text for text in fixes) and not any("\0" in text for text in fixes)
    solved = {"".join(e.answer).strip() for e in found["solve"]}
    assert {s.strip() for p in problems for s in (*p.solutions, *trapped(p))} == solved
    asked.sft.learn_traps = False
    assert len(build_examples(asked, workdir, Letters())["solve"]) < len(found["solve"])


def test_what_comes_of_a_run_is_asked_for_and_graded(problems, pool):
    cases = [c for c in cases_of(config(), problems, [[None]] * len(problems)) if c.source in trapped(c.problem)]
    truths = [f.result(60) for f in recorded(config(), pool, [(c.problem, Run(c.source, c.input)) for c in cases])]
    wanted, without = ([wanted_of(config(row), *pair) for pair in zip(cases, truths, strict=True)]
                       for row in ("traps_foretold", "traps"))  # fmt: skip
    assert None not in wanted and [w for w in wanted if not w.startswith("\0")] == [w for w in without if w is not None]
    answers = [[Prediction(ending("timeout"), "!timeout", "stop", 1, 1)] for _ in cases]
    graded = grade_cases(cases, answers, wanted)
    assert graded.tolist() == [float(want == ending("timeout")) for want in wanted] and 0 < graded.mean() < 1


def test_outcomes_are_counted():
    say = lambda output: [Prediction(output, "", "stop", 1, 1)]  # noqa: E731
    wanted = ["3\n", "3\n", ending("timeout"), ending("timeout"), ending("ValueError"), None]
    said = ("4\n", ending("timeout"), ending("timeout"), None, "3\n", ending("KeyError"))
    answers = list(map(say, said))
    found = {row["outcome"]: row for row in breakdown.outcomes(wanted, answers, "aabbcc", 0, 100)}
    counts = {name: (r["n"], r["foretold"], r.get("recall"), r.get("precision")) for name, r in found.items()}
    assert counts == {"output": (2, 2, 0.5, 0.5), "timeout": (2, 2, 0.5, 0.5), "ValueError": (1, 0, 0.0, None)}


def test_rl_asks_for_endings_and_feedback_tells_them(problems, pool, tmp_path):
    problem = next(p for p in problems if p.tags[0] == "limits" and any(len(t.input) > 9 for t in p.public_tests))
    (trap,) = trapped(problem)
    for row, name in (("traps", None), ("traps_foretold", ending("timeout"))):
        (program,) = run_programs(config(row), [problem], [{trap: 1}], pool)[:1]
        verdicts = Verdicts(tmp_path / row, pool, outcome=outcome_by(config(row)))
        outputs = verdicts.public(trap, problem).result(60).outputs
        for given in (program["public"], outputs):
            slow = [o for o, t in zip(given, problem.public_tests, strict=True) if len(t.input) > 9]
            assert set(slow) == {name} and {name} < set(given)
        verdicts.close()
