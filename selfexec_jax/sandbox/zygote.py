"""The zygote: a warm interpreter that forks one jailed child a run and never sees what it runs.

Executed by path, never imported: `python zygote.py CONTROL_FD PARENT_PID MASKED PACKAGES`. Its messages hold numbers
and descriptors only (`jail.ORDER`, `jail.ENDED`). Program text, inputs and results travel between the pool
and the child, so that no child inherits anything of another run. Standard library only.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import fcntl
import functools
import gc
import importlib
import json
import linecache
import marshal
import os
import random
import select
import signal
import site
import socket
import struct
import sys
import threading
import time
import types

# What programs commonly import, so that each finds it loaded.
WARM = """
abc array ast bisect cmath collections.abc copy dataclasses datetime decimal enum fractions functools heapq io
itertools math numbers operator queue random re resource statistics string struct textwrap traceback typing
""".split()
ERROR_CHARS = 500
_FILE = "/program.py"  # where a program believes to be
_FOUR = struct.Struct("@4i")  # the descriptors of a run
_ROOM = socket.CMSG_SPACE(_FOUR.size)


def main(control_fd: int, parent_pid: int, masked: frozenset[str], packages: dict[str, list[str]]):
    """Serve orders until the pool goes away; in a child, return what is to be executed (see `_run`)."""
    siblings = os.path.dirname(os.path.abspath(__file__))
    for name, place in (("selfexec_jax", os.path.dirname(siblings)), ("selfexec_jax.sandbox", siblings)):
        package = types.ModuleType(name)  # an empty stand-in: the real one would import the pool
        package.__path__ = [place]
        sys.modules[name] = package
    from selfexec_jax.sandbox import jail

    cage = jail.needs_cage(masked)
    separate = jail.secure_zygote(parent_pid, "namespaces" not in masked, cage)
    from selfexec_jax.sandbox import encode, library, lines, tracer

    for name in WARM:
        importlib.import_module(name)
    site.setquit()  # exit() and quit(), which an interpreter started with -S lacks
    random.seed(0)  # as with hashes, the same program draws the same numbers in every run
    cell = jail.Jail(masked, packages, cage)
    sys.meta_path.append(library.Packages(packages))
    if cage:
        sys.meta_path.insert(0, library.Library())
        library.import_whole(packages)  # its children will not find the files
    for name in [name for name in sys.modules if name.startswith("selfexec_jax")]:
        del sys.modules[name]  # a program finds no more of us than a plain interpreter has
    control = socket.socket(fileno=fcntl.fcntl(control_fd, fcntl.F_DUPFD_CLOEXEC, 16))
    os.close(control_fd)
    null = os.open(os.devnull, os.O_RDWR)
    while null <= jail.REQUEST_FD:  # so that no descriptor we receive lands where a child wants its own
        null = os.dup(null)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # whatever the pool's process blocked or ignored
    for number in (signal.SIGXCPU, signal.SIGPROF, signal.SIGALRM, signal.SIGVTALRM, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    _open_streams(jail)
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection here would touch, and so copy, every page shared with the children
    hello = {**cell.mechanisms, "namespaces": separate, "landlock_abi": cell.landlock_abi}
    control.sendall(json.dumps(hello).encode() + b"\n")
    os.dup2(null, 2)
    _serve(control, jail, cell, os.getpid())
    return _run(jail, encode, {"steps": tracer.Tracer, "lines": lines.LineTracer, "both": lines.StepLineTracer})


def _open_streams(jail) -> None:
    """The streams of every child, over the descriptors it will find there: a pipe for its output."""
    text = {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n", "closefd": False}
    null = os.dup(jail.STDOUT_FD)
    ends = os.pipe()
    os.dup2(ends[1], jail.STDOUT_FD)  # a stream asks at its birth whether it can seek
    sys.stdin = sys.__stdin__ = open(jail.STDIN_FD, **text)
    sys.stdout = sys.__stdout__ = open(jail.STDOUT_FD, "w", **text)
    os.dup2(null, jail.STDOUT_FD)
    for fd in (null, *ends):
        os.close(fd)


def _serve(control: socket.socket, jail, cell, my_pid: int):
    """Fork a child an order and report its end; returns only in a child, jailed."""
    ended = jail.children_ended()
    cell.close()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(ended, select.POLLIN)
    running: dict[int, tuple[int, float]] = {}  # pid: run, when it began
    while True:
        for fd, _ in poll.poll():
            if fd == ended:
                os.read(ended, 4096)
                _reap(control, jail, running)
                continue
            message, passed, _, _ = control.recvmsg(jail.ORDER.size, _ROOM, socket.MSG_WAITALL)
            if len(message) < jail.ORDER.size:  # the pool is gone
                for pid in running:
                    os.kill(pid, signal.SIGKILL)
                for pid in running:
                    os.waitpid(pid, 0)
                os._exit(0)
            kind, run, cpu_s, memory_bytes = jail.ORDER.unpack(message)
            if kind != jail.RUN:
                for pid, (number, began) in running.items():
                    if number != run:
                        continue
                    if kind == jail.KILL:
                        os.kill(pid, signal.SIGKILL)
                    else:
                        _hold(control, jail, pid, run, began)
                continue
            fds = _FOUR.unpack(passed[0][2])
            began = time.monotonic()
            cell.prepare()
            pid = jail.fork()
            if pid == 0:
                try:
                    signal.pthread_sigmask(signal.SIG_SETMASK, ())
                    cell.enter(my_pid, fds, cpu_s, memory_bytes)
                    os.write(jail.RESULT_FD, jail.ARMED)
                    control.detach()
                except BaseException:
                    os._exit(1)
                return
            running[pid] = (run, began)
            for fd in fds:
                os.close(fd)


def _reap(control: socket.socket, jail, running: dict[int, tuple[int, float]]) -> None:
    while running:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in running:
            run, began = running.pop(pid)
            cpu_s, wall_s = usage.ru_utime + usage.ru_stime, time.monotonic() - began
            control.sendall(jail.REPORT.pack(jail.ENDED, run, status, cpu_s, wall_s, usage.ru_maxrss))


def _hold(control: socket.socket, jail, pid: int, run: int, began: float) -> None:
    """Give the broker a hold on a child, which is not reaped yet, so its pid is its own."""
    report = jail.REPORT.pack(jail.STILL_RUNS, run, 0, 0.0, time.monotonic() - began, 0)
    held = []
    with contextlib.suppress(AttributeError, OSError):
        held.append(os.pidfd_open(pid))
    socket.send_fds(control, [report], held)
    for fd in held:
        os.close(fd)


def _run(jail, encode, tracers: dict):
    """Run the request's program as an ordinary script would be, write one frame, end the process.

    Yields what is to be executed, so that it is at the bottom of the stack (see `_evaluate`).
    """
    data = part = os.read(jail.REQUEST_FD, 1 << 16)
    while len(part) == 1 << 16:
        part = os.read(jail.REQUEST_FD, 1 << 16)
        data += part
    os.close(jail.REQUEST_FD)  # it holds the seal
    request = marshal.loads(data)
    send = functools.partial(_write, jail, request.pop("seal"))
    make_tracer = _tracer_maker(request.pop("trace"), tracers, lambda part: send(jail.PART + part.encode()))
    stdout, stderr = sys.stdout, sys.stderr
    sys.argv = [""]
    limit = sys.getrecursionlimit()
    # A called program is imported, as its callers would: what hides behind a main guard must not run.
    module = types.ModuleType("__main__" if request["call"] is None else "program")
    module.__dict__.update(__builtins__=builtins, __annotations__={}, __file__=_FILE, __cached__=None)
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.modules[module.__name__] = module
    text = request["source"]
    linecache.cache["<program>"] = len(text), None, text.splitlines(True), "<program>"  # what `inspect` reads
    gc.enable()
    try:
        result, tracer = yield from _execute(request, module.__dict__, encode, make_tracer, stderr)
        sys.settrace(None)
        with tracer.tap if tracer is not None else contextlib.nullcontext():
            lost = _finish(module.__dict__, stdout, limit)
        if lost and result["status"] == "ok" and request["call"] is None:
            result.update(status="runtime_error", error=f"its output could not be written: {lost}")
        if tracer is not None:
            result["trace"] = tracer.result()
        is_usual = result["status"] == "ok" and result.keys() <= {"status", "value"}
        frame = jail.USUAL + result.get("value", "").encode() if is_usual else json.dumps(result).encode()
    except MemoryError:
        result = {"status": "memory_limit"}
        frame = b'{"status": "memory_limit", "error": "MemoryError"}'
    try:
        send(frame)
    except OSError:  # the program closed every descriptor there is; its exit code still speaks for it
        os._exit(int(result["status"] != "ok"))
    os._exit(0)


def _tracer_maker(budget: dict | None, tracers: dict, sink):
    """What makes the tracer of a source, None where nothing is to be traced."""
    return budget and (lambda source: tracers[budget["of"]](source, budget, sink))


def _write(jail, seal: bytes, frame: bytes) -> None:
    data = jail.FRAME.pack(len(seal) + len(frame)) + seal + frame
    while data:
        data = data[os.write(jail.RESULT_FD, data) :]


def _execute(request: dict, namespace: dict, encode, make_tracer, stderr):
    """What to tell of the run, and its tracer if it was traced."""
    source, call = request["source"].removeprefix("\ufeff"), request["call"]
    result = {"status": "ok"}
    tracer = None
    try:
        try:
            if make_tracer is not None:
                tracer = make_tracer(source)
                code = tracer.compile("<program>")
            else:
                code = compile(source, "<program>", "exec", dont_inherit=True)
            calls = () if call is None else (call, *request["more_calls"])
            asked = [compile(one, "<call>", "eval", dont_inherit=True) for one in calls]
        except MemoryError:
            raise
        except Exception as error:
            return {"status": "syntax_error", "error": _described(error)}, None
        if tracer is not None:
            vars(builtins).update(tracer.names())  # not in its globals, which it may count
        with tracer if tracer is not None else contextlib.nullcontext():
            yield from _evaluate(code, namespace)
            for i, one in enumerate(calls):
                if tracer is not None:
                    tracer.log.asks(one)
                value = yield from _evaluate(asked[i], namespace)
                if tracer is not None:
                    tracer.log.answers(value)
                try:
                    text = encode.literal(value, request["value_chars"])
                except ValueError as error:
                    result.update(status="invalid_result", error=_described(error))
                    break
                result["value"] = text if i == 0 else f"{result['value']}\n{text}"
    except MemoryError:
        result = {"status": "memory_limit", "error": "MemoryError"}
    except SystemExit as error:
        if call is not None:
            result.update(status="runtime_error", error="SystemExit: ended before the call returned")
        elif _exit_code(error.code):
            result.update(status="runtime_error", error=_described(error))
    except BaseException as error:
        result.update(status="runtime_error", error=_described(error), denied=_is_denial(error))
        if sys.excepthook is not sys.__excepthook__ or sys.stderr is not stderr:
            _report(error)
    return result, tracer


def _evaluate(code, namespace: dict):
    """The value of a piece of the program, evaluated by whoever iterates over this.

    The program's own frames are then the only ones but one, and it can recurse as deep as it would alone.
    """
    ends: list = []
    yield code, namespace, ends
    value, error = ends.pop()
    try:
        if error is not None:
            raise error
        return value
    finally:
        del error  # it would hold this frame, which holds it


def _exit_code(code) -> int:
    """What a process ends with by SystemExit of this code, as CPython has it."""
    if code is None:
        return 0
    if not isinstance(code, int):
        return 1
    return int.__and__(code, 0xFF) if -(1 << 63) <= int.__index__(code) < 1 << 63 else 255


def _report(error: BaseException) -> None:
    """Give what was not caught to the program's own hook, or to what it made its stderr."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    _attempt(functools.partial(sys.excepthook, type(error), error.with_traceback(traceback), traceback))


def _described(error: BaseException) -> str:
    try:
        message = str(error)
    except BaseException:  # which the program may have put there to end well
        message = ""
    name = type(error).__name__
    return (f"{name}: {message}" if message else name)[:ERROR_CHARS]


def _is_denial(error: BaseException) -> bool:
    return isinstance(error, PermissionError)


def _finish(namespace: dict, stdout, recursion_limit: int) -> str:
    """What an interpreter does after the last line: join threads, call exit handlers, flush, let go.

    Returns why output was lost, "" if none was.
    """
    if len(threading._active) > 1 or threading._threading_atexits:  # few programs have others to wait for
        _attempt(threading._shutdown)
    _attempt(atexit._run_exitfuncs)
    _attempt(lambda: sys.setrecursionlimit(recursion_limit))  # what follows is ours; its threads are done
    lost = "" if getattr(sys.stdout, "closed", False) else _attempt(lambda: sys.stdout.flush())
    _attempt(namespace.clear)  # files of its own are flushed as they go
    gc.collect()  # what is left are cycles, whose finalizers may print too
    _attempt(stdout.flush)
    return lost


def _attempt(step) -> str:
    """Take a step; what went wrong, "" if nothing did. CPython reports it on stderr, which nobody reads."""
    try:
        step()
    except BaseException as error:
        return _described(error)
    return ""


if __name__ == "__main__":
    masks = frozenset(filter(None, sys.argv[3].split(",")))
    program = main(int(sys.argv[1]), int(sys.argv[2]), masks, json.loads(sys.argv[4]))
    for code, namespace, ends in program:
        try:
            ends.append((eval(code, namespace), None))
        except BaseException as error:
            ends.append((None, error))
