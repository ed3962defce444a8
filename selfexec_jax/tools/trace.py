"""Say what a program does: `python -m selfexec_jax.tools.trace FILE.py [--stdin F | --call "f(1)"]`."""

import argparse
import dataclasses
import json
import os
import sys

from selfexec_jax.sandbox import Run, SandboxPool, SandboxTooWeak, TraceBudget
from selfexec_jax.tools.given import complain, read, write
from selfexec_jax.traces import STYLES, narrate, recorded_for, steps
from selfexec_jax.traces.clean import clean
from selfexec_jax.traces.view import page


def main(argv=None):
    """Run the file traced and print the narration; exit code 2 when the request or the program is no good."""
    parser = argparse.ArgumentParser(prog="python -m selfexec_jax.tools.trace", description=__doc__)
    parser.add_argument("file", help="the program")
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--stdin", metavar="FILE", help="what the program reads; '-' for our own stdin")
    given.add_argument("--call", metavar="EXPR", help="tell this call of the program, as in 'f(1)'")
    parser.add_argument("--style", default="full", choices=list(STYLES), help="how to tell it (default full)")
    parser.add_argument("--min-tier", default="uid_chroot", help="weakest protection to accept")
    parser.add_argument("--json", action="store_true", help="print narration, steps and status as JSON")
    parser.add_argument("--html", metavar="OUT", help="write a page to step through the run instead")
    parser.add_argument("--simulated", metavar="FILE", help="lay a narration in that style beside it; with --html")
    args = parser.parse_args(argv)
    if args.simulated and not args.html:
        parser.error("--simulated needs --html")
    try:
        run = Run(
            read(args.file), stdin=args.stdin and read(args.stdin), call=args.call,
            trace=TraceBudget(of="both" if args.html else recorded_for(args.style)),
        )
        with SandboxPool(workers=1, min_tier=args.min_tier) as pool:
            execution = pool.submit(run).result()
    except (OSError, ValueError, RuntimeError, SandboxTooWeak) as error:
        return complain(error)
    if execution.trace is None or execution.status in ("syntax_error", "infra_error"):
        return complain(f"{args.file}: {execution.status}: {execution.error or 'there is nothing to tell'}")
    if args.html:
        return _write_page(args, execution)
    told = narrate(execution.trace, args.style)
    if args.json:
        print(json.dumps(_report(execution, told), indent=1))
        return 0
    for line in told.text.split("\n"):
        print(clean(line))
    if execution.trace.stop:
        print(f"(told up to where the trace was cut short: {execution.trace.stop})", file=sys.stderr)
    if execution.status not in ("ok", "trace_budget"):
        print(clean(f"({execution.status}: {execution.error})"), file=sys.stderr)
    return 0


def _write_page(args, execution):
    try:
        simulated = args.simulated and read(args.simulated)
        write(args.html, page(execution, os.path.basename(args.file), simulated, args.style))
    except (OSError, ValueError) as error:
        return complain(error)
    print(clean(args.html))
    return 0


def _report(execution, told):
    happened = [{"kind": type(step).__name__, **dataclasses.asdict(step)} for step in steps(execution.trace)]
    outcome = {"status": execution.status, "error": execution.error, "stop": execution.trace.stop}
    return {**outcome, "narration": told.text, "output": told.output, "steps": happened}


if __name__ == "__main__":
    sys.exit(main())
