"""Run ablations beside their base and compare them:
`python -m selfexec_jax.tools.ablate --config=configs/tiny.py --names=no_rl,rloo --seeds=3 --workdir=runs/ablations`.

Rows are those of configs/ablations.py and of the config itself. Stages that a row does not touch are run once and
shared; what is done is not done again, so the same command resumes, and several commands may run beside each other in
one workdir. Writes ablations.md, ablations.png and ablations.json.
"""

import argparse
import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from selfexec_jax.configs import ablations as table
from selfexec_jax.evals import ablations as compared
from selfexec_jax.evals.looks import short_number
from selfexec_jax.hosts import EXIT_CODE
from selfexec_jax.hosts.supervising import handing_on
from selfexec_jax.stages.metrics import read_metrics
from selfexec_jax.stages.report import STAGES as TIMED
from selfexec_jax.stages.sharing import READS, alone, is_done, prepare
from selfexec_jax.stages.workdir import Workdir, write_whole
from selfexec_jax.tools.configs import changed, config_file
from selfexec_jax.tools.given import complain
from selfexec_jax.train.stopping import Stopped

STAGES = tuple(READS)
WITH = {"eval": "belief,eval"}  # stages that are one with another
BASE = "base"


@dataclasses.dataclass(frozen=True)
class Run:
    """One config with one seed, in the folder of its evaluation."""

    name: str
    seed: int
    folder: Path


def resumable(main: Callable[..., int]) -> Callable[..., int]:
    """Of a command that makes runs: where one of them ended early, it says so in a line, and gives the exit code."""

    @functools.wraps(main)
    def resuming(argv=None) -> int:
        try:
            return main(argv)
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from here", file=sys.stderr)
            return 130
        except Stopped as error:
            print(f"{error}; the same command goes on from here", file=sys.stderr)
            return EXIT_CODE
        except subprocess.CalledProcessError as error:
            print(f"a run failed; its last lines (all of them: {error.output}):\n{error.stderr}", file=sys.stderr)
            return 1

    return resuming


@resumable
def main(argv=None) -> int:
    """Run, compare, print the table.

    Exit code 2 for bad input, 1 when a run failed, 130 when interrupted, 75 when asked to end (SIGTERM).
    """
    parser = argparse.ArgumentParser(prog="python -m selfexec_jax.tools.ablate", description=__doc__)
    parser.add_argument("--config", required=True, help="a config file")
    parser.add_argument("--names", required=True, help="rows, with commas between them")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on (default 3)")
    parser.add_argument("--first_seed", type=int, default=0, help="or from this one on")
    parser.add_argument("--workdir", required=True, help="where runs and tables go; may hold earlier ones")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of all runs")
    parser.add_argument("--json", action="store_true", help="print the differences as JSON")
    args = parser.parse_args(argv)
    try:
        _, rows = config_file(args.config)
        names = [name for name in args.names.split(",") if name]
        if not names or args.seeds < 1:
            raise ValueError("--names, --seeds: at least one row and one seed")
        bases = {name: table.row_named(name, rows).base or BASE for name in names}
        seeds = range(args.first_seed, args.first_seed + args.seeds)
        found = {
            (name, seed): run(args.config, name, seed, Path(args.workdir), args.set)
            for seed in seeds
            for name in dict.fromkeys([*bases.values(), *names])
        }
    except (OSError, ValueError, KeyError, AttributeError) as error:
        return complain(error)
    table_rows = [
        compare(name, bases[name], table.row_named(name, rows), [found[name, s] for s in seeds],
                [found[bases[name], s] for s in seeds])
        for name in names
    ]  # fmt: skip
    figures = list(dict.fromkeys(name for row in table_rows for name in row["differences"]))
    figures.sort(key=lambda name: FIGURES.index(name) if name in FIGURES else len(FIGURES))
    which = f"seeds {seeds[0]} to {seeds[-1]}" if args.seeds > 1 else f"seed {seeds[0]}"
    text = compared.markdown(f"Ablations of {args.config}, {which}", figures, table_rows)
    out = Path(args.workdir)
    plain = json.dumps(table_rows, default=dataclasses.asdict, indent=1)
    write_whole(out / "ablations.md", text.encode())
    write_whole(out / "ablations.png", compared.plot(figures, table_rows))
    write_whole(out / "ablations.json", plain.encode())
    print(plain if args.json else text, end="")
    return 0


def run(path: str, name: str, seed: int, root: Path, changes: list[str]) -> Run:
    """One row with one seed, stage by stage; what is done is taken as it is. changes: FIELD=VALUE, of the config that
    the row is then applied to."""
    config, flags = config_and_flags(path, name, seed, changes)
    for stage in STAGES:
        with alone(root, config, stage):
            folder = prepare(root, config, stage)
            if not is_done(root, config, stage):
                log = folder / f"{stage}.log"
                print(f"{name}, seed {seed}: {stage} in {log}", file=sys.stderr, flush=True)  # where its progress is
                run_stages([*flags, f"--config.stages={WITH.get(stage, stage)}", f"--workdir={folder}"], root, log)
    return Run(name, seed, folder)


def run_stages(flags: list[str], root: Path, log: Path):
    """A run with these flags, in a process of its own, which is asked to end when this one is; all that it says goes
    into a log. Runs below one root compile the same program once.

    Raises Stopped where it was asked to end, and CalledProcessError, with the log and its last lines, where it failed.
    """
    command = [sys.executable, "-m", "selfexec_jax.main", *flags]
    compiled = str(root.resolve() / "compiled")  # by the runs before
    environment = {"JAX_COMPILATION_CACHE_DIR": compiled, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"} | os.environ
    with (
        open(log, "wb") as out,
        subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT) as child,
    ):
        try:
            with handing_on(child):
                code = child.wait()
        finally:
            child.kill()  # interrupted: nothing writes there when the next command does
    if code in (EXIT_CODE, -signal.SIGTERM):
        raise Stopped("asked to end")
    if code:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise subprocess.CalledProcessError(code, command, str(log), last)


def config_and_flags(path: str, name: str, seed: int, changes: list[str]) -> tuple[ConfigDict, list[str]]:
    """The config of a run, and what makes `selfexec_jax.main` run it."""
    load, rows = config_file(path)
    row = "" if name == BASE else name
    config = table.apply(changed(load(), changes), row, rows)
    config.seed = seed
    return config, [f"--config={path}{':' + row if row else ''}", *_flags(load(row or None), config)]


def _flags(before: ConfigDict, config: ConfigDict, prefix: str = "--config") -> list[str]:
    """What makes one config the other."""
    flags = []
    for field, value in config.items():
        if isinstance(value, ConfigDict):
            flags += _flags(before[field], value, f"{prefix}.{field}")
        elif value != before[field]:
            flags.append(f"{prefix}.{field}={value}")
    return flags


# ---- comparing ------------------------------------------------------------------------------------------
OUTPUTS = "output_prediction"
FIGURES = (OUTPUTS, "pass_at_1", "best_at_K_simulated", "self_rlef")


def values_of(run: Run) -> compared.Values:
    """Every figure of a run by problem (held-out ones and unseen compositions), outputs by case; of all candidates the
    number is K."""
    work = Workdir(run.folder)
    found: compared.Values = work.values()
    policy, K = (work.facts("eval")[key] for key in ("policy", "K"))
    found |= {_of_all(name, K): values for name, values in found.items()}
    alike = found[f"{OUTPUTS}_{policy}"].items()
    found[OUTPUTS] = {i: v for i, v in alike if not i.split("/")[-2].startswith("own")}  # the same for all models
    return found


def _of_all(name: str, K: int) -> str:
    """A strategy's name with K for the number of all candidates, which may differ between rows."""
    return name.replace(f"_at_{K}_", "_at_K_")


def compare(name: str, base: str, row: table.Row, ours: list[Run], bases: list[Run]) -> dict:
    """What a row changed, and what it cost."""
    mine, theirs = [values_of(r) for r in ours], [values_of(r) for r in bases]
    pairs = {f: (f, f) for f in FIGURES if all(f in v for v in (*mine, *theirs))}
    own = {a: b for a, b in row.over.items() if all(a in m and b in t for m, t in zip(mine, theirs, strict=True))}
    pairs |= {a if a == b else f"{a} over {b}": (a, b) for a, b in own.items()}
    differences = {name: compared.difference(mine, theirs, *pair) for name, pair in pairs.items()}
    seconds = [sum(Workdir(r.folder).facts(stage).get("seconds", 0.0) for stage in TIMED) for r in ours]
    lines = [line for r in ours for line in read_metrics(Workdir(r.folder))]
    trained = sum(line.get("tokens", 0) + line.get("learned_tokens", 0) for line in lines) / len(ours)
    cost, cost_of_base = _costs(ours), _costs(bases)
    facts = {
        "tokens trained on": short_number(trained),
        "minutes, all stages": f"{sum(seconds) / len(seconds) / 60:.0f}",
        "tokens a problem, best@K": cost["best_at_K_simulated"],
        "Self-RLEF": cost["self_rlef"],
        "its own figures": "; ".join(f"{cost[a]} over {cost_of_base[b]}" for a, b in own.items()),
    }
    return {"name": name, "base": base, "claim": row.claim, "expected_null": row.expected_null,
            "differences": differences, "facts": facts}  # fmt: skip


def _costs(runs: list[Run]) -> dict[str, str]:
    """Tokens that each strategy generated and read, a problem."""
    found: dict[str, list[dict]] = {}
    for work in (Workdir(r.folder) for r in runs):
        K = work.facts("eval")["K"]
        for row in work.read_rows(work.data / "values.jsonl.gz"):
            found.setdefault(_of_all(row["name"], K), []).append(row)
    mean = lambda rows, key: sum(sum(row[key]) for row in rows) / sum(len(row[key]) for row in rows)  # noqa: E731
    return {
        name: f"{short_number(mean(rows, 'tokens'))} + {short_number(mean(rows, 'prefilled'))} read"
        for name, rows in found.items()
    }


if __name__ == "__main__":
    sys.exit(main())
