"""RL killed -9 at any moment goes on bit for bit."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from selfexec_jax.hosts import EXIT_CODE

SCRIPT = Path(__file__).with_name("resume_run.py")
ROOT = SCRIPT.parent.parent.parent
STEPS = 12


def start(directory, staleness):
    environment = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin", "HOME": "/tmp"}
    environment |= {k: v for k, v in os.environ.items() if k.startswith("JAX_")}  # what is compiled is kept
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(directory), str(STEPS), str(staleness)], cwd=ROOT, env=environment,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def final(directory):
    tree = ocp.StandardCheckpointer().restore((directory / str(STEPS) / "state").resolve())
    return {jax.tree_util.keystr(k): np.asarray(v) for k, v in jax.tree_util.tree_leaves_with_path(tree)}


def best(directory):
    folder = Path(f"{directory}_best")
    return [(p.name, (p / "extra" / "metadata").read_text()) for p in folder.iterdir() if p.name.isdigit()]


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("staleness", "n"), [(0, 2), (2, 4), pytest.param(2, 10, marks=pytest.mark.long)])
def test_killed_at_random_equals_undisturbed(tmp_path, staleness, n):
    whole = start(tmp_path / "whole", staleness)
    began, lines, times = time.monotonic(), [], []
    for line in whole.stdout:
        lines.append(line)
        times.append(time.monotonic() - began)
    assert whole.wait() == 0 and len(lines) == STEPS + 1
    assert sum(int(line.split()[2]) for line in lines[1:]) >= STEPS, "the gradients must not all be zero"
    assert any("None" not in line for line in lines)
    twin = start(tmp_path / "twin", staleness)
    began = time.monotonic()
    assert twin.communicate(timeout=300)[0].splitlines(keepends=True) == lines  # undisturbed runs agree
    seconds = time.monotonic() - began  # with compiled functions at hand
    assert_same(final(tmp_path / "whole"), final(tmp_path / "twin"))

    rng, kills, ended = random.Random(staleness), 0, 0
    while kills < n:
        directory = tmp_path / f"killed-{ended}"
        run = start(directory, staleness)
        try:
            run.communicate(timeout=rng.uniform(0.3, 1.0) * seconds)
            ended += 1  # it came to its end first: the next one begins anew
            assert run.returncode == 0
            assert_same(final(tmp_path / "whole"), final(directory))
            assert best(directory) == best(tmp_path / "whole")
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
            kills += 1
    last = start(directory, staleness)
    found = last.communicate(timeout=300)[0].splitlines(keepends=True)
    assert found == lines[len(lines) - len(found) :]
    assert_same(final(tmp_path / "whole"), final(directory))
    assert best(directory) == best(tmp_path / "whole")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("staleness", [0, 2])
def test_asked_to_end_it_saves_at_the_next_step_and_goes_on_from_there(tmp_path, staleness):
    whole = start(tmp_path / "whole", staleness)
    lines = whole.communicate(timeout=300)[0].splitlines()
    asked = start(tmp_path / "asked", staleness)
    found = [asked.stdout.readline().strip() for _ in range(6)]  # steps 0 to 5
    asked.terminate()
    rest = asked.communicate(timeout=300)[0].splitlines()
    assert asked.returncode == EXIT_CODE
    assert rest[-1] == f"rl: saved after step {5 + len(rest) - 1} of {STEPS}" and len(rest) <= 3
    assert (tmp_path / "asked" / str(5 + len(rest) - 1)).is_dir()
    goes_on = start(tmp_path / "asked", staleness)
    rest = found + rest[:-1] + goes_on.communicate(timeout=300)[0].splitlines()
    assert goes_on.returncode == 0 and rest == lines  # no step twice
    assert_same(final(tmp_path / "whole"), final(tmp_path / "asked"))
