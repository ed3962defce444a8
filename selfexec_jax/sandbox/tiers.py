"""How well a machine protects itself, found by a program that tries what it should not be able to do."""

from __future__ import annotations

import ast
import os
import tempfile
from collections.abc import Callable

from selfexec_jax.sandbox.types import Execution, Limits, Run

TIERS = ("rlimits_only", "no_landlock", "uid_chroot", "no_namespaces", "full")  # weakest first
_LIMITS = Limits(cpu_s=10, wall_s=60, memory_mb=256)


class SandboxTooWeak(RuntimeError):
    """This machine cannot protect itself as much as the caller asked for."""


def probe(execute: Callable[[Run, Limits], tuple[Execution, dict[str, bool]]]) -> dict:
    """The capabilities of whoever executes: tier, what was denied, what was possible, and the evidence.

    `execute` also tells the mechanisms that the zygote says it applies. Raises RuntimeError when the probe
    cannot run.
    """
    with tempfile.TemporaryDirectory() as folder:
        secret = os.path.join(folder, "secret")
        with open(secret, "w") as file:
            file.write("secret")
        call = f"probe({secret!r}, {folder!r}, {2 * _LIMITS.memory_mb << 20}, {os.getpid()})"
        execution, mechanisms = execute(Run(_PROBE, call=call), _LIMITS)
    if execution.status != "ok" or not execution.value:
        raise RuntimeError(f"the sandbox's probe failed: {execution.error or execution.status}")
    evidence = ast.literal_eval(execution.value)
    tier, stopped, possible = tier_of(evidence, mechanisms)
    seen = {name: refusal or "possible" for name, refusal in evidence.items()}
    return {
        "tier": tier,
        "enforced": stopped,
        "not_enforced": possible,
        "evidence": {**seen, "mechanisms": dict(mechanisms)},
    }


def demand(capabilities: dict, min_tier: str) -> None:
    """Raise SandboxTooWeak where the capabilities fall short of a tier."""
    tier = capabilities["tier"]
    if TIERS.index(tier) < TIERS.index(min_tier):
        raise SandboxTooWeak(
            f"the sandbox reaches only tier {tier!r}, below {min_tier!r}; a program could: "
            f"{', '.join(capabilities['not_enforced'])}. To run programs anyway, say min_tier=\"{tier}\"."
        )


# Run once through the pool like any program; each entry is None (it could) or how it was refused.
_PROBE = """
import mmap, os, resource, socket

def tried(action):
    try:
        action()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return None

def start_process():
    if os.fork() == 0:
        os._exit(0)

def start_program():
    try:
        os.execv("/nonexistent", ["x"])
    except FileNotFoundError:
        pass

def probe(secret, folder, memory_bytes, pool_pid):
    parent = os.getppid()
    return {
        "read a file": tried(lambda: open(secret).read()),
        "write a file": tried(lambda: open(folder + "/written", "w")),
        "read another process's memory": tried(lambda: open(f"/proc/{pool_pid or parent}/mem", "rb")),
        "open a socket": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()),
        "start a process": tried(start_process),
        "start a program": tried(start_program),
        "signal another process": tried(lambda: os.kill(parent, 0)),
        "change another process's limits": tried(
            lambda: resource.prlimit(parent, resource.RLIMIT_CORE, (0, 0))),
        "use more memory than allowed": tried(lambda: mmap.mmap(-1, memory_bytes)),
    }
"""

_STOPPED_BY = {
    "rlimits": ("use more memory than allowed",),
    "uid_chroot": ("read a file", "write a file", "read another process's memory"),
    "landlock": ("read a file", "write a file", "read another process's memory"),
    "seccomp": (
        "open a socket", "start a process", "start a program", "signal another process",
        "change another process's limits",
    ),
}  # fmt: skip


def tier_of(evidence: dict[str, str | None], found: dict[str, bool]) -> tuple[str, list[str], list[str]]:
    """The tier that the probe's `evidence` proves, then what is not possible and what still is.

    `found` says which mechanisms the zygote applied; one counts only when the probe also saw it hold.
    """
    works = {
        name: found.get(name, False) and all(evidence.get(probe) for probe in probes)
        for name, probes in _STOPPED_BY.items()
    }
    if not works["seccomp"]:
        tier = "rlimits_only"
    elif not works["landlock"]:
        tier = "uid_chroot" if works["uid_chroot"] else "no_landlock"
    elif not (found.get("namespaces") and works["rlimits"]):
        tier = "no_namespaces"
    else:
        tier = "full"
    stopped = [name for name, refusal in evidence.items() if refusal]
    possible = [name for name, refusal in evidence.items() if not refusal]
    return tier, stopped, possible
