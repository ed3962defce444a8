"""A run of two hosts that is killed again and again ends as one that was let be; the others hear of it in time."""

import os
import random
import re
import signal
import subprocess
import time

import pytest

from selfexec_jax.hosts import EXIT_CODE
from tests.hosts.test_hosts import free_port
from tests.test_pipeline import ENVIRONMENT, ROOT, SMALL, assert_same, command, final_params, lines

MORE = ["--config.stages=problems,sft,rl", "--config.mesh.cpu_devices=1", "--config.mesh.fsdp=2",
        "--config.sft.batch_rows=8", "--config.sft.checkpoint_every=2", "--config.rl.checkpoint_every=2",
        "--config.rl.staleness=1", "--config.rl.updates=2", "--config.hosts.lost_s=10"]  # fmt: skip


class Run:
    """A run of two hosts."""

    def __init__(self, workdir, *extra):
        address = f"127.0.0.1:{free_port()}"
        workdir.mkdir(exist_ok=True)
        self.logs = [open(workdir / f"log-{i}", "w+") for i in range(2)]  # noqa: SIM115
        self.hosts = [
            subprocess.Popen([*command(workdir, *MORE, *extra, config=SMALL), "--hosts=2", f"--host={i}",
                              f"--coordinator={address}"], cwd=ROOT, env=ENVIRONMENT, stderr=self.logs[i])
            for i in range(2)
        ]  # fmt: skip

    def wait(self, timeout=400):
        """The exit codes."""
        until = time.monotonic() + timeout
        codes = [host.wait(max(until - time.monotonic(), 0.1)) for host in self.hosts]
        self.said = []
        for log in self.logs:
            log.seek(0)
            self.said.append(log.read())
        return codes

    def is_running(self):
        return all(host.poll() is None for host in self.hosts)

    def child(self, i):
        """The process that trains, of a host."""
        found = subprocess.run(["pgrep", "-P", str(self.hosts[i].pid)], capture_output=True, text=True)
        return int(found.stdout.split()[0])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    run = Run(workdir)
    assert run.wait() == [0, 0], run.said
    return workdir


def n_lines(workdir):
    return len(lines(workdir, "sft")) + len(lines(workdir, "rl"))


def disturb(workdir, times, seed, *extra, apart=4):
    """Runs until the end, killed so many times on the way, each time at most `apart` steps on or a little more; returns
    what happened to whom."""
    rng, told = random.Random(seed), []
    kinds = ["child killed", "parent killed", "asked"]
    rng.shuffle(kinds)
    for n in range(times):
        run, before = Run(workdir, *extra), n_lines(workdir)
        steps = rng.randint(1, apart)
        while run.is_running() and n_lines(workdir) < before + steps:
            time.sleep(0.02)
        time.sleep(rng.random() * 0.3)
        kind, victim = kinds[n % 3], rng.randrange(2)
        if not run.is_running():
            break
        if kind == "asked":
            run.hosts[victim].send_signal(signal.SIGTERM)
        else:
            os.kill(run.child(victim) if kind == "child killed" else run.hosts[victim].pid, signal.SIGKILL)
        codes = run.wait(60)  # within a minute all have ended
        said = run.said[1 - victim]
        assert codes[1 - victim] == EXIT_CODE, (kind, victim, codes, run.said)
        if kind == "asked":
            assert codes[victim] == EXIT_CODE, run.said
            assert re.search("saved after step|done and saved|asked to end", said), said
        else:
            assert f"host {victim}" in said and "gone" in said, said
        told.append((kind, victim))
    run = Run(workdir, *extra)
    assert run.wait() == [0, 0], run.said
    return told


def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(undisturbed, tmp_path):
    told = disturb(tmp_path / "run", 2, 0)
    assert len(told) == 2
    for stage in ("sft", "rl"):
        assert_same(final_params(tmp_path / "run", stage), final_params(undisturbed, stage))


@pytest.mark.long
@pytest.mark.timeout(5400)
def test_thirty_kills_in_sixty_steps(tmp_path):
    steps = ["--config.sft.steps=30", "--config.rl.steps=30"]
    run = Run(tmp_path / "undisturbed", *steps)
    assert run.wait() == [0, 0], run.said
    told = disturb(tmp_path / "run", 30, 1, *steps, apart=2)  # with 4 the run was at its end after 26
    print(told)
    assert len(told) == 30
    for stage in ("sft", "rl"):
        assert_same(final_params(tmp_path / "run", stage), final_params(tmp_path / "undisturbed", stage))
