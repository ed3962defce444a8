"""What the first stage makes of problems beside their narrations."""

from selfexec_jax.configs import tiny
from selfexec_jax.problems.datasets import save_problems
from selfexec_jax.problems.generator import generate, input_size
from selfexec_jax.problems.judge import judge
from selfexec_jax.problems.splits import normalised_ast
from selfexec_jax.sandbox import SandboxPool
from selfexec_jax.stages.problems import problems_of, telling_inputs
from selfexec_jax.stages.sft import build_examples
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tasks import propose


class Letters:
    def encode_prompt(self, messages):
        return list(messages[0]["content"])

    def encode_answer(self, answer):
        return list(answer)


def test_what_the_model_learned_from_is_held_out_nowhere(tmp_path):
    """Other problems of the same seed than a model was trained on: near misses there can be what is asked for here."""
    config = tiny.get_config()
    config.problems.update({"n_train": 600, "n_heldout": 40, "n_unseen": 20})
    Workdir(tmp_path).open(config)
    programs = lambda problems: {  # noqa: E731
        normalised_ast(s) for p in problems for s in (*p.solutions, *p.wrong_solutions)
    }
    learned = programs(problems_of(config)[0]["train"])
    config.problems.update({"public_size": (7, 9), "n_train": 1})
    assert learned & programs(problems_of(config)[0]["heldout"])
    config.init_from = str(tmp_path)
    splits, _ = problems_of(config, 30)
    assert {name: len(split) for name, split in splits.items() if name != "train"} == {
        "heldout": 40, "unseen": 20, "validation": 30
    }  # fmt: skip
    assert not learned & programs(p for name in ("heldout", "unseen", "validation") for p in splits[name])


def test_inputs_are_proposed_that_tell_a_near_miss(tmp_path):
    config = tiny.get_config("own_tests")
    config.problems.update({"n_train": 12, "n_heldout": 1, "n_unseen": 0})
    problems = generate(config.problems, 1)[0]["train"]
    with SandboxPool(workers=2, min_tier="rlimits_only") as pool:
        rows = telling_inputs(config, problems, pool)
        wanted = []
        for problem in problems:
            for test in problem.private_tests:
                fails = [not judge(s, problem, [test], pool).result(60).passed[0] for s in problem.wrong_solutions]
                if input_size(test.input) <= config.sft.narrated_size and any(fails):
                    wanted.append({"problem": problem.id, "input": test.input})
    assert rows == wanted and 0 < len(rows) < sum(len(p.private_tests) for p in problems)
    workdir = Workdir(tmp_path)
    workdir.data.mkdir(parents=True)
    save_problems(workdir.data / "train.jsonl", problems)
    workdir.write_rows(workdir.data / "narrations.jsonl.gz", [])
    workdir.write_rows(workdir.data / "telling_inputs.jsonl.gz", rows)
    found = build_examples(config, workdir, Letters())["propose"]
    assert ["".join(e.answer) for e in found] == [propose.target(row["input"], "compact") for row in rows]
