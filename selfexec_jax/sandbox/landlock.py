"""Landlock by three system calls: after `restrict`, this process reads a few trees and writes nothing.

Standard library only: the jailed child loads this file. Rights and structures follow the kernel's
Documentation/userspace-api/landlock.rst; what an older kernel lacks is left out of the request.
"""

from __future__ import annotations

import ctypes
import os
import struct

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TREE = READ_FILE | READ_DIR
_FS_RIGHTS_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_RIGHTS = 0b11  # bind and connect TCP, ABI 4
_SCOPES = 0b11  # abstract unix sockets and signals, ABI 6

_libc = ctypes.CDLL(None, use_errno=True)
_restrict = ctypes.CDLL(None).syscall  # keeping errno would cost every child memory
_restrict.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_uint]


def abi() -> int:
    """The kernel's Landlock version, 0 where it has none."""
    return max(0, _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION_FLAG)))


def ruleset(grants: list[tuple[str, int]]) -> int:
    """A descriptor of a ruleset that allows `grants` (path, rights) and nothing else on files.

    Paths that do not exist are skipped. Raises OSError when the kernel refuses.
    """
    version = abi()
    rights = max(mask for since, mask in _FS_RIGHTS_OF_ABI.items() if since <= max(version, 1))
    words = [rights] + [_NET_RIGHTS] * (version >= 4) + [_SCOPES] * (version >= 6)
    attribute = struct.pack(f"={len(words)}Q", *words)
    fd = _call(_CREATE_RULESET, attribute, ctypes.c_size_t(len(attribute)), ctypes.c_uint(0))
    for path, granted in grants:
        try:
            target = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if not os.path.isdir(path):
                granted &= ~READ_DIR
            rule = struct.pack("=Qi", granted & rights, target)
            _call(_ADD_RULE, ctypes.c_int(fd), ctypes.c_int(_RULE_PATH_BENEATH), rule, ctypes.c_uint(0))
        finally:
            os.close(target)
    return fd


def restrict(ruleset_fd: int) -> None:
    """Bind this thread and all that it starts to a ruleset; needs NO_NEW_PRIVS. Raises OSError."""
    if _restrict(_RESTRICT_SELF, ruleset_fd, 0) != 0:
        raise OSError("landlock_restrict_self was refused")


def _call(number: int, *arguments) -> int:
    result = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"landlock: {os.strerror(error)}")
    return result
