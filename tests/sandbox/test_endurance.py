"""The pool over time and under load; `python -m tests.benchmarks.sandbox --soak 200000` is the long version."""

import sys
import textwrap
import time

import pytest

from selfexec_jax.sandbox import Limits, Run, SandboxPool
from tests.benchmarks.sandbox import soak, under_load

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the jail is built of Linux mechanisms")


def test_statuses_do_not_depend_on_the_load():
    found = under_load(n_busy=6, cpu_s=0.3, times=1)
    assert found["idle"] == found["loaded"] == found["expected"]


def test_a_run_that_lands_in_between_is_repeated_alone():
    """The first time it takes more than its limit and less than twice that; the second time it is quick."""
    with SandboxPool(workers=1, limits=Limits(cpu_s=0.5)) as pool:
        others = [pool.submit(Run("print(1)")) for _ in range(10)]
        soon = time.time() + 3
        program = f"""
        import time
        print("first" if time.time() < {soon} else "second")
        if time.time() < {soon}:
            while time.process_time() < 0.65: pass
            time.sleep({soon} - time.time())
        """
        execution = pool.submit(Run(textwrap.dedent(program))).result(60)
        assert (execution.status, execution.stdout) == ("ok", "second\n")
        assert execution.cpu_s < 0.3
        assert {other.result(60).status for other in others} == {"ok"}
        slow = "import time\nwhile time.process_time() < 0.7: pass"
        assert pool.submit(Run(slow)).result(60).status == "timeout"


def test_a_soak():
    found = soak(3000)
    assert (found["runs"], found["lost"], found["wrong"]) == (3000, 0, 0)
    assert found["zygotes_killed"] > 0
    assert found["descriptors"][1] <= found["descriptors"][0]
    assert found["processes"][1] <= found["processes"][0]
    assert found["own_descriptors"][0] == found["own_descriptors"][1]
    assert found["memory"] < 1.05
