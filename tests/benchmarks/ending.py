"""What every benchmark shares: its options, the machine it ran on, and how it ends."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys


def parser_of(name: str, description: str) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.benchmarks.{name}", description=description)
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    return parser


def machine() -> str:
    """Cores, processor, kernel and interpreter."""
    with open("/proc/cpuinfo") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    kernel = platform.release().partition("-")[0]
    return f"{os.cpu_count()} x {model or platform.machine()}, Linux {kernel}, Python {platform.python_version()}"


def conclude(args: argparse.Namespace, found: dict, missed: list[str]) -> int:
    """Writes the figures with the machine, names the targets missed, and gives the exit code."""
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"machine": machine(), **found}, file, indent=1)
    for name in missed:
        print(f"missed: {name}", file=sys.stderr)
    return 1 if args.check and missed else 0
