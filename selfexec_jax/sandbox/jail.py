"""How a child is locked up.

Standard library only: the zygote loads this file by path. A program runs as a process that cannot start
another one, so killing that one process ends everything it began.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
import sysconfig

from selfexec_jax.sandbox import landlock, seccomp, timer

STDIN_FD, STDOUT_FD, STDERR_FD, RESULT_FD, REQUEST_FD = range(5)  # all that a child has open

# What passes between the pool, the zygote and the child.
ORDER = struct.Struct("<BQdQ")  # what, run, CPU seconds, memory bytes; RUN carries four descriptors
RUN, HOLD, KILL = 1, 2, 3
REPORT = struct.Struct("<BQiddQ")  # what, run, wait status, CPU seconds, wall seconds, peak KiB
ENDED, STILL_RUNS = 1, 2  # STILL_RUNS answers HOLD and carries a pidfd where the kernel has them
ARMED = b"\x01"  # first byte of a result: the jail is closed and the program has not begun
FRAME = struct.Struct("<Q")  # then frames: each its length, and that much of: the run's seal if it has one, then
# JSON that says how the run went, or
PART = b"+"  # and JSON: some of a trace's events; any number of them come before the last frame
USUAL = b"="  # and the value of a run that went well: encoding JSON would cost a short run a twentieth

_STACK_BYTES = 64 << 20
_FILE_BYTES = 16 << 20
_OPEN_FILES = 64
_UNLIMITED = (1 << 63) - 1  # more than any request

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_NEW_USER, _NEW_IPC_PID_NET = 0x10000000, 0x08000000 | 0x20000000 | 0x40000000
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION = 0x20080522
_CAP_KILL, _CAP_SETGID, _CAP_SETUID, _CAP_SYS_CHROOT = 1 << 5, 1 << 6, 1 << 7, 1 << 18
_FIRST_UID, _UIDS = 20_000, 40_000  # within what a container with its own users maps

_libc = ctypes.CDLL(None, use_errno=True)
_fork = ctypes.PyDLL(None).fork  # keeps the interpreter's lock, as os.fork does


class Jail:
    """What this machine offers to lock a child up, found once in the zygote and applied in every child.

    What every child shares and the zygote can live with, it already takes upon itself.
    """

    def __init__(self, masked: frozenset[str], packages: dict[str, list[str]], cage: bool):
        self.base_bytes = _address_space_bytes()
        self.landlock_abi = landlock_abi(masked)
        self._ruleset = landlock.ruleset(_readable(packages)) if self.landlock_abi else None
        usable = "seccomp" not in masked and seccomp.available()
        self._own_filter, self._filter = (
            seccomp.filters(read_only_open=not self.landlock_abi) if usable else (None, None)
        )
        self._rlimits = "rlimits" not in masked
        self._cage = _empty_folder() if cage else None
        self._next_uid = int.from_bytes(os.urandom(4), "little")  # pools beside this one should not meet it
        if self._rlimits:
            _limit_for_good()
        self._most_cpu, self._most_space = map(_ceiling, (resource.RLIMIT_CPU, resource.RLIMIT_AS))
        seccomp.prctl(_PR_SET_NO_NEW_PRIVS, 1)

    @property
    def mechanisms(self) -> dict[str, bool]:
        return {
            "rlimits": self._rlimits,
            "landlock": self._ruleset is not None,
            "seccomp": self._filter is not None,
            "uid_chroot": self._cage is not None,
        }

    def close(self) -> None:
        """In the zygote, when all is set up: from here on it too may do no more than it needs."""
        if self._own_filter is not None:
            self._own_filter.install(os.getpid())

    def prepare(self) -> None:
        """In the zygote, before each fork: the next child is another user."""
        self._next_uid += 1

    def enter(self, zygote_pid: int, fds: tuple[int, int, int, int], cpu_s: float, memory_bytes: int) -> None:
        """Lock this process up for good: `fds` (stdin, stdout, result, request) are all that it keeps.

        Raises OSError when a mechanism that the zygote found does not take hold.
        """
        if self._rlimits:
            whole, space = int(cpu_s) + 1, memory_bytes + self.base_bytes
            resource.setrlimit(resource.RLIMIT_CPU, (min(whole, self._most_cpu),) * 2)
            resource.setrlimit(resource.RLIMIT_AS, (min(space, self._most_space),) * 2)
            timer.arm(cpu_s + 0.01)  # RLIMIT_CPU counts whole seconds
        if self._cage is not None:
            _enter_cage(self._cage, _FIRST_UID + self._next_uid % _UIDS)
        seccomp.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which forgets it
        if os.getppid() != zygote_pid:
            raise OSError("the zygote is gone")
        if self._ruleset is not None:
            landlock.restrict(self._ruleset)
        stdin, stdout, result, request = fds
        os.dup2(stdin, STDIN_FD)
        os.dup2(stdout, STDOUT_FD)
        os.dup2(result, RESULT_FD)
        os.dup2(request, REQUEST_FD)
        os.closerange(REQUEST_FD + 1, 1024)
        if self._filter is not None:
            self._filter.install(os.getpid())


def landlock_abi(masked: frozenset[str]) -> int:
    """The Landlock version to be used, 0 for none."""
    return 0 if "landlock" in masked else landlock.abi()


def needs_cage(masked: frozenset[str]) -> bool:
    """Whether children are made other users in an empty root: root may do both, and there is no Landlock."""
    if "uid_chroot" in masked or os.geteuid() != 0 or landlock_abi(masked):
        return False
    needed = _CAP_SETGID | _CAP_SETUID | _CAP_SYS_CHROOT
    return _capabilities() & needed == needed


def secure_zygote(parent_pid: int, namespaces: bool, cage: bool) -> bool:
    """Cut the zygote off: own namespaces where allowed, few capabilities, closed to same-user readers.

    cage: children will become other users, which a user namespace would not know. Returns whether it has
    its own (user,) pid, net and ipc namespaces. In that case it goes on in a new process, the first of its
    pid namespace, while the old one waits for it and ends with it.
    """
    seccomp.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)
    separate = namespaces and _libc.unshare(_NEW_IPC_PID_NET | (0 if cage else _NEW_USER)) == 0
    if separate:
        inner = os.fork()
        if inner:
            os.closerange(0, 1024)  # the control socket must end with the inner process
            _, status = os.waitpid(inner, 0)
            os._exit(1 if status else 0)
        seccomp.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    number = _CAPSET.get(os.uname().machine)
    if number:
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
        kept = _capabilities() & (_CAP_KILL | _CAP_SETGID | _CAP_SETUID | _CAP_SYS_CHROOT) if cage else 0
        _libc.syscall(ctypes.c_long(number), header, (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0))
    hide()
    return separate


def _empty_folder() -> int:
    """A descriptor of an empty folder that nobody can put anything into: it has no name any more."""
    import tempfile  # which every child would pay for

    folder = tempfile.mkdtemp()
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.rmdir(folder)
    return fd


def _enter_cage(folder: int, uid: int) -> None:
    os.fchdir(folder)
    os.chroot(".")
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    hide()


def _capabilities() -> int:
    """The capabilities in effect."""
    with open("/proc/self/status") as file:
        return next((int(line.split()[1], 16) for line in file if line.startswith("CapEff:")), 0)


def children_ended() -> int:
    """A descriptor to be read when a child has ended; SIGCHLD itself is blocked, which a child has to undo."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    mask = (1 << (signal.SIGCHLD - 1)).to_bytes(128, sys.byteorder)
    return _libc.signalfd(-1, mask, os.O_CLOEXEC | os.O_NONBLOCK)


def hide() -> None:
    """Close this process's memory and descriptors to others of the same user, save root."""
    seccomp.prctl(_PR_SET_DUMPABLE, 0)


def fork() -> int:
    """Fork without the interpreter's hooks, which assume that a thread may have been lost on the way.

    A zygote has one thread and nothing pending, so there is nothing to mend, and running the hooks of
    `threading` and `random` in every child would cost a third of a short run. It also leaves every child
    with the same state of `random`, as the seed of its hashes is the same.
    """
    pid = _fork()
    if pid < 0:  # taken for a process, it would mean all of them
        raise OSError("fork failed")
    return pid


def _limit_for_good() -> None:
    lower = (
        (resource.RLIMIT_FSIZE, _FILE_BYTES), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, _OPEN_FILES)
    )  # fmt: skip
    for name, value in lower:
        resource.setrlimit(name, (min(value, _ceiling(name)),) * 2)
    # The hard stack limit stays: programs that ask for more must not fail, and the address space bounds it.
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (min(_STACK_BYTES, _ceiling(resource.RLIMIT_STACK)), hard))


def _ceiling(name: int) -> int:
    hard = resource.getrlimit(name)[1]
    return _UNLIMITED if hard == resource.RLIM_INFINITY else hard


def _readable(packages: dict[str, list[str]]) -> list[tuple[str, int]]:
    """The standard library without installed packages save those named, shared libraries, a few devices."""
    grants = [
        (path, landlock.TREE) for path in ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")
    ]
    grants += [
        (path, landlock.READ_FILE)
        for path in ("/dev/zero", "/dev/random", "/dev/urandom", "/etc/ld.so.cache")
    ]
    grants += [(folder, landlock.TREE) for folders in packages.values() for folder in folders]
    grants.append(("/dev/null", landlock.READ_FILE | landlock.WRITE_FILE))
    for library in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}:
        grants.append((library, landlock.READ_DIR))
        for name in os.listdir(library) if os.path.isdir(library) else ():
            if name not in ("site-packages", "dist-packages"):
                grants.append((os.path.join(library, name), landlock.TREE))
    shared = os.path.join(sys.base_prefix, "lib")
    for name in os.listdir(shared) if os.path.isdir(shared) else ():
        if name.startswith("lib") and ".so" in name:
            grants.append((os.path.join(shared, name), landlock.READ_FILE))
    return grants


def _address_space_bytes() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 128 << 20
