"""What is seen of a run from outside while it trains: a heartbeat file a host, and profiles of chosen steps."""

from __future__ import annotations

import json
import logging
import os
import re
import time

import jax

from selfexec_jax.stages.workdir import Workdir, write_whole

log = logging.getLogger(__name__)


class Looking:
    """To be called as each step begins, and closed at the end.

    As a step begins, writes heartbeat/host-N.json (stage, step, time, process, memory of the devices) if the last one
    is `hosts.beat_s` seconds old, and the steps that `profile` names ("rl:10-12") as traces for TensorBoard or
    Perfetto into profile/host-N.
    """

    def __init__(self, config, workdir: Workdir, stage: str):
        self._stage, self._beat_s, self._last = stage, config.hosts.beat_s, -float("inf")
        self._hosts = workdir.hosts
        name = f"host-{workdir.hosts.index}"
        self._heartbeat = workdir.root / "heartbeat" / f"{name}.json"
        self._profile = workdir.root / "profile" / name
        self._host = workdir.hosts.names[workdir.hosts.index]
        self._first, self._after = _steps_of(config.profile, stage)
        self._is_profiling = False

    def __call__(self, step: int) -> None:
        if time.monotonic() - self._last > self._beat_s:
            self._last = time.monotonic()
            told = {"stage": self._stage, "step": step, "time": time.time(), "pid": os.getpid(), "host": self._host}
            try:
                write_whole(self._heartbeat, json.dumps(told | memory()).encode())
            except OSError as error:  # nothing that a run should end for
                log.warning("no heartbeat: %s", error)
        if step == self._first:
            jax.profiler.start_trace(str(self._profile))
            self._is_profiling = True
        if step == self._after:
            self.close()

    def with_memory(self, line: dict) -> dict:
        """A line of metrics with the memory of the fullest device of all hosts, and of each host; all must call it."""
        found = self._hosts.gather("memory", memory())
        line = line | {name: max(host[name] for host in found) for name in found[0]}
        if found[0] and self._hosts.count > 1:
            line["hosts"] = line.get("hosts", {}) | {name: [host[name] for host in found] for name in found[0]}
        return line

    def close(self) -> None:
        if self._is_profiling:
            jax.profiler.stop_trace()
        self._is_profiling = False


def memory() -> dict[str, float]:
    """GiB in use on the fullest device of this host, and the most there ever was; nothing where devices do not say."""
    stats = [s for d in jax.local_devices() if (s := d.memory_stats())]
    if not stats:
        return {}
    names = {"memory_gib": "bytes_in_use", "memory_peak_gib": "peak_bytes_in_use"}
    return {name: max(s.get(key, 0) for s in stats) / 2**30 for name, key in names.items()}


def _steps_of(profile: str, stage: str) -> tuple[int, int]:
    """(first step, the one after the last), as numbers of steps that are done when they begin."""
    if not profile:
        return -1, -1
    found = re.fullmatch(r"(sft|rl):(\d+)-(\d+)", profile)
    if not found or not 1 <= int(found[2]) <= int(found[3]):
        raise ValueError(f"profile={profile!r}: not like sft:10-12 or rl:3-3")
    return (int(found[2]) - 1, int(found[3])) if found[1] == stage else (-1, -1)
