"""RL killed -9 between any two steps goes on bit for bit."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

SCRIPT = Path(__file__).with_name("resume_run.py")
STEPS = 7


def start(directory):
    root = SCRIPT.parent.parent.parent
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(directory), str(STEPS)], cwd=root, stdout=subprocess.PIPE, text=True,
        env={"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin", "HOME": "/tmp"},
    )  # fmt: skip


def final(directory):
    tree = ocp.StandardCheckpointer().restore((directory / str(STEPS) / "state").resolve())
    return {jax.tree_util.keystr(k): np.asarray(v) for k, v in jax.tree_util.tree_leaves_with_path(tree)}


def test_killed_between_steps_equals_undisturbed(tmp_path):
    whole = start(tmp_path / "whole")
    lines = whole.communicate(timeout=300)[0].splitlines()
    assert whole.returncode == 0
    assert sum(int(line.split()[2]) for line in lines) >= STEPS, "the gradients must not all be zero"

    killed = start(tmp_path / "killed")
    for line in killed.stdout:
        if line.startswith("5 "):  # checkpoints are at 2, 4 and 6: step 5 is lost and made again
            killed.kill()
            break
    killed.wait()
    resumed = start(tmp_path / "killed")
    again = resumed.communicate(timeout=300)[0].splitlines()
    assert again == lines[4:]
    undisturbed, other = final(tmp_path / "whole"), final(tmp_path / "killed")
    assert undisturbed.keys() == other.keys()
    for name in undisturbed:
        np.testing.assert_array_equal(undisturbed[name], other[name], err_msg=name)
