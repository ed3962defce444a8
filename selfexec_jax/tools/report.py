"""Print the results of a run again, or of several side by side:
`python -m selfexec_jax.tools.report RUN [RUN ...] [--json]`.
"""

import argparse
import json
import os
import sys

from selfexec_jax.evals.report import load_report
from selfexec_jax.evals.terminal import result_table, side_by_side
from selfexec_jax.stages.questions import LIKE_TRAINING
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tools.given import complain


def main(argv=None):
    """Print a table, or with --json the reports themselves; returns the exit code, 2 when there is no report."""
    parser = argparse.ArgumentParser(prog="python -m selfexec_jax.tools.report", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run directory that holds report.json")
    parser.add_argument("--json", action="store_true", help="print the reports as JSON, several as a list")
    args = parser.parse_args(argv)
    try:
        reports = [load_report(run) for run in args.runs]
        values = _paired(args.runs) if len(reports) > 1 else []
    except (OSError, ValueError) as error:
        return complain(error)
    if args.json:
        print(json.dumps(reports if len(reports) > 1 else reports[0], indent=1))
    elif len(reports) > 1:
        names = [os.path.basename(os.path.normpath(run)) for run in args.runs]
        names = names if len(set(names)) == len(names) else args.runs
        print(side_by_side(names, reports, values), end="")
    else:
        print(result_table(reports[0]), end="")
    return 0


def _paired(runs: list[str]) -> list[dict[str, dict[str, float]]]:
    """Values by result and problem or case, as the results count them; none for a run that was asked other problems
    than the first: they have the same names."""
    first, *_ = asked = [_asked(run) for run in runs]
    return [_by_result(Workdir(run).values()) if its == first else {} for run, its in zip(runs, asked, strict=True)]


def _asked(run: str) -> dict:
    path = Workdir(run).root / "config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    benchmark = {key: value for key, value in config.get("eval", {}).items() if key.startswith("benchmark")}
    return {"seed": config.get("seed"), "problems": config.get("problems"), "benchmark": benchmark}


def _by_result(values: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name, each in values.items():
        for i, value in each.items():
            kind = i.split("/")[-2] if name.startswith("output_prediction") else ""
            if kind and kind not in LIKE_TRAINING:
                results = [f"{name}_shifted", f"{name}_{kind}"]
            else:
                results = [] if i.startswith("unseen") else [name]
            for result in results:
                found.setdefault(result, {})[i] = value
    return found


if __name__ == "__main__":
    sys.exit(main())
