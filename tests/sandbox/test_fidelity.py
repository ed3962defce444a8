"""Honest programs do not notice the jail; `python -m tests.benchmarks.fidelity` looks at all of them."""

import sys

import pytest

from selfexec_jax.problems.datasets import data_dir
from selfexec_jax.sandbox import SandboxPool
from tests.benchmarks.fidelity import contests, references

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the jail is built of Linux mechanisms"),
    pytest.mark.skipif(not data_dir().exists(), reason="no data here; see SELFEXEC_DATA"),
]


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(min_tier="rlimits_only") as pool:
        yield pool


def test_contest_programs_print_and_end_as_in_a_plain_interpreter(pool):
    n, differs = contests(pool, every=10)
    assert n > 200
    assert differs == []


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_reference_programs_pass(pool, name):
    n, differs, shared = references(pool, name, every=10)
    assert n > 15
    assert differs == []
    assert len(shared) <= n // 20
