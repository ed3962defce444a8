"""Two processes with two devices each do what one with four does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.hosts.test_hosts import free_port

ROOT = Path(__file__).resolve().parents[2]


def lines(what, hosts, folder, *more):
    """What every host printed, of a run on four devices."""
    folder.mkdir(exist_ok=True, parents=True)
    address = f"127.0.0.1:{free_port()}"
    command, rest = [sys.executable, "-m", "tests.hosts.host", what], [str(4 // hosts), address, str(folder), *more]
    runs = [
        subprocess.Popen([*command, str(i), str(hosts), *rest], cwd=ROOT, text=True,
                         env=os.environ | {"JAX_PLATFORMS": "cpu"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for i in range(hosts)
    ]  # fmt: skip
    told = [run.communicate(timeout=400) for run in runs]
    for run, (_, said) in zip(runs, told, strict=True):
        assert run.returncode == 0, said[-3000:]
    found = [[json.loads(line) for line in out.splitlines() if line.startswith("{")] for out, _ in told]
    return [[{k: v for k, v in line.items() if k != "time"} for line in one] for one in found]


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """What SFT on one host printed."""
    return lines("sft", 1, tmp_path_factory.mktemp("taught"))[0]


def test_sft_learns_the_same_on_two_hosts_and_what_they_began_one_goes_on_with(taught, tmp_path):
    """And the other way round: onto another number of hosts, with the data where it was."""
    assert taught[-1]["loss"] < 0.9 * taught[0]["loss"]
    first, second = lines("sft", 2, tmp_path / "a", "10")
    (rest,) = lines("sft", 1, tmp_path / "a")
    assert first == second and [line["step"] for line in first + rest] == list(range(1, 21))
    np.testing.assert_allclose([x["loss"] for x in first + rest], [x["loss"] for x in taught], rtol=1e-5)
    (begun,) = lines("sft", 1, tmp_path / "b", "5")
    first, second = lines("sft", 2, tmp_path / "b")
    assert first == second and [line["step"] for line in begun + first] == list(range(1, 21))
    np.testing.assert_allclose([x["loss"] for x in begun + first], [x["loss"] for x in taught], rtol=1e-5)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A run of one host, whose samples were written down, and what it printed."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, lines("replay", 1, folder)[0]


def test_rl_learns_the_same_from_the_same_samples(drawn, tmp_path):
    folder, alone = drawn
    (tmp_path / "samples.json").write_bytes((folder / "samples.json").read_bytes())
    first, second = lines("replay", 2, tmp_path)
    assert first == second and [line["step"] for line in first] == list(range(21))
    exact = lambda run: [{k: v for k, v in x.items() if k not in ("grad_norm", "gap")} for x in run]  # noqa: E731
    assert exact(first) == exact(alone)
    norms = [[x["grad_norm"] for x in run if x["step"]] for run in (first, alone)]
    np.testing.assert_allclose(*norms, rtol=2e-4)
    assert np.ptp(norms[1]) > 0


def test_rl_running_free_draws_the_same_prompts_and_the_same_first_batches(drawn, tmp_path):
    _, alone = drawn
    first, second = lines("rl", 2, tmp_path)
    assert first == second
    assert [line["prompts"] for line in first] == [line["prompts"] for line in alone]
    assert first[1]["answers"] == alone[1]["answers"]
    assert first[2]["answers"] == alone[2]["answers"]  # drawn before the first update as well
    assert first[0]["validation"] == alone[0]["validation"]
    assert first[-1]["reward"] > first[1]["reward"] + 0.5
