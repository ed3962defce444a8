"""Whether honest programs notice the jail: `python -m tests.benchmarks.fidelity [--every N] [--json FILE] [--check]`.

Every accepted solution of codecontests_mini on each of its tests, against a plain interpreter: the same stdout
and the same kind of exit; and HumanEval's and MBPP's reference programs, against their tests in one process.
"""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
import tempfile

from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.problems.judge import judge
from selfexec_jax.sandbox import Limits, Run, SandboxPool
from tests.benchmarks.ending import conclude, parser_of

LIMITS = Limits(cpu_s=20, wall_s=100, memory_mb=1024, stdout_bytes=1 << 24)


def plain(source: str, stdin: str) -> tuple[str, bool]:
    """Stdout and whether it ended well, in an interpreter of its own without a jail."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "program.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(source)
        environment = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": os.environ["PATH"]}
        with tempfile.TemporaryFile() as file:  # as contests do it: some programs ask for its size
            file.write(stdin.encode())
            file.seek(0)
            done = subprocess.run(
                [sys.executable, "-X", "utf8", path], stdin=file, capture_output=True, env=environment, timeout=300,
                check=False,
            )  # fmt: skip
    return done.stdout.decode("utf-8", "replace"), done.returncode == 0


def contests(pool: SandboxPool, every: int) -> tuple[int, list[str]]:
    """How many runs were compared, and a line for each that differs."""
    runs = [
        (problem, i, test)
        for problem in load_problems("codecontests_mini")[::every]
        for i, test in enumerate(problem.public_tests + problem.private_tests)
    ]
    jailed = [pool.submit(Run(p.solutions[0], stdin=test.input), LIMITS) for p, _, test in runs]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        free = list(threads.map(lambda run: plain(run[0].solutions[0], run[2].input), runs))
    differs = []
    for (problem, i, _), future, (stdout, is_well) in zip(runs, jailed, free, strict=True):
        execution = future.result()
        if execution.stdout != stdout or (execution.status == "ok") != is_well:
            differs.append(f"{problem.id}, test {i}: {execution.status} {execution.error or ''}".strip())
    return len(runs), differs


def references(pool: SandboxPool, name: str, every: int) -> tuple[int, list[str], list[str]]:
    """How many reference programs were judged, a line for each that failed, and which shared their test's process."""
    problems = load_problems(name)[::every]
    verdicts = [judge(p.solutions[0], p, p.private_tests, pool, in_process=True) for p in problems]
    differs, shared = [], []
    for problem, future in zip(problems, verdicts, strict=True):
        verdict = future.result()
        if verdict.integrity:
            shared.append(problem.id)
        if verdict.status != "passed":
            why = next((e.error or e.status for e in verdict.executions if e.status != "ok"), "another value")
            differs.append(f"{problem.id}: {verdict.status} ({why})")
    return len(problems), differs, shared


def main(argv=None) -> int:
    parser = parser_of("fidelity", __doc__)
    parser.add_argument("--every", type=int, default=1, help="look at every N-th problem only")
    args = parser.parse_args(argv)
    with SandboxPool(min_tier="rlimits_only") as pool:
        found = {"codecontests_mini": contests(pool, args.every)}
        found |= {name: references(pool, name, args.every) for name in ("humaneval", "mbpp")}
    for name, (n, differs, *shared) in found.items():
        print(f"{name}: {n - len(differs)} of {n} the same", *differs, sep="\n  ")
        if shared and shared[0]:
            print(f"  in one process with their tests: {', '.join(shared[0])}")
    return conclude(args, found, found["codecontests_mini"][1])


if __name__ == "__main__":
    sys.exit(main())
