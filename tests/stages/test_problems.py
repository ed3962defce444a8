"""What the first stage makes of problems beside their narrations."""

from selfexec_jax.configs import tiny
from selfexec_jax.problems.datasets import save_problems
from selfexec_jax.problems.generator import generate, input_size
from selfexec_jax.problems.judge import judge
from selfexec_jax.sandbox import SandboxPool
from selfexec_jax.stages.problems import telling_inputs
from selfexec_jax.stages.sft import build_examples
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tasks import propose


class Letters:
    def encode_prompt(self, messages):
        return list(messages[0]["content"])

    def encode_answer(self, answer):
        return list(answer)


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
