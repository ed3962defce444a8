"""The pool that the tests of judging share."""

import os
import sys
from pathlib import Path

import pytest

from selfexec_jax.sandbox import SandboxPool


@pytest.fixture(scope="package")
def pool():
    if sys.platform != "linux":
        pytest.skip("the jail is built of Linux mechanisms")
    with SandboxPool(workers=2, min_tier="rlimits_only") as pool:
        yield pool


@pytest.fixture
def data(monkeypatch):
    """The folder of real data; where it is not there, the test is skipped."""
    path = Path(os.environ.get("SELFEXEC_DATA") or Path(__file__).parents[3] / "shared" / "data")
    monkeypatch.setenv("SELFEXEC_DATA", str(path))
    if not (path / "cruxeval.jsonl").is_file():
        pytest.skip("real data is not there; set SELFEXEC_DATA to the folder that holds it")
    return path
