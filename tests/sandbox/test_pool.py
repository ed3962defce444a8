"""Ordinary programs run unchanged, every status is told apart, and the pool survives what befalls it."""

import concurrent.futures
import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import textwrap
import threading
import time

import psutil
import pytest

from selfexec_jax.sandbox import Limits, Run, SandboxPool, SandboxTooWeak, TraceBudget
from selfexec_jax.sandbox.dispatch import Dispatcher

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the jail is built of Linux mechanisms")
LIMITS = Limits(cpu_s=2, wall_s=15, memory_mb=512)


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(workers=2, limits=LIMITS, min_tier="rlimits_only") as pool:
        yield pool


def script(pool, source, stdin="", **limits):
    overridden = Limits(**{"cpu_s": 2, "wall_s": 15, "memory_mb": 512, **limits})
    return pool.submit(Run(textwrap.dedent(source), stdin=stdin), overridden).result(60)


def call(pool, source, expression):
    return pool.submit(Run(textwrap.dedent(source), call=expression)).result(60)


def brokers(pool):
    return [psutil.Process(broker.process.pid) for broker in pool._brokers]


def zygotes(pool):
    """The zygotes and what they run, which cannot be told apart from outside."""
    return [process for broker in brokers(pool) for process in broker.children(recursive=True)]


ORDINARY = {
    "numpy": (
        "import numpy as np; print(np.linalg.det(np.eye(3)), np.random.default_rng(0).integers(9))", "", "1.0 7\n",
    ),
    "library": (
        "import decimal, fractions, heapq, re, bisect, itertools, json, datetime, statistics, zlib, unittest\n"
        "print(fractions.Fraction(1, 3) + 1, decimal.Decimal(1) / 3)\n"
        "print(re.findall('a+', 'caab'), heapq.nsmallest(1, [2, 1]))",
        "", "4/3 0.3333333333333333333333333333\n['aa'] [1]\n",
    ),
    "input": ("print(int(input()) + int(input()))", "1\n41\n", "42\n"),
    "main guard": ("if __name__ == '__main__':\n    print('main')", "", "main\n"),
    "argv": ("import sys; print(sys.argv)", "", "['']\n"),
    "binary stdin": ("import sys; print(sum(map(int, sys.stdin.buffer.read().split())))", "1 2\n3", "6\n"),
    "raw stdin": ("import os; print(len(os.read(0, os.fstat(0).st_size)))", "12345", "5\n"),
    "stdin by number": ("print(open(0).read())", "a\nb", "a\nb\n"),
    "stdin by name": ("print(open('/dev/stdin').read())", "a\nb", "a\nb\n"),
    "unicode": ("print(input()[::-1])", "\u00e9\u4e2d\U0001f600\n", "\U0001f600\u4e2d\u00e9\n"),
    "exit": ("print(1)\nexit()\nprint(2)", "", "1\n"),
    "sys.exit": ("import sys\nprint(1)\nsys.exit(0)", "", "1\n"),
    "left by os._exit": ("import os\nprint(1, flush=True)\nos._exit(0)", "", "1\n"),
    "unflushed file": ("out = open(1, 'w')\nout.write('late')", "", "late"),
    "exit handler": ("import atexit\natexit.register(print, 'bye')\nprint('hi')", "", "hi\nbye\n"),
    "default recursion limit": ("import sys; print(sys.getrecursionlimit())", "", "1000\n"),
    "recursion to the limit": (
        "def f(n): return n and f(n - 1)\nprint(f(990))", "", "0\n",
    ),
    "deep recursion in a big thread": (
        """
        import sys, threading
        sys.setrecursionlimit(1 << 20)
        threading.stack_size(1 << 27)
        def depth(n):
            return 0 if n == 0 else 1 + max(map(depth, [n - 1]))
        def main():
            print(depth(20000))
        threading.Thread(target=main).start()
        """, "", "20000\n",
    ),
    "raised stack limit": (
        "from resource import *\nhard = getrlimit(RLIMIT_STACK)[1]\n"
        "setrlimit(RLIMIT_STACK, (hard, hard))\nprint(1)", "", "1\n",
    ),
    "asyncio": ("import asyncio\nasync def f(): return 7\nprint(asyncio.run(f()))", "", "7\n"),
    "rare imports": ("import sqlite3, hashlib\nprint(hashlib.sha256(b'').hexdigest()[:4])", "", "e3b0\n"),
    "dev null": ("import os, sys\nsys.stderr = open(os.devnull, 'w')\nprint('x', file=sys.stderr)", "", ""),
    "dataclasses": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nprint(P(1))", "", "P(x=1)\n",
    ),
    "alarm to itself": (
        "import os, signal\nsignal.signal(signal.SIGUSR1, lambda *_: print('got'))\n"
        "os.kill(os.getpid(), signal.SIGUSR1)", "", "got\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_programs_run_unchanged(pool, name):
    source, stdin, stdout = ORDINARY[name]
    execution = script(pool, source, stdin)
    assert (execution.status, execution.error, execution.stdout) == ("ok", None, stdout)
    assert execution.tier == pool.capabilities()["tier"]
    assert not execution.denied


STATUSES = {
    "runtime_error": "1 / 0",
    "syntax_error": "x = (",
    "timeout": "while True: pass",
    "memory_limit": "x = [0] * 10**9",
    "output_limit": "while True: print('x' * 1000)",
}


@pytest.mark.parametrize("status", STATUSES)
def test_each_way_to_end(pool, status):
    execution = script(pool, STATUSES[status], cpu_s=0.5, memory_mb=256)
    assert execution.status == status
    assert execution.error


def test_errors_are_described(pool):
    assert script(pool, "int('x')").error == "ValueError: invalid literal for int() with base 10: 'x'"
    assert script(pool, "assert False").error == "AssertionError"
    assert script(pool, "import sys; sys.exit(3)").status == "runtime_error"
    assert script(pool, "def f(): f()\nf()").error.startswith("RecursionError")
    assert "<program>, line 2" in script(pool, "x = 1\ny = = 2").error
    assert script(pool, "x = '\0'").status == "syntax_error"
    assert len(script(pool, "raise ValueError('x' * 10**6)").error) <= 500
    assert script(pool, "import time; time.sleep(30)", wall_s=0.5).status == "timeout"
    assert script(pool, "print('kept'); 1 / 0").stdout == "kept\n"
    cut = script(pool, "while True: print('x' * 1000)", stdout_bytes=5000)
    assert (cut.status, len(cut.stdout)) == ("output_limit", 5000)


def test_calls_return_literals(pool):
    source = "def f(x): return x\nclass A(int): pass\nclass B: pass\n"
    for value in ("{1: (2.5, None), 'a': [True, b'x']}", "{1, 2}", "set()", "-3", "'\\n'", "1e999", "(1,)"):
        execution = call(pool, source, f"f({value})")
        assert (execution.status, execution.value) == ("ok", value)
    for value in ("A(1)", "B()", "f", "[B()]", "float('nan')", "[1] * 10**6"):
        execution = call(pool, source, f"f({value})")
        assert (execution.status, execution.value) == ("invalid_result", None), value
    cyclic = call(pool, "def f():\n    x = []\n    x.append(x)\n    return x", "f()")
    assert cyclic.status == "invalid_result"
    assert call(pool, source, "f(").status == "syntax_error"
    assert call(pool, source, "g()").error == "NameError: name 'g' is not defined"
    assert call(pool, "def f():\n    exit()", "f()").status == "runtime_error"
    assert call(pool, "def f(): return 1\nif __name__ == '__main__':\n    1 / 0", "f()").value == "1"


def test_large_input_and_output(pool):
    text = "1 " * 2_500_000
    execution = script(pool, "print(sum(map(int, input().split())))", text, cpu_s=5)
    assert execution.stdout == "2500000\n"
    execution = script(pool, "print('y' * 900000)")
    assert (execution.status, len(execution.stdout)) == ("ok", 900001)


def test_hashes_and_results_do_not_depend_on_the_zygote(pool):
    executions = pool.map([Run("print(hash('a'), list({'x', 'yy', 'zzz'}))")] * 8)
    assert len({execution.stdout for execution in executions}) == 1


def test_order_duplicates_and_counter(pool):
    before = pool.n_runs
    runs = [Run("print(input())", stdin=str(i % 7)) for i in range(40)]
    assert [execution.stdout for execution in pool.map(runs)] == [f"{i % 7}\n" for i in range(40)]
    assert pool.n_runs == before + 40


def test_traced_runs_bring_their_events(pool):
    source = "x = 1\nfor i in range(3):\n    x += i\nprint(x)"
    execution = pool.submit(Run(source, stdin="", trace=TraceBudget())).result(30)
    assert (execution.status, execution.stdout) == ("ok", "4\n")
    assert execution.trace.source == source and execution.trace.stop is None
    assert execution.trace.events
    cut = pool.submit(Run("for i in range(99):\n    x = i", stdin="", trace=TraceBudget(events=5))).result(30)
    assert (cut.status, cut.trace.stop) == ("trace_budget", "events")
    called = pool.submit(Run("def f(x):\n    return x + 1", call="f(1)", trace=TraceBudget())).result(30)
    assert (called.status, called.value) == ("ok", "2")
    killed = pool.submit(Run("import os\nos._exit(0)", stdin="", trace=TraceBudget())).result(30)
    assert killed.trace is None


OUTPUTS = {
    "fast output": """
import sys, os, io
class Fast(io.IOBase):
    def __init__(self, file):
        self.fd, self.buffer = file.fileno(), io.BytesIO()
    def write(self, text): self.buffer.write(text.encode())
    def flush(self):
        os.write(self.fd, self.buffer.getvalue())
        self.buffer.truncate(0), self.buffer.seek(0)
sys.stdout = Fast(sys.stdout)
print(1); print(2)
""",
    "exit handler": """
import atexit, io, sys
sys.stdout = io.StringIO()
@atexit.register
def write(): sys.__stdout__.write(sys.stdout.getvalue())
print(1); print(2)
""",
    "rewrapped": "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer)\nprint(1); print(2)\n",
    "detached": "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.detach())\nprint(1); print(2)\n",
    "a late thread": """
import threading, time
def work():
    time.sleep(0.05)
    print(1); print(2)
threading.Thread(target=work).start()
""",
    "to the descriptor": "import os\nos.write(1, b'1\\n')\nw = os.write\nw(1, memoryview(b'2\\n')); w(2, b'3')\n",
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_trace_holds_what_reached_stdout_by_whatever_way(pool, name):
    execution = pool.submit(Run(OUTPUTS[name], trace=TraceBudget())).result(30)
    assert (execution.status, execution.stdout) == ("ok", "1\n2\n")
    texts = [event.values[0] for event in execution.trace.events if event.kind == "print"]
    assert "".join(texts) == execution.stdout


def test_a_trace_that_is_cut_short_keeps_its_beginning(pool):
    """Whatever ended the run: the events are those of the whole run's beginning, and the reason is named."""
    counting = "i = 0\nwhile i < 2000:\n    i += 1\n    print(i)\n"
    whole = pool.submit(Run(counting, trace=TraceBudget())).result(60)
    assert (whole.status, whole.trace.stop) == ("ok", None)
    ends = {
        "timeout": "max(iter(int, 1))",  # a loop of Python's own would use up its events
        "memory_limit": "x = [0]\nwhile True: x = x + x",
        "output_limit": "import sys\nsys.stdout.write('x' * (1 << 22))",
        "runtime_error": "import ctypes; ctypes.string_at(0)",
    }
    for status, end in ends.items():
        source = counting + end
        execution = pool.submit(Run(source, trace=TraceBudget()), Limits(cpu_s=0.5, memory_mb=256)).result(60)
        assert execution.status == status, execution.error
        n = len(execution.trace.events)
        assert n > 3000
        # Python raises MemoryError itself, so that trace goes on to its own end.
        assert execution.trace.stop == (None if status == "memory_limit" else status)
        same = min(n, len(whole.trace.events)) - 1
        assert execution.trace.events[:same] == whole.trace.events[:same]
    spent = pool.submit(Run("i = 0\nwhile True: i += 1", trace=TraceBudget(events=600)), Limits(cpu_s=0.3)).result(60)
    assert (spent.status, spent.trace.stop, len(spent.trace.events)) == ("timeout", "events", 600)


def test_bad_runs_and_limits_are_refused_at_once(pool):
    with pytest.raises(TypeError, match=r"Run\.source"):
        pool.submit(Run(None))
    with pytest.raises(ValueError, match=r"Limits\.cpu_s"):
        pool.submit(Run(""), Limits(cpu_s=float("inf")))
    with pytest.raises(ValueError, match="min_tier"):
        SandboxPool(min_tier="none")


def test_a_zygote_killed_in_the_middle_costs_nothing():
    with SandboxPool(workers=2, limits=LIMITS, min_tier="rlimits_only") as pool:
        futures = [pool.submit(Run("import time; time.sleep(0.05); print(1)")) for _ in range(20)]
        time.sleep(0.1)
        for process in zygotes(pool):
            with contextlib.suppress(psutil.NoSuchProcess):  # what one of them ran has ended
                process.kill()
        assert [future.result(30).stdout for future in futures] == ["1\n"] * 20


def test_a_zygote_that_always_dies_is_an_infra_error():
    with SandboxPool(workers=1, limits=LIMITS, min_tier="rlimits_only") as pool:
        future = pool.submit(Run("import time; time.sleep(5)"))
        deadline = time.monotonic() + 30
        while not future.done() and time.monotonic() < deadline:
            for process in zygotes(pool):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.3)
        assert future.result(1).status == "infra_error"
        assert pool.map([Run("print(1)")])[0].stdout == "1\n"


@pytest.mark.parametrize("program", ["raise SystemExit('out of luck')", None])
def test_zygotes_that_never_start_are_a_clear_error(monkeypatch, tmp_path, program):
    script = tmp_path / "zygote.py"
    if program is None:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
        said = "missing"
    else:
        script.write_text(program)
        monkeypatch.setattr("selfexec_jax.sandbox.keeper._ZYGOTE", str(script))
        said = "out of luck"
    dispatcher = Dispatcher(workers=1)
    executions = []
    dispatcher.add(Run("print(1)"), LIMITS, executions.append)
    while not executions:
        dispatcher.turn(1.0)
    dispatcher.close()
    assert executions[0].status == "infra_error"
    assert re.search(f"did not start: 3 zygotes in a row failed, .*{said}", executions[0].error)


def test_a_pool_that_cannot_start_says_so(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(RuntimeError, match=r"sys\.executable is empty"):
        SandboxPool(workers=1)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="ended while it started, with exit code 1"):
        SandboxPool(workers=1)


def test_a_broker_killed_in_the_middle_costs_nothing():
    with SandboxPool(workers=2, limits=LIMITS, min_tier="rlimits_only") as pool:
        for _ in range(2):
            futures = [pool.submit(Run("import time; time.sleep(0.05); print(1)")) for _ in range(20)]
            time.sleep(0.1)
            brokers(pool)[0].kill()
            assert [future.result(30).stdout for future in futures] == ["1\n"] * 20
        asked = [pool.submit(Run("import time; time.sleep(9)")), pool.submit(Run("import time; time.sleep(9)"))]
        deadline = time.monotonic() + 30
        while not all(future.done() for future in asked) and time.monotonic() < deadline:
            brokers(pool)[0].kill()
            time.sleep(0.5)  # it must have come up again, or the pool gives up
        assert {future.result(1).status for future in asked} == {"infra_error"}


def test_a_request_that_ends_every_broker_is_given_up():
    with SandboxPool(workers=1, limits=LIMITS, min_tier="rlimits_only") as pool:
        poison = dataclasses.replace(LIMITS)
        object.__setattr__(poison, "memory_mb", 256.5)  # what no check has seen
        assert pool.submit(Run("print(1)"), poison).result(60).status == "infra_error"
        assert pool.submit(Run("print(1)")).result(60).stdout == "1\n"
    with pytest.raises(ValueError, match=r"memory_mb=256\.5 is no whole number"):
        Limits(memory_mb=256.5)


def test_many_workers_share_among_brokers():
    with SandboxPool(workers=9, limits=LIMITS, min_tier="rlimits_only") as pool:
        asked = [pool.submit(Run(f"import time; time.sleep(0.1); print({i})")) for i in range(30)]
        assert [future.result(30).stdout for future in asked] == [f"{i}\n" for i in range(30)]
        assert sorted(len(broker.children()) for broker in brokers(pool)) == [4, 5]


def test_what_is_found_out_in_a_broker(pool):
    """The function and its argument are told to the broker, and no program."""
    looked = pool.request([Run("print(1)"), Run("print(2)")], finding=("operator:contains", "secret"))
    with pytest.raises(RuntimeError, match="TypeError"):  # 'in <string>' requires string
        looked.result(30)
    finding = ("selfexec_jax.problems.judge:compare", ("stdio", [], "", False))
    sizes = pool.request([Run("print(1)")] * 3, finding=finding)
    executions, found = sizes.result(30)
    assert ([execution.stdout for execution in executions], found) == (["1\n"] * 3, ())
    with pytest.raises(ZeroDivisionError):
        pool.request([Run("print(1)")], make=lambda executions, found: 1 / 0).result(30)


def test_nothing_is_left_after_many_runs():
    before = len(os.listdir("/proc/self/fd"))
    with SandboxPool(workers=2, limits=LIMITS, min_tier="rlimits_only") as pool:
        pool.map([Run("print(1)")] * 20)
        (broker,) = brokers(pool)
        in_broker, in_here = broker.num_fds(), len(os.listdir("/proc/self/fd"))
        executions = pool.map([Run("print(input())", stdin="2")] * 300)
        assert {execution.status for execution in executions} == {"ok"}
        assert broker.num_fds() <= in_broker  # fewer once the last zygote has said that it is up
        assert len(os.listdir("/proc/self/fd")) == in_here
        below = broker.children(recursive=True)
        assert psutil.STATUS_ZOMBIE not in [process.status() for process in below]
    assert len(os.listdir("/proc/self/fd")) == before
    assert not any(process.is_running() for process in [broker, *below])


def test_closing_ends_what_still_runs():
    pool = SandboxPool(workers=1, limits=LIMITS, min_tier="rlimits_only")
    futures = [pool.submit(Run("import time; time.sleep(60)")) for _ in range(6)]
    assert pool.submit(Run("print(1)")).cancel()
    pool.close()
    assert {future.result(5).status for future in futures} == {"infra_error"}
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(Run("print(1)"))
    pool.close()


def test_many_threads_may_submit(pool):
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        results = threads.map(lambda i: pool.submit(Run(f"print({i})")).result(30).stdout, range(40))
        assert list(results) == [f"{i}\n" for i in range(40)]


def test_a_pool_outlives_the_thread_that_opened_it():
    opened = []
    thread = threading.Thread(target=lambda: opened.append(SandboxPool(1, LIMITS, "rlimits_only")))
    thread.start()
    thread.join()
    time.sleep(0.1)
    with opened[0] as pool:
        assert pool.map([Run("print(1)")])[0].stdout == "1\n"


ROOT = os.geteuid() == 0


@pytest.mark.parametrize(
    ("masked", "tier"),
    [
        ("", "full"),
        ("namespaces", "no_namespaces"),
        pytest.param("landlock", "uid_chroot", marks=pytest.mark.skipif(not ROOT, reason="needs root")),
        pytest.param("landlock,namespaces", "uid_chroot", marks=pytest.mark.skipif(not ROOT, reason="needs root")),
        ("landlock,uid_chroot", "no_landlock"),
        ("landlock,uid_chroot,namespaces", "no_landlock"),
        ("rlimits", "no_namespaces"),
        ("seccomp", "rlimits_only"),
        ("landlock,seccomp", "rlimits_only"),
        ("landlock,seccomp,rlimits,namespaces,uid_chroot", "rlimits_only"),
    ],
)
def test_tiers_follow_what_holds(monkeypatch, pool, masked, tier):
    if pool.capabilities()["tier"] != "full":
        pytest.skip("this machine lacks a mechanism of its own")
    monkeypatch.setenv("SELFEXEC_SANDBOX_MASK", masked)
    with SandboxPool(workers=1, min_tier="rlimits_only") as masked_pool:
        found = masked_pool.capabilities()
        assert found["tier"] == tier, found
        assert masked_pool.map([Run("print(1)")])[0].tier == tier
        for mechanism in filter(None, masked.split(",")):
            assert not found["evidence"]["mechanisms"][mechanism]
        assert set(found["enforced"]) | set(found["not_enforced"]) == set(found["evidence"]) - {"mechanisms"}
    if tier in ("no_landlock", "rlimits_only"):
        with pytest.raises(SandboxTooWeak, match=f'a program could: .*min_tier="{tier}"'):
            SandboxPool(workers=1)
    else:
        SandboxPool(workers=1).close()


@pytest.mark.skipif(not ROOT, reason="only root can become another user")
def test_another_user_in_an_empty_root(monkeypatch):
    monkeypatch.setenv("SELFEXEC_SANDBOX_MASK", "landlock,namespaces")
    with SandboxPool(workers=2, limits=LIMITS) as pool:
        assert pool.capabilities()["tier"] == "uid_chroot"
        look = "import os; print(os.getuid(), os.getgid(), os.getgroups())"
        users = [execution.stdout for execution in pool.map([Run(look)] * 20)]
        assert len(set(users)) == 20
        assert all(int(user.split()[0]) >= 20_000 and user.endswith("[]\n") for user in users)
        lazily = "import calendar, json, asyncio, csv, heapq, _lsprof, email.message, unittest.mock, xml.dom.minidom"
        assert pool.map([Run(lazily + "\nprint(asyncio.run(asyncio.sleep(0, 7)))")])[0].stdout == "7\n"
        refused = ["open('/etc/passwd')", "os.listdir('/')", "os.mkdir('/x')", "os.setuid(0)", "os.chroot('/')",
                   "os.kill(os.getppid(), 0)", f"os.kill({os.getpid()}, 0)", "open('/proc/self/mem')", "os.fork()"]
        for execution in pool.map([Run("import os\n" + attempt) for attempt in refused]):
            assert execution.status == "runtime_error", execution
            assert execution.error.startswith(("PermissionError", "FileNotFoundError")), execution


def test_an_ordinary_user_is_as_well_protected(pool):
    python = "/usr/bin/python3"
    if not ROOT or not os.path.exists(python):
        pytest.skip("needs root, to become another user, and an interpreter that others may read")
    program = (
        "import os, sys\nos.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        f"sys.path.insert(0, {os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))!r})\n"
        "from selfexec_jax.sandbox import SandboxPool, Run\n"
        "with SandboxPool(workers=1) as pool:\n"
        "    print(pool.capabilities()['tier'], pool.map([Run('print(5)')])[0].stdout)\n"
    )
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=60, check=False, cwd="/")
    if "Permission denied" in done.stderr or "ModuleNotFoundError" in done.stderr:
        pytest.skip("another user may not read this checkout")
    assert done.stdout.split() == [pool.capabilities()["tier"], "5"], done.stderr


def test_a_main_program_without_a_file_works():
    program = (
        "import asyncio\n"
        "from selfexec_jax.sandbox import SandboxPool, Run\n"
        "async def cell():  # as a notebook runs it: inside of a loop\n"
        "    with SandboxPool(workers=1, min_tier='rlimits_only') as pool:\n"
        "        return (await asyncio.wrap_future(pool.submit(Run('print(5)')))).stdout\n"
        "print(asyncio.run(cell()))\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run(
        [sys.executable, "-"],
        input=program,
        capture_output=True,
        text=True,
        cwd=root,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "5", done.stderr


def test_more_calls_share_a_process_until_one_does_not_return(pool):
    source = "n = 0\ndef f(k):\n    global n\n    n += k\n    return [n, 'a\\nb']\ndef g(): return object()"
    execution = pool.submit(Run(source, call="f(1)", more_calls=("f(2)", "f(3)"))).result(30)
    assert (execution.status, execution.value) == ("ok", "[1, 'a\\nb']\n[3, 'a\\nb']\n[6, 'a\\nb']")
    for last, status in (("1 // 0", "runtime_error"), ("g()", "invalid_result"), ("exit()", "runtime_error")):
        execution = pool.submit(Run(source, call="f(1)", more_calls=("f(2)", last, "f(3)"))).result(30)
        assert (execution.status, execution.value) == (status, "[1, 'a\\nb']\n[3, 'a\\nb']")
    assert pool.submit(Run(source, call="f(1)", more_calls=("f(",))).result(30).status == "syntax_error"
