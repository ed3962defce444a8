"""The system call filter, run instruction by instruction as the kernel would, for both architectures."""

import errno
import struct

import pytest

from selfexec_jax.sandbox import seccomp

ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PID = 4321
EPERM, ENOSYS = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS


def decide(machine, number, *arguments, read_only=False, arch=None):
    """What both filters of `machine` answer to one system call of a child."""
    answers = {run(machine, program, number, arguments, arch) for program in seccomp.assemble(machine, read_only)}
    return next((answer for answer in (seccomp.KILL, EPERM, ENOSYS) if answer in answers), seccomp.ALLOW)


def run(machine, program, number, arguments, arch=None):
    """What one of them answers."""
    code, pid_slots = program
    lines = [list(line) for line in struct.iter_unpack("=HBBI", code)]
    for slot in pid_slots:
        lines[slot][3] = PID
    values = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=IIQ6Q", number, arch or ARCH[machine], 0, *values)
    at = accumulator = 0
    for _ in range(len(lines)):  # no filter can loop
        what, if_so, otherwise, value = lines[at]
        at += 1
        if what == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif what == 0x54:
            accumulator &= value
        elif what == 0x05:
            at += value
        elif what == 0x15:
            at += if_so if accumulator == value else otherwise
        elif what == 0x35:
            at += if_so if accumulator >= value else otherwise
        elif what == 0x06:
            return value
        else:
            raise AssertionError(f"instruction {what:#x}")
    raise AssertionError("the filter ran off its end")


@pytest.mark.parametrize("machine", ARCH)
def test_every_number_is_decided_as_the_table_says(machine):
    column = list(ARCH).index(machine)
    allowed = {row[column] for row in seccomp._ALLOWED.values()}
    filtered = {row[column] for row in seccomp._FILTERED.values()}
    assert not (allowed & filtered) - {None}
    for number in range(600):
        if number not in filtered:
            assert decide(machine, number) == (seccomp.ALLOW if number in allowed else EPERM), number
    assert decide(machine, 0, arch=0x40000003) == seccomp.KILL  # 32-bit x86
    if machine == "x86_64":
        assert decide(machine, 0x40000000 + 39) == seccomp.KILL  # x32


CALLS = [
    ("kill", (PID, 15), True), ("kill", (PID, 9), False), ("kill", (1, 15), False), ("kill", (0, 15), False),
    ("kill", (2**64 - 1, 15), False), ("tgkill", (PID, PID, 10), True), ("tgkill", (PID, PID, 9), False),
    ("tgkill", (PID + 1, PID, 10), False),
    ("clone", (0x3D0F00,), True), ("clone", (17,), False), ("clone", (0x3D0F00 | 0x20000000,), False),
    ("clone", (0x00010000 | 0x10000000,), False), ("clone", (0x00010000 | 0x80,), False),
    ("prlimit64", (0, 7, 0), True), ("prlimit64", (1, 7, 0), False), ("prlimit64", (0, 9, 4096), False),
    ("prlimit64", (0, 3, 4096), True), ("prlimit64", (0, 9, 1 << 40), False),
    ("prctl", (15,), True), ("prctl", (4, 1), False), ("prctl", (22, 2), False), ("prctl", (38, 1), False),
    ("fcntl", (1, 3), True), ("fcntl", (1, 8, 1), False), ("fcntl", (1, 1024), False),
    ("ioctl", (0, 0x5401), True), ("ioctl", (0, 0x5412), False),
    ("socketpair", (1, 1 | 0x80000), True), ("socketpair", (1, 2), False), ("socketpair", (2, 1), False),
    ("sendto", (3, 0, 0, 0, 0), True), ("sendto", (3, 0, 0, 0, 4096), False),
    ("sendto", (3, 0, 0, 0, 1 << 40), False),
]  # fmt: skip


@pytest.mark.parametrize("machine", ARCH)
@pytest.mark.parametrize(("name", "arguments", "may"), CALLS)
def test_arguments_decide(machine, name, arguments, may):
    number = seccomp._FILTERED[name][list(ARCH).index(machine)]
    assert decide(machine, number, *arguments) == (seccomp.ALLOW if may else EPERM)


@pytest.mark.parametrize("machine", ARCH)
def test_without_landlock_files_are_only_read(machine):
    number = seccomp._FILTERED["openat"][list(ARCH).index(machine)]
    for flags in (1, 2, 0o100, 0o1000, 0o101):
        assert decide(machine, number, 0, 0, flags) == seccomp.ALLOW  # Landlock says no to these
        assert decide(machine, number, 0, 0, flags, read_only=True) == EPERM
    assert decide(machine, number, 0, 0, 0, read_only=True) == seccomp.ALLOW
    clone3 = seccomp._FILTERED["clone3"][list(ARCH).index(machine)]
    assert decide(machine, clone3) == ENOSYS


def test_the_kernel_walks_it_quickly():
    """It walks a child's filter for each of its numbers in every run."""
    for machine in ARCH:
        (long, _), (short, _) = seccomp.assemble(machine, False)
        assert len(long) // 8 < 320
        assert len(short) // 8 < 100


@pytest.mark.parametrize("machine", ARCH)
def test_the_zygote_may_do_little_more_than_its_children(machine):
    zygote, _ = seccomp.assemble(machine, False)
    column = list(ARCH).index(machine)
    of_zygote = {row[column] for row in seccomp._OF_ZYGOTE.values()}
    for number in range(600):
        if number not in {row[column] for row in seccomp._FILTERED.values()}:
            may = number in of_zygote or decide(machine, number) == seccomp.ALLOW
            assert run(machine, zygote, number, ()) == (seccomp.ALLOW if may else EPERM), number
    for name, arguments, may in (
        ("clone", (17,), True), ("clone", (17 | 0x10000000,), False), ("prctl", (22, 2), True),
        ("prctl", (38, 1), False), ("kill", (77, 9), True), ("prlimit64", (0, 9, 4096), True),
    ):  # fmt: skip
        number = seccomp._FILTERED[name][column]
        assert run(machine, zygote, number, arguments) == (seccomp.ALLOW if may else EPERM), name
