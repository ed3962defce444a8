"""Programs that attack the machine, the pool or their own result; none may gain anything."""

import ctypes
import os
import random
import sys
import textwrap
import time

import psutil
import pytest

from selfexec_jax.sandbox import Limits, Run, SandboxPool, TraceBudget

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the jail is built of Linux mechanisms")


@pytest.fixture(scope="module")
def pool():
    limits = Limits(cpu_s=0.6, wall_s=3, memory_mb=256)
    with SandboxPool(workers=2, limits=limits, min_tier="rlimits_only") as pool:
        if pool.capabilities()["tier"] not in ("no_namespaces", "full"):
            pytest.skip("this machine lacks Landlock or seccomp")
        pool.map([Run("import time; time.sleep(0.3)")] * 4)  # both zygotes are up
        yield pool


@pytest.fixture(autouse=True)
def aftermath(pool, canary):
    """After every attack: nobody left, nothing open, nothing written, nothing changed, and the next run is fine."""
    before = seen(pool)
    yield
    deadline = time.monotonic() + 5
    while seen(pool) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert seen(pool) == before
    assert canary.raw == CANARY
    assert run(pool, "print(input())", stdin="x").stdout == "x\n"


def seen(pool):
    """What an attack might have left: processes and zombies, descriptors, files."""
    broker = psutil.Process(pool._brokers[0].process.pid)
    below = broker.children(recursive=True)
    states = sorted(process.status() == psutil.STATUS_ZOMBIE for process in below)
    files = [sorted(os.listdir(folder)) for folder in ("/", "/dev/shm", HOME, os.path.dirname(os.__file__))]
    return states, broker.num_fds(), len(os.listdir("/proc/self/fd")), files, os.path.exists("/tmp/written")


CANARY = b"nobody may read or write this" * 8
HOME = os.path.dirname(os.path.abspath(__file__))


@pytest.fixture(scope="module")
def canary():
    return ctypes.create_string_buffer(CANARY, len(CANARY))


def run(pool, source, **fields):
    return pool.submit(Run(textwrap.dedent(source), **fields)).result(60)


POOL = os.getpid()
CTYPES = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
REFUSED_SYSTEM_CALL = "ok = {} == -1 and ctypes.get_errno() == 1\nprint('refused' if ok else 'DONE')"

DENIED = {
    "fork": "import os; os.fork()",
    "vfork and exec": "import subprocess; subprocess.run(['/bin/true'])",
    "shell": "import os\nassert os.system('true') == 0",
    "exec": "import os; os.execv('/bin/true', ['true'])",
    "spawn": "import os; os.posix_spawn('/bin/true', ['true'], {})",
    "pseudo-terminal": "import pty; pty.fork()",
    "multiprocessing": "import multiprocessing as m; m.get_context('fork').Process(target=print).start()",
    "tcp": "import socket; socket.create_connection(('127.0.0.1', 1))",
    "udp": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "unix socket": "import socket; socket.socket(socket.AF_UNIX)",
    "datagram pair": "import socket; socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "read a file": "open('/etc/passwd').read()",
    "list a folder": "import os; os.listdir('/')",
    "read this package": f"open({os.path.abspath(__file__)!r}).read()",
    "write a file": "open('/tmp/written', 'w')",
    "remove a file": "import os; os.remove('/etc/passwd')",
    "rename": "import os; os.rename('/etc/passwd', '/etc/p')",
    "make a folder": "import os; os.mkdir('/tmp/made')",
    "symbolic link": "import os; os.symlink('/etc/passwd', '/tmp/link')",
    "truncate": "import os; os.truncate('/etc/passwd', 0)",
    "write beside the library": "import os; open(os.path.dirname(os.__file__) + '/evil.py', 'w')",
    "change mode": "import os; os.chmod('/etc/passwd', 0o777)",
    "kill the parent": "import os; os.kill(os.getppid(), 9)",
    "kill the pool": f"import os; os.kill({POOL}, 0)",
    "kill the group": "import os; os.killpg(0, 9)",
    "kill everybody": "import os; os.kill(-1, 9)",
    "kill itself beyond diagnosis": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "parent's memory": "import os; open(f'/proc/{os.getppid()}/mem', 'rb')",
    "pool's memory": f"open('/proc/{POOL}/mem', 'rb')",
    "pool's environment": f"open('/proc/{POOL}/environ', 'rb')",
    "limit the parent": "import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))",
    "limit the pool": f"import resource; resource.prlimit({POOL}, resource.RLIMIT_CPU)",
    "pin the pool": f"import os; os.sched_setaffinity({POOL}, [0])",
    "slow the pool": f"import os; os.setpriority(os.PRIO_PROCESS, {POOL}, 5)",
    "set its own limits": "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "new session": "import os; os.setsid()",
    "anonymous file": "import os; os.memfd_create('x')",
    "become another user": "import os; os.setuid(1)",
    "change root": "import os; os.chroot('/usr')",
    "pid descriptor": f"import os; os.pidfd_open({POOL})",
    "signals by descriptor": "import fcntl, os; fcntl.fcntl(1, 8, os.getppid())",
    "lock a file": "import fcntl; fcntl.flock(0, fcntl.LOCK_EX)",
    "lock a range": "import fcntl; fcntl.lockf(0, fcntl.LOCK_EX)",
    "own another terminal": "import fcntl; fcntl.ioctl(0, 0x5412, b'x')",
    "daemon": "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        while True: pass",
    "hard link": "import os; os.link('/etc/passwd', '/tmp/link')",
    "device": "import os; os.mknod('/tmp/device')",
    "times": "import os; os.utime('/etc/passwd')",
    "shared memory by name": "from multiprocessing import shared_memory as s; s.SharedMemory('x', True, 10)",
    "temporary file": "import tempfile; tempfile.TemporaryFile()",
    "write to its input": "import os; os.write(0, b'x')",
    "grow its input": "import os; os.ftruncate(0, 1 << 30)",
}

OTHER_REFUSALS = {
    "shell": "AssertionError",
    "pseudo-terminal": "OSError: out of pty devices",
    "set its own limits": "ValueError: not allowed",
    "temporary file": "FileNotFoundError: [Errno 2] No usable temporary directory",
}


@pytest.mark.parametrize("name", DENIED)
def test_what_a_program_may_not_do(pool, name):
    execution = run(pool, DENIED[name], stdin="input")
    assert execution.status == "runtime_error", execution
    assert execution.error.startswith(OTHER_REFUSALS.get(name, "PermissionError")), execution
    assert not os.path.exists("/tmp/written")


SYSTEM_CALLS = {
    "ptrace": f"libc.ptrace(16, {POOL}, 0, 0)",
    "unshare": "libc.unshare(0x10000000)",
    "setns": "libc.setns(0, 0)",
    "mount": "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)",
    "prctl": "libc.prctl(1, 0, 0, 0, 0)",
    "io_uring": "libc.syscall(425, 8, ctypes.create_string_buffer(120))",
    "userfaultfd": "libc.syscall(323, 0)",
    "bpf": "libc.syscall(321, 0, None, 0)",
    "process_vm_readv": (
        f"libc.process_vm_readv({POOL}, ctypes.create_string_buffer(16), ctypes.c_ulong(1), "
        "ctypes.create_string_buffer(16), ctypes.c_ulong(1), ctypes.c_ulong(0))"
    ),
    "clone a process": "libc.syscall(56, 17, 0, 0, 0, 0)",
    "clone into a namespace": "libc.syscall(56, 0x10010f00 | 0x20000000, 0, 0, 0, 0)",
    "shared memory": "libc.shmget(0, 4096, 0o1666)",
    "keyring": "libc.syscall(250, 0, 0)",
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of one architecture")
@pytest.mark.parametrize("name", SYSTEM_CALLS)
def test_system_calls_that_are_not_there(pool, name):
    execution = run(pool, CTYPES + REFUSED_SYSTEM_CALL.format(SYSTEM_CALLS[name]))
    assert (execution.status, execution.stdout) == ("ok", "refused\n"), execution


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="a second system call table")
def test_the_other_system_call_table_kills(pool):
    execution = run(pool, CTYPES + "libc.syscall(0x40000000 + 39)")
    assert (execution.status, execution.error, execution.denied) == (
        "runtime_error",
        "killed by SIGSYS",
        True,
    )


def test_endless_programs_end(pool):
    stubborn = [
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "import signal\nfor s in (24, 26, 27, 14, 15):\n    signal.signal(s, lambda *_: 0)\nwhile True: pass",
        "import signal\nsignal.setitimer(signal.ITIMER_PROF, 0)\nwhile True: pass",
        "import threading\ndef f():\n    while True: pass\nfor _ in 'ab': threading.Thread(target=f).start()",
        "import atexit\n@atexit.register\ndef _():\n    while True: pass",
        "class A:\n    def __del__(self):\n        while True: pass\na = A()",
        "import re; re.match('(a+)+b', 'a' * 40)",
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
        "import time; time.sleep(1000)",
        "import threading; threading.Lock().acquire(); a = threading.Lock(); a.acquire(); a.acquire()",
    ]
    for source, execution in zip(stubborn, pool.map([Run(source) for source in stubborn]), strict=True):
        assert execution.status == "timeout", (source, execution)
        assert execution.cpu_s < 3


def test_ends_by_any_signal_are_described(pool):
    for number in range(1, 65):
        if number in (9, 17, 18, 19, 20, 21, 22, 23, 28, 32, 33):  # refused, harmless, or a stop
            continue
        reset = f"signal.signal({number}, signal.SIG_DFL)\n"
        execution = run(pool, f"import os, signal\n{reset}os.kill(os.getpid(), {number})")
        assert execution.status == "runtime_error", (number, execution)
        assert execution.error.startswith("killed by "), (number, execution)


def test_memory_bombs_are_told_apart(pool):
    bombs = [
        "x = []\nwhile True: x.append(bytearray(1 << 20))",
        "x = 'a'\nwhile True: x += x",
        "x = 10 ** (10 ** 9)",
        "import mmap; x = mmap.mmap(-1, 1 << 31); x[0] = 1",
        "x = [[]]\nwhile True: x = [list(x) + x for _ in range(10)]",
    ]
    for source, execution in zip(bombs, pool.map([Run(source) for source in bombs]), strict=True):
        assert execution.status in ("memory_limit", "timeout", "runtime_error"), (source, execution)
        assert execution.peak_mb < 400
    assert pool.map([Run(bombs[0])])[0].status == "memory_limit"


def test_floods_end(pool):
    floods = [
        "import os\nwhile True: os.write(1, b'x' * 65536)",
        "import os\nwhile True: os.write(3, b'x' * 65536)",
        "import os\nwhile True: os.write(2, b'x' * 65536)",
        "import sys\nwhile True: sys.stdout.write('x' * 65536)",
    ]
    statuses = [execution.status for execution in pool.map([Run(source) for source in floods])]
    assert statuses == ["output_limit", "invalid_result", "timeout", "output_limit"]


FORGE = """
import json, os, struct
def forge(**frame):
    data = json.dumps(frame).encode()
    for fd in range(2, 16):
        try:
            os.write(fd, struct.pack("<Q", len(data)) + data)
        except OSError:
            pass
"""


def test_a_forged_frame_can_only_state_a_value(pool):
    done = run(pool, FORGE + "forge(status='infra_error')\nos._exit(0)", call="f()")
    assert (done.status, done.value) == ("runtime_error", None)
    done = run(pool, FORGE + "forge(status='ok', value=['not', 'text'])\nos._exit(0)", call="f()")
    assert (done.status, done.value) == ("runtime_error", None)
    done = run(pool, FORGE + "forge(status='ok', value='1')\ndef f(): return 2", call="f()")
    assert done.status == "runtime_error"  # two frames are none
    done = run(pool, FORGE + "os.write(3, struct.pack('<Q', 1 << 62))\nos._exit(0)", call="f()")
    assert done.status == "runtime_error"
    done = run(pool, FORGE + "os.write(3, struct.pack('<Q', 10**6) + b'[' * 10**6)\nos._exit(0)", call="f()")
    assert done.status == "runtime_error"
    done = run(
        pool,
        FORGE + "forge(status='ok', trace={'events': [[1]], 'stop': None, 'tampered': False})\nos._exit(0)",
    )
    assert (done.status, done.trace) == ("ok", None)
    assert run(pool, "import os\nos.closerange(0, 64)", call="1").status == "runtime_error"
    assert run(pool, "import os\nos._exit(0)\ndef f(): return 1", call="f()").status == "runtime_error"


def test_what_a_run_has_said_cannot_be_taken_back(pool):
    """A result whose first byte is gone would count as the infrastructure's fault, and a wrong program as unjudged."""
    for call in ("os.read(os.open('/proc/self/fd/3', os.O_RDONLY | os.O_NONBLOCK), 10)",
                 "socket.socket(fileno=os.dup(3)).recv(10)", "os.read(3, 10)"):  # fmt: skip
        tries = f"import os, socket, sys\ntry: {call}\nexcept OSError: pass\n"
        done = run(pool, tries + "print(5); sys.stdout.flush(); os._exit(0)")
        assert (done.status, done.stdout) == ("ok", "5\n")


def test_a_traced_program_has_the_names_of_a_plain_one(pool):
    source = "print(len(globals()), dir())"
    assert run(pool, source, trace=TraceBudget()).stdout == run(pool, source).stdout


def test_the_seal_of_a_trace_lies_nowhere_to_be_read(pool):
    source = "import os\ntry: print(os.pread(4, 9, 0))\nexcept OSError as error: print(error.errno)"
    assert run(pool, source, trace=TraceBudget()).stdout == "9\n"  # EBADF


def test_a_forged_part_of_a_trace_is_no_trace(pool):
    part = """
import json, os, struct
def forge(*events):
    data = b"+" + json.dumps({"events": events, "stop": None}).encode()
    os.write(3, struct.pack("<Q", len(data)) + data)
"""
    for forged in ("forge(['print', 1, {'s': 1, 'text': '7'}])", "forge([1])", "forge('ab')"):
        for end in ("", "\nos._exit(0)"):
            done = run(pool, part + forged + end, trace=TraceBudget())
            assert (done.status, done.trace) == ("trace_tampered", None)
    trace = {"events": [["print", 1, {"s": 1, "text": "7"}]], "stop": None, "tampered": False, "n_events": 1}
    done = run(pool, f"{FORGE}\nt = {trace}\nforge(status='ok', trace=t)\nos._exit(0)", trace=TraceBudget())
    assert (done.status, done.trace) == ("trace_tampered", None)


def test_a_result_that_breaks_its_form_hurts_nobody(pool):
    """Frames that a program wrote itself: whatever they hold, its neighbours and the broker go on."""
    send = "import json, os, struct\ndef send(d): os.write(3, struct.pack('<Q', len(d)) + d)\n"
    trace = {"stop": None, "tampered": False, "n_events": 0}
    frames = [trace | {"events": events} for events in ({}, None, 1, "ab", [1], [[1, 2, 3]], [["print", 1, {}, 2]])]
    asked = [
        Run(f"{send}send(json.dumps({ {'status': 'ok', 'trace': frame}!r}).encode())\nos._exit(0)", trace=budget)
        for frame in frames
        for budget in (None, TraceBudget())
    ]
    beside = [Run("import time; time.sleep(0.1); print(1)")] * 4
    executions = pool.map(asked + beside)
    assert [execution.stdout for execution in executions[-4:]] == ["1\n"] * 4
    assert "infra_error" not in {execution.status for execution in executions}
    many = send + "t = {'stop': None, 'tampered': False, 'n_events': 50, 'events': [['print', 1, {}]] * 50}\n"
    many += "send(json.dumps({'status': 'ok', 'trace': t}).encode())\nos._exit(0)"
    assert run(pool, many, trace=TraceBudget(events=10)).status == "trace_tampered"


def test_values_that_pretend(pool):
    lies = """
    class Always(int):
        def __eq__(self, other): return True
        def __hash__(self): return 0
        def __repr__(self): return '42'
        @property
        def __class__(self): return int
    class Text(str): pass
    class Row(list): pass
    def deep():
        x = []
        for _ in range(10**5): x = [x]
        return x
    """
    values = [
        "Always(1)", "Text('a')", "Row()", "[Always(1)]", "{Always(1): 2}", "(x for x in [1])", "print",
        "deep()", "type('int', (), {})()", "1 << 10**7", "object()",
    ]  # fmt: skip
    for value in values:
        execution = run(pool, lies, call=value)
        assert (execution.status, execution.value) == ("invalid_result", None), (value, execution)


def test_a_tampered_child_hurts_only_itself(pool):
    tampering = [
        'import json; json.dumps = lambda *a, **k: \'{"status": "ok", "value": "1"}\'',
        "import os; os.write = None",
        "import builtins; builtins.compile = builtins.len = builtins.isinstance = None",
        "import sys; sys.modules.clear()",
        "import sys; sys.setrecursionlimit(60)",
        "import sys; sys.stdout = None",
        "import sys; sys.stdout.close()",
        "import gc\nfor x in gc.get_objects():\n    if type(x) is dict and 'ERROR_CHARS' in x: x.clear()",
        "import sys; sys._getframe(1).f_globals.clear()",
    ]
    for source, execution in zip(tampering, pool.map([Run(source) for source in tampering]), strict=True):
        assert execution.status in ("ok", "runtime_error"), (source, execution)
    assert pool.map([Run("print(1)")] * 4)[3].stdout == "1\n"


def test_no_run_sees_another(pool):
    pool.map([Run("import builtins, math\nbuiltins.secret = math.secret = 'marker-' + 'of-a-run'")] * 4)
    look = """
    import builtins, gc, math
    found = hasattr(builtins, 'secret') or hasattr(math, 'secret')
    mark = '-'.join(['marker', 'of', 'another', 'run'])
    texts = [x for x in gc.get_objects() if type(x) is dict]
    found = found or any(type(v) is str and v is not mark and mark in v for d in texts for v in d.values())
    print(found)
    """
    pool.map([Run("print(input())", stdin="marker-of-another-run")] * 4)
    assert {execution.stdout for execution in pool.map([Run(textwrap.dedent(look))] * 4)} == {"False\n"}


BOMBS = {
    "threads": (
        "import threading, time\nfor _ in range(10**5): threading.Thread(target=time.sleep, args=(100,)).start()",
        {"runtime_error", "timeout", "memory_limit"},
    ),
    "stack": (
        "import sys; sys.setrecursionlimit(10**9)\ndef f(): f()\nf()", {"runtime_error", "memory_limit", "timeout"}
    ),
    "null pointer": ("import ctypes; ctypes.string_at(0)", {"runtime_error"}),
    "nested source": ("x = " + "(" * 10**5 + ")" * 10**5, {"syntax_error", "memory_limit"}),
    "wide source": ("x = [" + "[0]," * 10**6 + "]", {"ok", "memory_limit", "timeout"}),
    "source with a null": ("print(1)\0print(2)", {"syntax_error"}),
    "constant folding": ("x = 2 ** 10**9", {"memory_limit", "timeout"}),
    "zip of doom": ("import zlib; zlib.decompress(zlib.compress(b'0' * 10**5), bufsize=1 << 40)", {"memory_limit"}),
    "descriptors": ("import os\nwhile True: os.dup(1)", {"runtime_error"}),
    "pipes": ("import os\nwhile True: os.pipe()", {"runtime_error"}),
    "after the answer": (
        "import threading, time\nprint(1)\nthreading.Thread(target=time.sleep, args=(99,)).start()", {"timeout"}
    ),
    "output without end": ("print('x' * (1 << 25))", {"output_limit"}),
    "deaf": (
        "import signal\nfor n in signal.valid_signals() - {9, 19}: signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
        {"timeout"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_hurt_only_themselves(pool, name):
    source, statuses = BOMBS[name]
    execution = run(pool, source)
    assert execution.status in statuses, execution


def test_the_memory_of_the_pool_and_of_its_owner_cannot_be_touched(pool, canary):
    address = ctypes.addressof(canary)
    attack = f"""
    import ctypes, os
    libc = ctypes.CDLL(None, use_errno=True)
    class Part(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
    local = ctypes.create_string_buffer(b"?" * 64)
    mine, other = Part(ctypes.addressof(local), 64), Part({address}, 64)
    for pid in ({POOL}, {pool._brokers[0].process.pid}, os.getppid(), 1):
        for call in (libc.process_vm_writev, libc.process_vm_readv):
            print(call(pid, ctypes.byref(mine), 1, ctypes.byref(other), 1, 0), ctypes.get_errno())
    """
    assert set(run(pool, attack).stdout.splitlines()) == {"-1 1"}


ORDINARY = [
    (Run("print(sum(range(int(input()))))", stdin="1000"), {"ok"}, "499500\n"),
    (Run("print('a')"), {"ok"}, "a\n"),
]


def mixture():
    """All the attacks of this file that stand for themselves, with what they may come to, between ordinary runs."""
    attacks = [(Run(source), {"runtime_error"}, None) for source in DENIED.values()]
    attacks += [(Run(source), statuses, None) for source, statuses in BOMBS.values()]
    attacks += [(Run(CTYPES + REFUSED_SYSTEM_CALL.format(call)), {"ok"}, "refused\n") for call in SYSTEM_CALLS.values()]
    batch = attacks + ORDINARY * len(attacks)
    random.Random(0).shuffle(batch)
    return batch


def check(batch, executions):
    for (asked, statuses, stdout), execution in zip(batch, executions, strict=True):
        assert execution.status in statuses, (asked, execution)
        assert stdout is None or execution.stdout == stdout, (asked, execution)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of one architecture")
def test_all_at_once_between_ordinary_programs(pool):
    batch = mixture()
    check(batch, pool.map([asked for asked, _, _ in batch]))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of one architecture")
def test_all_at_once_with_a_zygote_dying_in_the_middle(pool):
    batch = mixture()
    futures = [pool.submit(asked) for asked, _, _ in batch]
    futures[len(batch) // 2].result(120)
    psutil.Process(pool._brokers[0].process.pid).children()[0].kill()
    check(batch, [future.result(120) for future in futures])
