"""What is judged when all is chosen."""

from selfexec_jax.configs import base
from selfexec_jax.problems import Problem, Test
from selfexec_jax.rollout import Sample
from selfexec_jax.sandbox import SandboxPool
from selfexec_jax.self_execution import Episode
from selfexec_jax.self_execution.simulate import Prediction
from selfexec_jax.self_execution.verify import Ranking
from selfexec_jax.stages.eval import _summarise_strategies, judge_all, too_long
from selfexec_jax.stages.strategies import Decided
from selfexec_jax.stages.workdir import Workdir

ADD, WRONG = "print(sum(map(int, input().split())))\n", "print(3)\n"
TESTS = (Test("1 2\n", "3\n"),), (Test("4 5\n", "9\n"),)


def test_problems_may_lack_public_or_private_tests():
    """HumanEval has private tests alone, some files public ones alone."""
    problems = [Problem("both", "Add.", public_tests=TESTS[0], private_tests=TESTS[1]),
                Problem("private", "Add.", private_tests=TESTS[1]), Problem("public", "Add.", public_tests=TESTS[0])]
    sources = [[ADD, WRONG, None]] * 3
    repaired = {"self_rlef": [[Episode(WRONG, ADD, (), 0, 0)]] * 3}
    with SandboxPool(workers=1, min_tier="rlimits_only") as pool:
        found = judge_all(problems, Decided([], sources, [], repaired), pool)
    assert found == {
        ("both", ADD): (1.0, 1.0), ("both", WRONG): (0.0, 1.0), ("private", ADD): (1.0, 1.0),
        ("private", WRONG): (0.0, 1.0), ("public", ADD): (1.0, 1.0), ("public", WRONG): (1.0, 1.0),
    }  # fmt: skip


def test_where_nothing_could_be_judged_there_is_no_figure(tmp_path, caplog):
    problems = [Problem("both", "Add.", public_tests=TESTS[0], private_tests=TESTS[1])]
    decided = Decided([], [[ADD]], [], {"self_rlef": [[Episode(ADD, ADD, (), 0, 0)]]})
    report = {"results": {}, "comparisons": {}, "tables": {}}
    verdicts = {("both", ADD): (float("nan"), 1.0)}
    found = _summarise_strategies(base.get_config(), report, Workdir(tmp_path), problems, decided, verdicts)
    assert found == {"not_judged": 1} and not report["results"] and "could judge no problem" in caplog.text


def test_answers_that_there_was_no_room_for_are_counted():
    sample = lambda reason: Sample((1,), (), (), "", reason, 0)  # noqa: E731
    said = lambda reason: Prediction(None, "", reason, 0, 1)  # noqa: E731
    cells = ((said("stop"), said("too_long")), (said("too_long"),))
    decided = Decided([[sample("stop"), sample("too_long")]], [[None, None]], [Ranking((0.0,), (cells,), 0, 0)], {})
    assert too_long(decided, [[said("length")], [said("too_long")]]) == 4
