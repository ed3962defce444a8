"""Which style of narration makes the better simulator: `python -m tests.benchmarks.styles --workdir DIR [--steps N]`.

Trains configs/tiny.py from scratch on each style, on the same problems for the same updates of the same number of
tokens, and has each model predict outputs greedily: of programs like those that were narrated, of the same programs
on longer inputs, and of a form of program that was not narrated. Can be interrupted; finished models are kept.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from selfexec_jax.configs import tiny
from selfexec_jax.evals.metrics import bootstrap_ci, paired_bootstrap
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.problems.generator import input_size
from selfexec_jax.sandbox import Run
from selfexec_jax.self_execution import Asking, simulate
from selfexec_jax.stages import model as models
from selfexec_jax.stages.measures import grade_cases, wanted_of
from selfexec_jax.stages.problems import is_left_to_rl, open_pool
from selfexec_jax.stages.questions import Case
from selfexec_jax.stages.workdir import Workdir
from tests.benchmarks.ending import conclude, parser_of

STYLES = ("compact", "full", "brief", "cwm", "direct")
KINDS = ("like", "longer", "new form")
ANSWER_TOKENS = 512


def changes(style: str, steps: int) -> dict:
    """Rows that hold the longest narration of any style, as many tokens an update as tiny has."""
    return {
        "tasks.style": style, "sft.steps": steps, "sft.batch_rows": 8, "sft.row_tokens": 512, "rl.steps": 0,
        "rollout.cache_length": 896,
    }  # fmt: skip


def train(style: str, steps: int, root: Path) -> None:
    flags = [f"--config.{name}={value}" for name, value in changes(style, steps).items()]
    command = [sys.executable, "-m", "selfexec_jax.main", "--config=configs/tiny.py", f"--workdir={root / style}"]
    subprocess.run([*command, *flags, "--config.stages=problems,sft"], check=True)


def cases_of(config, workdir: Workdir) -> list[Case]:
    cases = []
    for problem in load_problems(workdir.data / "heldout.jsonl"):
        short = problem.public_tests[0].input
        long = [t.input for t in problem.private_tests if input_size(t.input) >= config.rl.long_size]
        known = [s for s in problem.solutions if not is_left_to_rl(config, s)]
        new = [s for s in problem.solutions if is_left_to_rl(config, s)]
        cases += [Case("like", problem, s, short) for s in known[:1]]
        cases += [Case("longer", problem, s, long[0]) for s in known[:1] if long]
        cases += [Case("new form", problem, s, short) for s in new[:1]]
    return cases


def predict(style: str, steps: int, root: Path) -> dict:
    """By kind of case: which were right, and the tokens of each answer."""
    config = tiny.get_config()
    config.update_from_flattened_dict(changes(style, steps))
    workdir = Workdir(root / style)
    loaded = models.load(config, workdir)
    engine = loaded.engine().load(loaded.params("sft"), 0)
    cases = cases_of(config, workdir)
    asking = Asking(config.tasks.template, 0.0, 1.0, ANSWER_TOKENS)
    answers = simulate(engine, loaded.tokenizer, [(c.source, c.given) for c in cases], 1, 0, asking)
    with open_pool(config) as pool:
        truths = pool.map([Run(c.source, c.given) for c in cases])
    graded = grade_cases(cases, answers, [wanted_of(config, *pair) for pair in zip(cases, truths, strict=True)])
    lengths = np.array([row[0].n_tokens for row in answers])
    kinds = np.array([c.kind for c in cases])
    return {kind: {"right": graded[kinds == kind].tolist(), "tokens": lengths[kinds == kind].tolist()}
            for kind in KINDS}  # fmt: skip


def main(argv=None) -> int:
    parser = parser_of("styles", __doc__)
    parser.add_argument("--workdir", required=True, type=Path, help="folder of the runs, one a style")
    parser.add_argument("--steps", type=int, default=1000, help="updates of 4,096 tokens (default 1000)")
    parser.add_argument("--styles", default=",".join(STYLES), help="which (default all)")
    args = parser.parse_args(argv)
    styles = args.styles.split(",")
    for style in styles:
        train(style, args.steps, args.workdir)
    jax.config.update("jax_num_cpu_devices", tiny.get_config().mesh.cpu_devices)
    found = {style: predict(style, args.steps, args.workdir) for style in styles}
    print("| style | " + " | ".join(f"{kind}, %" for kind in KINDS) + " | tokens an answer |\n|---|" + "---|" * 4)
    for style, each in found.items():
        cells = []
        for kind in KINDS:
            value, low, high = bootstrap_ci(each[kind]["right"], 0)
            cells.append(f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}], n={len(each[kind]['right'])}")
        print(f"| {style} | {' | '.join(cells)} | {np.mean(each['like']['tokens']):.0f} |")
    for style in styles[1:]:
        for kind in KINDS:
            value, low, high = paired_bootstrap(found[style][kind]["right"], found[styles[0]][kind]["right"], 0)
            print(f"{style} over {styles[0]}, {kind}: {100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
    return conclude(args, found, [])


if __name__ == "__main__":
    sys.exit(main())
