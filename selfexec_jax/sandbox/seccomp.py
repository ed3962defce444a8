"""The system calls a program may make: a seccomp allow-list, assembled here as classic BPF.

Standard library only: the jailed child loads this file. What is not on the list fails with EPERM, so a
program sees an ordinary PermissionError; a foreign architecture or the x32 table kills the process.

There are two filters, and a call must pass both. The zygote binds itself to the long one, which its children
inherit; it holds their list and what the zygote needs beyond it. A child adds the short one, which takes that
back: the kernel translates a filter and walks it for every number whenever one is installed.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_COLUMN = {"x86_64": 0, "aarch64": 1}
_X32_BIT = 0x40000000

ALLOW, KILL, DENY = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
_NOT_THERE = 0x00050000 | errno.ENOSYS

# name: (x86_64, aarch64); None where the architecture never had it.
_ALLOWED = {
    # descriptors that the program already has
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67),
    "pwrite64": (18, 68), "preadv": (295, 69), "pwritev": (296, 70), "lseek": (8, 62), "close": (3, 57),
    "close_range": (436, 436), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "pipe": (22, None),
    "pipe2": (293, 59), "eventfd2": (290, 19), "fadvise64": (221, 223), "fsync": (74, 82),
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "epoll_create": (213, None), "epoll_create1": (291, 20), "epoll_ctl": (233, 21),
    "epoll_wait": (232, None), "epoll_pwait": (281, 22), "recvfrom": (45, 207), "getsockname": (51, 204),
    "getsockopt": (55, 209), "shutdown": (48, 210),
    # looking at files (Landlock says which may be opened)
    "stat": (4, None), "fstat": (5, 80), "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None),
    "readlinkat": (267, 78), "getcwd": (79, 17), "getdents": (78, None), "getdents64": (217, 61),
    # memory
    "mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226),
    "madvise": (28, 233), "brk": (12, 214), "mincore": (27, 232),
    # signals to oneself
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132), "alarm": (37, None), "setitimer": (38, 103), "getitimer": (36, 102),
    "pause": (34, None), "restart_syscall": (219, 128),
    # time
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153),
    # threads
    "futex": (202, 98), "set_robust_list": (273, 99), "get_robust_list": (274, 100),
    "set_tid_address": (218, 96), "rseq": (334, 293), "arch_prctl": (158, None), "membarrier": (324, 283),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "getcpu": (309, 168),
    # who and where am I
    "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174),
    "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getgroups": (115, 158),
    "getpgrp": (111, None), "getpgid": (121, 155), "getsid": (124, 156), "uname": (63, 160),
    "sysinfo": (99, 179), "getrusage": (98, 165), "getrlimit": (97, 163), "umask": (95, 166),
    "getrandom": (318, 278), "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
_FILTERED = {
    "open": (2, None), "openat": (257, 56), "fcntl": (72, 25), "ioctl": (16, 29), "kill": (62, 129),
    "tgkill": (234, 131), "prlimit64": (302, 261), "prctl": (157, 167), "clone": (56, 220),
    "clone3": (435, 435), "socketpair": (53, 199), "sendto": (44, 206),
}  # fmt: skip

# what only the zygote needs, to start children, lock them up and watch over them
_OF_ZYGOTE = {
    "wait4": (61, 260), "recvmsg": (47, 212), "sendmsg": (46, 211), "pidfd_open": (434, 434),
    "landlock_restrict_self": (446, 446), "fchdir": (81, 50), "chroot": (161, 51), "setgroups": (116, 159),
    "setresgid": (119, 149), "setresuid": (117, 147), "timer_create": (222, 107), "timer_settime": (223, 110),
}  # fmt: skip

_FCNTL = (0, 1, 2, 3, 4, 1030, 1032, 1034)  # dup, flags, pipe size, seals; no owners, signals, leases, locks
_IOCTL = (
    0x5401,
    0x5413,
    0x541B,
    0x5421,
    0x5450,
    0x5451,
)  # isatty, window size, bytes ready, nonblock, cloexec
_PRCTL = (15, 16)  # the thread's name
_PRCTL_OF_ZYGOTE = (1, 4, 22)  # the signal at its parent's death, dumpable, another filter
_CLONE_THREAD = 0x00010000
_CLONE_NAMESPACES = 0x7E020080  # every CLONE_NEW* flag
_OPEN_TO_WRITE = 0o3 | 0o100 | 0o1000  # access mode, O_CREAT, O_TRUNC
_AF_UNIX = _SOCK_STREAM = 1
_RLIMIT_STACK = 3
_SIGKILL = 9

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_libc = ctypes.CDLL(None, use_errno=True)
_prctl = ctypes.CDLL(None).prctl  # keeping errno would cost every child memory
_prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


class Filter:
    """An assembled filter; `install` binds the calling process to it for good.

    Everything but the pid is laid out beforehand, so that a forked process has as little to do as it can.
    """

    def __init__(self, code: bytes, pid_slots: list[int]):
        self._code = ctypes.create_string_buffer(code, len(code))
        self._pid_places = [8 * slot + 4 for slot in pid_slots]
        self._program = ctypes.create_string_buffer(
            struct.pack("@HP", len(code) // 8, ctypes.addressof(self._code))
        )
        self._address = ctypes.addressof(self._program)

    def install(self, pid: int) -> None:
        """Needs NO_NEW_PRIVS and a process with one thread; `pid` is the only process that a child may signal."""
        for place in self._pid_places:
            struct.pack_into("=I", self._code, place, pid)
        prctl(_PR_SET_SECCOMP, _MODE_FILTER, self._address)


def prctl(option: int, value: int, address: int = 0) -> None:
    """The system call of that name; raises OSError."""
    if _prctl(option, value, address, 0, 0) != 0:
        raise OSError(f"prctl({option}, {value}) was refused")


def available() -> bool:
    """Whether this machine's system calls are known here and its kernel takes filters."""
    if platform.machine() not in _AUDIT_ARCH or struct.calcsize("P") != 8:
        return False
    _libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT  # it would have read the filter


def filters(read_only_open: bool) -> tuple[Filter, Filter]:
    """This machine's: the zygote's, and what a child adds."""
    zygote, child = assemble(platform.machine(), read_only_open)
    return Filter(*zygote), Filter(*child)


def assemble(machine: str, read_only_open: bool) -> tuple[tuple[bytes, list[int]], tuple[bytes, list[int]]]:
    """The BPF programs of one architecture, the zygote's and what a child adds.

    With each go the indices of the instructions that compare with the child's pid.
    """
    column = _COLUMN[machine]
    child = {row[column]: [_return(ALLOW)] for row in _ALLOWED.values()}
    child |= {row[column]: _block(name, read_only_open) for name, row in _FILTERED.items()}
    zygote = child | {row[column]: [_return(ALLOW)] for row in _OF_ZYGOTE.values()}
    for name in ("kill", "tgkill", "prlimit64", "clone", "prctl"):
        zygote[_FILTERED[name][column]] = _block_of_zygote(name)
    taken_back = {
        number: child.get(number, [_return(DENY)])
        for number, verdict in zygote.items()
        if verdict != child.get(number)
    }
    return _program(machine, zygote, DENY), _program(machine, taken_back, ALLOW)


def _program(machine: str, verdicts: dict, otherwise: int) -> tuple[bytes, list[int]]:
    code = [_load(4), _jump_eq(_AUDIT_ARCH[machine], 1, 0), _return(KILL), _load(0)]
    if machine == "x86_64":
        code += [_jump_ge(_X32_BIT, 0, 1), _return(KILL)]
    verdicts = {number: verdict for number, verdict in verdicts.items() if number is not None}
    runs: list[tuple[int, list]] = []  # from this number up to the next one's: the same verdict
    for number in range(max(verdicts) + 2):
        verdict = verdicts.get(number, [_return(otherwise)])
        if not runs or runs[-1][1] != verdict:
            runs.append((number, verdict))
    code += _search(runs)
    return b"".join(struct.pack("=HBBI", *line) for line in code), [
        slot for slot, line in enumerate(code) if line == _PID
    ]


def _search(runs: list[tuple[int, list]]) -> list[tuple]:
    """A binary search over system call numbers: the kernel walks a filter once a number when it is installed."""
    if len(runs) == 1:
        return runs[0][1]
    middle = len(runs) // 2
    lower, upper = _search(runs[:middle]), _search(runs[middle:])
    if len(lower) < 256:
        return [_jump_ge(runs[middle][0], len(lower), 0), *lower, *upper]
    # a conditional jump reaches 255 instructions
    return [_jump_ge(runs[middle][0], 0, 1), _jump(len(lower)), *lower, *upper]


def _block_of_zygote(name: str) -> list[tuple]:
    if name == "clone":
        return _masked(0, _CLONE_NAMESPACES, 0)
    return _one_of(0, _PRCTL + _PRCTL_OF_ZYGOTE) if name == "prctl" else [_return(ALLOW)]


def _block(name: str, read_only_open: bool) -> list[tuple]:
    """What is checked of one call's arguments; every path through a block returns."""
    if name in ("open", "openat"):
        flags = 1 if name == "open" else 2
        return _masked(flags, _OPEN_TO_WRITE, 0) if read_only_open else [_return(ALLOW)]
    if name == "fcntl":
        return _one_of(1, _FCNTL)
    if name == "ioctl":
        return _one_of(1, _IOCTL)
    if name == "prctl":
        return _one_of(0, _PRCTL)
    if name == "clone":  # threads, which share everything, and no process of its own
        return _masked(0, _CLONE_THREAD | _CLONE_NAMESPACES, _CLONE_THREAD)
    if name == "clone3":  # its flags lie in memory, out of a filter's sight; libc falls back to clone
        return [_return(_NOT_THERE)]
    if name in ("kill", "tgkill"):  # oneself, but not SIGKILL: an end by SIGKILL is then never the program's
        signal = 1 if name == "kill" else 2
        return [
            _argument(0),
            _PID,
            _argument(signal),
            _jump_eq(_SIGKILL, 1, 0),
            _return(ALLOW),
            _return(DENY),
        ]
    if name == "prlimit64":  # reading one's own limits, and setting one's own stack
        return [
            _argument(0), _jump_eq(0, 0, 6), _argument(1), _jump_eq(_RLIMIT_STACK, 5, 0), _argument(2),
            _jump_eq(0, 0, 2), _argument(2, high=True), _jump_eq(0, 1, 0), _return(DENY), _return(ALLOW),
        ]  # fmt: skip
    if name == "socketpair":  # a stream to oneself, as an event loop makes
        return [_argument(0), _jump_eq(_AF_UNIX, 0, 4), *_masked(1, 0xF, _SOCK_STREAM), _return(DENY)]
    if name == "sendto":  # only on such a pair: no address
        return [
            _argument(4), _jump_eq(0, 0, 3), _argument(4, high=True), _jump_eq(0, 0, 1), _return(ALLOW),
            _return(DENY),
        ]  # fmt: skip
    raise KeyError(name)


def _load(offset: int) -> tuple:
    return (0x20, 0, 0, offset)


def _argument(index: int, high: bool = False) -> tuple:
    return _load(16 + 8 * index + 4 * high)


def _jump_eq(value: int, if_equal: int, otherwise: int) -> tuple:
    return (0x15, if_equal, otherwise, value)


def _jump_ge(value: int, if_so: int, otherwise: int) -> tuple:
    return (0x35, if_so, otherwise, value)


def _jump(ahead: int) -> tuple:
    return (0x05, 0, 0, ahead)


def _return(action: int) -> tuple:
    return (0x06, 0, 0, action)


def _masked(index: int, mask: int, value: int) -> list[tuple]:
    return [_argument(index), (0x54, 0, 0, mask), _jump_eq(value, 0, 1), _return(ALLOW), _return(DENY)]


def _one_of(index: int, values: tuple[int, ...]) -> list[tuple]:
    tests = [_jump_eq(value, len(values) - i, 0) for i, value in enumerate(values)]
    return [_argument(index), *tests, _return(DENY), _return(ALLOW)]


_PID = _jump_eq(0x7FFFFFFF, 0, 3)  # the value is replaced by the child's own pid; else to the block's DENY
