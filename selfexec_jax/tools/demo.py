"""Watch a small model solve problems by simulating its own programs: `python -m selfexec_jax.tools.demo [--seed N]`.

Five problems that it never saw: candidates, their simulated runs on the public tests, the one that is picked and why;
one repaired by Self-RLEF; and only then the truth, by execution. --checkpoint asks another model, of a run say, about
the held-out problems of that run. Exit code 2 for bad input.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from selfexec_jax.checkpoints import TINY
from selfexec_jax.problems import Problem
from selfexec_jax.problems.compare import answers_match, is_literal
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.problems.judge import judge
from selfexec_jax.sandbox import SandboxPool
from selfexec_jax.tools import showing
from selfexec_jax.tools.given import complain
from selfexec_jax.tools.showing import mark, program, value
from selfexec_jax.traces.clean import clean

if TYPE_CHECKING:
    from selfexec_jax.self_execution import Episode, Ranking

N_PROBLEMS = 5
N_CANDIDATES = 8
MAX_FIXES = 4


@dataclasses.dataclass(frozen=True)
class Solved:
    """A problem, the programs that were written for it, in order, and what simulating them says."""

    problem: Problem
    sources: list[str | None]
    ranking: Ranking

    @property
    def picked(self) -> int:
        """The first of the candidates with the highest score."""
        return max(range(len(self.sources)), key=lambda i: self.ranking.scores[i])


def main(argv=None) -> int:
    """Solve, repair, then execute; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m selfexec_jax.tools.demo", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="which problems, and what is sampled (default 0)")
    parser.add_argument("--checkpoint", default=str(TINY), help="a run directory or a checkpoint folder")
    parser.add_argument("--problems", metavar="FILE", help="problems to draw from, if not those of the checkpoint")
    parser.add_argument("--min-tier", default="uid_chroot", help="weakest protection to accept at the end")
    args = parser.parse_args(argv)
    out, started = showing.console(), time.monotonic()
    try:
        known = _drawable(args.problems or _problems_of(Path(args.checkpoint)))
        with SandboxPool(workers=1, min_tier=args.min_tier):
            pass  # whether this machine can execute at the end is said at the start
        from selfexec_jax.tools.asked import opened  # jax, which a wrong file name need not wait for

        out.print(Text(f"loading {args.checkpoint} and compiling for this machine ...", "dim"))
        asked = opened(args.checkpoint)
    except (OSError, ValueError, RuntimeError) as error:  # a sandbox that is too weak is a RuntimeError
        return complain(error)
    problems = random.Random(args.seed).sample(known, min(N_PROBLEMS, len(known)))
    solved = []
    for number, problem in enumerate(problems, 1):
        solved.append(solve(asked, problem, args.seed))
        show_solved(out, number, solved[-1])
    repaired = repair(asked, solved, args.seed)
    show_repaired(out, repaired)
    out.print(Rule("Nothing has been executed so far. Now the truth, by execution"))
    show_truth(out, solved, repaired, args.min_tier)
    out.print(Text(f"{time.monotonic() - started:.0f} s in all; --seed {args.seed + 1} draws other problems", "dim"))
    return 0


def _problems_of(folder: Path) -> Path:
    """Held-out problems that lie beside a checkpoint, or in its run."""
    found = [p for p in (folder / "problems.jsonl", folder / "data" / "heldout.jsonl") if p.exists()]
    if not found:
        raise ValueError(f"{folder}: no problems beside this checkpoint; give some with --problems")
    return found[0]


def _drawable(path: str | Path) -> list[Problem]:
    """The problems that can be verified by simulation: those with public tests that have outputs."""
    known = [p for p in load_problems(path) if p.public_tests and _has_outputs(p)]
    if not known:
        raise ValueError(f"{path}: none of its problems has public tests with outputs, which are what is simulated")
    return known


def _has_outputs(problem: Problem) -> bool:
    tests = problem.public_tests + problem.private_tests
    return problem.kind == "stdio" or (problem.kind == "call" and all(is_literal(test.output) for test in tests))


# ---- without executing anything ----------------------------------------------------------------------------
def solve(asked, problem: Problem, seed: int) -> Solved:
    from selfexec_jax.self_execution import verify
    from selfexec_jax.self_execution.candidates import candidates, program_of

    (samples,) = candidates(asked.engine, asked.tokenizer, [problem], N_CANDIDATES, seed, asked.writing())
    sources = [program_of(sample, asked.config.tasks.template) for sample in samples]
    (ranking,) = verify(asked.engine, asked.tokenizer, [(problem, sources)], 1, seed, asked.simulating())
    return Solved(problem, sources, ranking)


def repair(asked, solved: list[Solved], seed: int) -> tuple[Solved, Episode] | None:
    """A Self-RLEF episode from a candidate that is foretold to fail: the first that ends with another program which the
    model submits, else the first that ends with another."""
    from selfexec_jax.self_execution.fix import fix, simulated_feedback

    feedback = simulated_feedback(asked.engine, asked.tokenizer, seed, asked.simulating())
    doubted = [
        (found, source)
        for found in solved
        for source, score in zip(found.sources, found.ranking.scores, strict=True)
        if source is not None and score < 1
    ]
    items = [(found.problem, source) for found, source in doubted]
    episodes = fix(asked.engine, asked.tokenizer, items, feedback, MAX_FIXES, seed, asked.writing())
    changed = [(found, e) for (found, _), e in zip(doubted, episodes, strict=True) if e.submitted != e.first]
    submitted = (pair for pair in changed if pair[1].turns[-1].is_submit)
    return next(submitted, changed[0] if changed else None)


# ---- shown ----------------------------------------------------------------------------------------------
def show_solved(out, number: int, found: Solved) -> None:
    problem = found.problem
    out.print(Rule(f"Problem {number}"))
    out.print(Text(clean(problem.statement)))
    tests = "   ".join(f"{clean(t.input).strip()} → {clean(t.output).strip()}" for t in problem.public_tests)
    out.print(Text(f"public tests:  {tests}\n", "dim"))
    table = Table("candidate", "written", *(f"test {i}" for i in range(1, len(problem.public_tests) + 1)), box=None)
    times = Counter(found.sources)
    for source, row in dict(zip(found.sources, found.ranking.predictions, strict=True)).items():
        if source is None:
            table.add_row(Text("no program"), f"{times[source]} x")
            continue
        cells = [_cell(problem, test, cell) for test, cell in zip(problem.public_tests, row, strict=True)]
        name = f"{found.sources.index(source) + 1}"
        table.add_row(Text(name, "bold" if source == found.sources[found.picked] else ""), f"{times[source]} x", *cells)
    out.print(table)
    source = found.sources[found.picked]
    if source is None:
        out.print("none of the answers is a program")
        return
    out.print(Text(f"\npicked: candidate {found.picked + 1}, {_why(found)}", "bold"))
    said = found.ranking.predictions[found.picked][0][0].text
    both = Table.grid(padding=(0, 4))
    both.add_row(program(source), Text(clean(said)))
    out.print(Panel(both, title="its program, and its first simulated run", title_align="left"))


def _cell(problem: Problem, test, predictions) -> Text:
    output = predictions[0].output
    is_match = answers_match(problem.kind, test.output, output)
    return Text.assemble(mark(is_match), " ", value(output))


def _why(found: Solved) -> str:
    scores, best = found.ranking.scores, found.ranking.scores[found.picked]
    distinct = dict(zip(found.sources, scores, strict=True))
    n = sum(score < best for score in distinct.values())
    how = "every public test" if best == 1 else f"{best:.0%} of the public tests"
    rest = f"; {n} other program{'s' * (n != 1)} less" if n else "; all candidates alike"
    return f"foretold to pass {how}{rest if len(distinct) > 1 else ''}"


def show_repaired(out, repaired: tuple[Solved, Episode] | None) -> None:
    out.print(Rule("Repaired"))
    if repaired is None:
        out.print("no candidate was foretold to fail and then changed; another --seed has one")
        return
    found, episode = repaired
    out.print(Text(clean(found.problem.statement)))
    for i, turn in enumerate(episode.turns, 1):
        before = episode.first if i == 1 else episode.turns[i - 2].source
        grid = Table.grid(padding=(0, 4))
        feedback = [
            Text.assemble(mark(f.agrees), f" {clean(f.test.input).strip()} → foretold ", value(f.output),
                          f", wanted {clean(f.test.output).strip()}")
            for f in turn.feedback
        ]  # fmt: skip
        grid.add_row(program(before), Text("\n").join(feedback))
        does = "submits it" if turn.is_submit else "rewrites it" if turn.source != before else "gives it again"
        out.print(Panel(grid, title=f"turn {i}: the model {does}", title_align="left"))
    if not (episode.turns and episode.turns[-1].is_submit):
        out.print(Panel(program(episode.submitted), title="where the episode ends", title_align="left"))


def show_truth(out, solved: list[Solved], repaired: tuple[Solved, Episode] | None, min_tier: str) -> None:
    """Executes candidates and the repaired program on public and private tests."""
    with SandboxPool(workers=2, min_tier=min_tier) as pool:
        def verdicts(found: Solved, sources) -> dict:
            tests = found.problem.public_tests + found.problem.private_tests
            return {s: judge(s, found.problem, tests, pool) for s in dict.fromkeys(sources) if s is not None}

        judged = [verdicts(found, found.sources) for found in solved]
        fixed = verdicts(repaired[0], [repaired[1].first, repaired[1].submitted]) if repaired else {}
        judged, fixed = ([{s: f.result().status == "passed" for s, f in each.items()} for each in judged],
                         {s: f.result().status == "passed" for s, f in fixed.items()})  # fmt: skip
    table = Table("problem", "first candidate", "picked", "candidates that are right", box=None)
    right = Counter()
    for number, (found, is_right) in enumerate(zip(solved, judged, strict=True), 1):
        each = [is_right.get(source, False) for source in found.sources]
        right.update(first=each[0], picked=each[found.picked], all=sum(each))
        table.add_row(str(number), mark(each[0]), mark(each[found.picked]), f"{sum(each)} of {len(each)}")
    n = len(solved)
    table.add_row("", f"{right['first']} of {n}", f"{right['picked']} of {n}", f"{right['all']} of {n * N_CANDIDATES}")
    out.print(table)
    if repaired:
        episode = repaired[1]
        out.print(Text.assemble("repaired: before ", mark(fixed[episode.first]), ", after ",
                                mark(fixed.get(episode.submitted, False))))  # fmt: skip
    out.print(Text(f"{n} problems show how it works, not how well: the README has figures with intervals.", "dim"))


if __name__ == "__main__":
    sys.exit(main())
