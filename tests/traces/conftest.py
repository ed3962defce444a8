import pytest
from harness import run_traced

from selfexec_jax.sandbox import SandboxPool


@pytest.fixture(scope="session")
def traced():
    return run_traced


@pytest.fixture(scope="session")
def pool():
    with SandboxPool(workers=2, min_tier="rlimits_only") as pool:
        yield pool
