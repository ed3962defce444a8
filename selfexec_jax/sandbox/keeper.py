"""Starting a zygote process, holding its control socket, and ending it with all its children."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time

from selfexec_jax.sandbox import jail
from selfexec_jax.sandbox.flight import Flight

_ZYGOTE = os.path.join(os.path.dirname(os.path.abspath(jail.__file__)), "zygote.py")
_HANG_UP_S = 2.0


# What programs may import beside the standard library, where it is installed.
_PACKAGES = ("numpy",)


@functools.cache
def _packages() -> dict[str, list[str]]:
    """The folders of each package that is installed here, its own first."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.origin:
                folder = os.path.dirname(os.path.abspath(spec.origin))
                found[name] = [path for path in (folder, f"{folder}.libs") if os.path.isdir(path)]
    return found


class Keeper:
    """A zygote process as the pool sees it."""

    def __init__(self, masked: str):
        if not sys.executable:
            raise RuntimeError("sys.executable is empty: no interpreter to run programs with")
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        environment = {
            "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/", "PATH": "/usr/bin:/bin",
            "MALLOC_ARENA_MAX": "1", "LD_BIND_NOW": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        if "LD_LIBRARY_PATH" in os.environ:  # some interpreters find their own library through it
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        # -I would also ignore PYTHONHASHSEED; -s -P and this environment isolate as well.
        flags = ["-s", "-S", "-P", "-B", "-X", "utf8"]
        arguments = [_ZYGOTE, str(theirs.fileno()), str(os.getpid()), masked, json.dumps(_packages())]
        try:
            self.process = subprocess.Popen(
                [sys.executable, *flags, *arguments], env=environment, cwd="/", start_new_session=True,
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )  # fmt: skip
        except OSError:
            self.control.close()
            raise
        finally:
            theirs.close()
        self.control.setblocking(False)
        self.began = time.monotonic()
        self.inbox = b""
        self.found: dict | None = None  # what it could apply, once it has answered
        self.running: dict[int, Flight] = {}

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def hang_up(self) -> None:
        """Let it end by itself, so that it reaps its children: in a container nobody else may."""
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)

    def end(self) -> str:
        """End it with all its children; the last line it wrote on stderr while starting."""
        self.hang_up()
        try:
            self.process.wait(_HANG_UP_S)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait()
        self.control.close()
        last_words = ""
        if not self.process.stderr.closed:
            lines = self.process.stderr.read().decode(errors="replace").strip().splitlines()
            last_words = lines[-1] if lines else ""
            self.process.stderr.close()
        return last_words
