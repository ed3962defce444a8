"""Print the result table of a run directory again: `python -m selfexec_jax.tools.report RUN_DIR [--json]`."""

import argparse
import json
import sys

from selfexec_jax.evals.report import load_report, result_table
from selfexec_jax.traces.clean import clean


def main(argv=None):
    """Print the table, or with --json the report itself; returns the exit code, 2 when there is no report."""
    parser = argparse.ArgumentParser(prog="python -m selfexec_jax.tools.report", description=__doc__)
    parser.add_argument("run_dir", help="a run directory that holds report.json")
    parser.add_argument(
        "--json", action="store_true", help="print the whole report as JSON instead of the table"
    )
    args = parser.parse_args(argv)
    try:
        report = load_report(args.run_dir)
    except (OSError, ValueError) as error:
        print(clean(error).replace("\n", " "), file=sys.stderr)
        return 2
    print(json.dumps(report, indent=1) if args.json else result_table(report).rstrip("\n"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
