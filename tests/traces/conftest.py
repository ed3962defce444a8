import pytest
from harness import run_traced


@pytest.fixture(scope="session")
def traced():
    return run_traced
