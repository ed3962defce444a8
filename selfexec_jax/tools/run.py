"""Run one program in the sandbox: `python -m selfexec_jax.tools.run FILE.py [--stdin F | --call "f(1)"]`."""

import argparse
import dataclasses
import json
import sys

from selfexec_jax.sandbox import Execution, Limits, Run, SandboxPool, SandboxTooWeak
from selfexec_jax.tools.given import complain, read
from selfexec_jax.traces.clean import clean


def main(argv=None):
    """Run the file and print how it went; exit code 0 when it ended well, 1 when not, 2 for a bad request."""
    parser = argparse.ArgumentParser(prog="python -m selfexec_jax.tools.run", description=__doc__)
    parser.add_argument("file", nargs="?", help="the program")
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--stdin", metavar="FILE", help="what the program reads; '-' for our own stdin")
    given.add_argument("--call", metavar="EXPR", help="evaluate this call after the program, as in 'f(1)'")
    parser.add_argument("--cpu-s", type=float, default=2.0, help="CPU seconds (default 2)")
    parser.add_argument("--wall-s", type=float, default=10.0, help="wall seconds (default 10)")
    parser.add_argument("--memory-mb", type=int, default=512, help="MiB of memory (default 512)")
    parser.add_argument("--min-tier", default="uid_chroot", help="weakest protection to accept")
    parser.add_argument(
        "--capabilities", action="store_true", help="say how well this machine protects itself"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    args = parser.parse_args(argv)
    if not args.file and not args.capabilities:
        parser.error("name a program, or ask for --capabilities")
    try:
        source = read(args.file) if args.file else ""
        stdin = read(args.stdin) if args.stdin else None
        limits = Limits(cpu_s=args.cpu_s, wall_s=args.wall_s, memory_mb=args.memory_mb)
        min_tier = "rlimits_only" if args.capabilities else args.min_tier
        with SandboxPool(workers=1, min_tier=min_tier) as pool:
            if args.capabilities:
                _print_capabilities(pool.capabilities(), args.json)
                return 0
            execution = pool.submit(Run(source, stdin=stdin, call=args.call), limits).result()
    except (OSError, ValueError, SandboxTooWeak, RuntimeError) as error:
        return complain(error)
    if args.json:
        print(json.dumps(dataclasses.asdict(execution), indent=1))
    else:
        _print_execution(execution)
    return 0 if execution.status == "ok" else 1


def _print_execution(execution: Execution) -> None:
    sys.stdout.write(clean(execution.stdout))
    if execution.value is not None:
        print(clean(execution.value))
    sys.stdout.flush()
    used = f"{execution.cpu_s:.3f} s CPU, {execution.wall_s:.3f} s, {execution.peak_mb:.0f} MiB"
    print(f"[{execution.status}] {used}, {execution.tier}", file=sys.stderr)
    if execution.error:
        print(clean(execution.error), file=sys.stderr)


def _print_capabilities(found: dict, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=1))
        return
    evidence = dict(found["evidence"])
    mechanisms = evidence.pop("mechanisms")
    print(f"tier: {found['tier']}")
    print("applied: " + ", ".join(name for name, is_there in mechanisms.items() if is_there))
    for name, said in evidence.items():
        print(f"denied    {name} ({clean(said)})" if name in found["enforced"] else f"possible  {name}")


if __name__ == "__main__":
    sys.exit(main())
