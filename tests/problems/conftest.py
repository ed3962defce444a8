"""The pool that the tests of judging share."""

import sys

import pytest

from selfexec_jax.sandbox import SandboxPool


@pytest.fixture(scope="package")
def pool():
    if sys.platform != "linux":
        pytest.skip("the jail is built of Linux mechanisms")
    with SandboxPool(workers=2, min_tier="rlimits_only") as pool:
        yield pool
