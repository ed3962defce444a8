"""What one chip does in a compiled program: arithmetic, bytes of its memory, bytes sent to other chips.

An upper bound on its speed: every instruction takes its arithmetic or its memory traffic at the published rates,
whichever takes longer, one after the other; collectives that the compiler started beforehand are hidden as far as
there is something to hide them behind.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Sequence

from selfexec_jax.planning.chips import Slice
from selfexec_jax.planning.hlo import Instruction, Program, groups_of, size_of

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
# What moves nothing, or is counted where its result is used.
_FREE = ("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "while", "call", "conditional",
         "after-all", "partition-id", "iota", "broadcast", "copy-done", "slice-done", "async-start", "async-update",
         "async-done", "optimization-barrier", "domain", "add-dependency")  # fmt: skip
_UPDATES = {"dynamic-update-slice": 1, "scatter": 2}  # of a part, in place, and which operand that is
_FETCHES = ("copy-start", "slice-start")  # from main memory ahead of use, beside other work


@dataclasses.dataclass(frozen=True)
class Costs:
    """Of one run of a program on one chip; times in seconds."""

    flops: float  # of matrix products, without what custom kernels do
    memory_bytes: float
    compute_s: float  # all arithmetic at the chip's rate
    memory_s: float  # all traffic at its memory's rate
    busy_s: float  # instruction by instruction, the longer of the two
    sent: dict[str, float]  # bytes sent by one chip, by kind of collective
    network_s: float  # the busiest link's bytes at its rate
    exposed_s: float  # of collectives that nothing runs beside

    @property
    def seconds(self) -> float:
        return max(self.busy_s + self.exposed_s, self.memory_s, self.network_s)


def summed(parts: Sequence[tuple[Costs, int]]) -> Costs:
    """Of programs that run one after the other, each so many times."""
    names = [field.name for field in dataclasses.fields(Costs) if field.name != "sent"]
    numbers = {name: sum(n * getattr(costs, name) for costs, n in parts) for name in names}
    sent = Counter()
    for costs, n in parts:
        sent.update({kind: n * size for kind, size in costs.sent.items()})
    return Costs(**numbers, sent=dict(sent))


def costs_of(program: Program, where: Slice, coordinates: Sequence[tuple[int, ...]]) -> Costs:
    """coordinates: of the devices in the order in which the program numbers them."""
    chip = where.chip
    flops = traffic = compute = memory = busy = exposed = 0.0
    sent, links = Counter(), Counter()
    for name, instruction, times in program.walk():
        computation = program.computations[name]
        found = _collective(program, instruction, computation)
        if found:
            kind, inner, around = found
            if kind.endswith("-done"):
                continue
            load, size = _load(kind.removesuffix("-start"), inner, around, where, coordinates)
            sent[kind.removesuffix("-start")] += times * size
            links.update({link: times * n for link, n in load.items()})
            if not kind.endswith("-start"):
                exposed += times * max(load.values(), default=0) / chip.link_bandwidth
            continue
        if instruction.kind in _FREE:
            continue
        if instruction.kind in _FETCHES:
            fetched = _fetched(instruction)
            traffic, memory = traffic + times * fetched, memory + times * fetched / chip.memory_bandwidth
            continue
        own_flops = _flops(program, instruction, computation)
        own_bytes = _traffic(program, instruction, computation)
        flops, traffic = flops + times * own_flops, traffic + times * own_bytes
        t_compute, t_memory = own_flops / chip.bf16_flops, own_bytes / chip.memory_bandwidth
        compute, memory = compute + times * t_compute, memory + times * t_memory
        busy += times * max(t_compute, t_memory)
    network = max(links.values(), default=0) / chip.link_bandwidth
    return Costs(flops, traffic, compute, memory, busy, dict(sent), network, exposed)


def _collective(
    program: Program, instruction: Instruction, computation: dict[str, Instruction]
) -> tuple[str, Instruction, dict[str, Instruction]] | None:
    """(kind, the collective itself, the instructions around it) where one is, begins (-start) or ends (-done).

    Fusions may hold one: to reduce and keep a part; to begin or end one; or to carry one on while they do their own
    work, which counts as that work alone.
    """
    if instruction.kind.removesuffix("-start").removesuffix("-done") in COLLECTIVES:
        return instruction.kind, instruction, computation
    if instruction.kind != "fusion" or "calls=%async_collective_fusion" in instruction.rest:
        return None
    around = program.called(instruction)
    inner = [i for i in around.values() if i.kind in COLLECTIVES]
    if not inner:
        return None
    phase = re.match(r"async-collective(-start|-done)", instruction.name)
    if phase:
        return inner[0].kind + phase[1], inner[0], around
    is_scatter = size_of(instruction.shape, True) < size_of(inner[0].shape, True)
    return "reduce-scatter" if is_scatter else inner[0].kind, inner[0], around


def _load(
    kind: str, instruction: Instruction, computation: dict[str, Instruction], where: Slice,
    coordinates: Sequence[tuple[int, ...]],
) -> tuple[Counter, float]:  # fmt: skip
    """Bytes on each link of a chip, (axis, direction), and the bytes that it sends."""
    groups = groups_of(instruction)
    given = sum(size_of(computation[o].shape, True) for o in instruction.operands)
    if kind == "collective-permute":
        links: Counter = Counter()
        for source, target in groups[:1]:
            for axis, hops in enumerate(_steps(coordinates[source], coordinates[target], where)):
                if hops:
                    links[axis, hops > 0] += given * abs(hops)
        return links, given
    members = [coordinates[i] for i in (groups[0] if groups else range(len(coordinates)))]
    n = len(members)
    if n < 2:
        return Counter(), 0.0
    sides = [len({member[axis] for member in members}) for axis in range(len(where.shape))]
    axes = [axis for axis, side in enumerate(sides) if side > 1]
    whole = given * n if kind == "all-gather" else given
    size = whole * (n - 1) / n * (2 if kind == "all-reduce" else 1)
    if kind == "all-to-all":
        size = given * (n - 1) / n * max(sides) / 4  # the cut through the middle of a ring
    links = Counter()
    for axis in axes:
        is_ring = sides[axis] == where.shape[axis] >= where.chip.ring_from
        for direction in (True, False):
            links[axis, direction] += size / len(axes) / (2 if is_ring else 1)
    return links, size


def _steps(source: tuple[int, ...], target: tuple[int, ...], where: Slice) -> list[int]:
    """Links between two chips along each axis, the short way round where there is one."""
    found = []
    for a, b, side in zip(source, target, where.shape, strict=False):
        way = b - a
        if side >= where.chip.ring_from and abs(way) > side / 2:
            way -= math.copysign(side, way)
        found.append(int(way))
    return found


def _flops(program: Program, instruction: Instruction, computation: dict[str, Instruction]) -> float:
    if instruction.kind == "fusion":
        inner = program.called(instruction)
        return sum(_flops(program, i, inner) for i in inner.values() if i.kind in ("convolution", "dot", "fusion"))
    if instruction.kind == "dot":
        out = math.prod(_dims(instruction.shape))
        left = _dims(computation[instruction.operands[0]].shape)
        summed = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.rest)[1]
        return 2.0 * out * math.prod(left[int(d)] for d in summed.split(",") if d)
    if instruction.kind == "convolution":
        return _convolution(instruction, computation)
    return 0.0


def _convolution(instruction: Instruction, computation: dict[str, Instruction]) -> float:
    """As the compiler of TPUs writes products of matrices; taps of the window that fall outside do not count."""
    of_left, of_right = re.search(r"dim_labels=(\w+)_(\w+)->", instruction.rest).groups()
    left, right = (_dims(computation[name].shape) for name in instruction.operands[:2])
    total = 2.0 * left[of_left.index("b")] * right[of_right.index("i")] * right[of_right.index("o")]
    window = re.search(r"window=\{([^}]*)\}", instruction.rest)
    fields = dict(part.split("=") for part in window[1].split()) if window else {}
    n = len(fields["size"].split("x")) if "size" in fields else 0
    for d in range(n):
        def of(name: str, default: str) -> str:
            return fields[name].split("x")[d] if name in fields else default  # noqa: B023

        taps, stride = int(of("size", "1")), int(of("stride", "1"))
        low, high = map(int, of("pad", "0_0").split("_"))
        wide_left, wide_right = int(of("lhs_dilate", "1")), int(of("rhs_dilate", "1"))
        side = left[of_left.index(str(d))]
        spread = (side - 1) * wide_left + 1
        outputs = (spread + low + high - (taps - 1) * wide_right - 1) // stride + 1
        at = [o * stride + t * wide_right - low for o in range(outputs) for t in range(taps)]
        total *= sum(0 <= p < spread and p % wide_left == 0 for p in at)
    return total


def _dims(shape: str) -> list[int]:
    return [int(d) for d in re.search(r"\[([\d,]*)\]", shape)[1].split(",") if d]


def _traffic(program: Program, instruction: Instruction, computation: dict[str, Instruction]) -> float:
    """Bytes that an instruction reads from and writes to the chip's main memory."""
    operands = [computation[o] for o in instruction.operands if o in computation]
    if instruction.kind in ("dynamic-slice", "slice", "gather"):
        return 2 * size_of(instruction.shape)
    if instruction.kind in _UPDATES:
        return 2 * size_of(operands[_UPDATES[instruction.kind]].shape)
    if instruction.kind == "custom-call" and "AllocateBuffer" in instruction.rest:
        return 0.0
    if instruction.kind != "fusion":
        return size_of(instruction.shape) + sum(size_of(o.shape) for o in operands)
    inner = program.called(instruction)
    parameters = {int(re.match(r"(\d+)", i.rest)[1]): i for i in inner.values() if i.kind == "parameter"}
    total = sum(_read(inner, parameters[n], size_of(o.shape)) for n, o in enumerate(operands) if n in parameters)
    return total + _written(inner, list(inner.values())[-1], size_of(instruction.shape))


def _fetched(instruction: Instruction) -> float:
    if instruction.kind == "copy-start":  # (copy, original, state)
        return size_of(instruction.shape)
    part = re.match(r"\w+\[[\d,]*\]", instruction.shape.split("), ", 1)[1])[0]  # ((whole), part, state)
    return size_of(part)


def _read(inner: dict[str, Instruction], value: Instruction, size: int) -> float:
    """What a fusion reads of an operand: the slices that it takes, if it takes nothing else."""
    users = [i for i in inner.values() if value.name in i.operands]
    total = 0.0
    for user in users:
        if user.kind in ("dynamic-slice", "slice", "gather"):
            total += size_of(user.shape, True)
        elif user.kind == "bitcast":
            total += _read(inner, user, size)
        elif user.kind in _UPDATES and user.operands[0] == value.name:
            continue
        else:
            return size
    return min(total, size)


def _written(inner: dict[str, Instruction], root: Instruction, size: int) -> float:
    """What a fusion writes: the slice alone where it updates one in place."""
    if root.kind == "bitcast" and root.operands[0] in inner:
        return _written(inner, inner[root.operands[0]], size)
    if root.kind in _UPDATES and root.operands[_UPDATES[root.kind]] in inner:
        return min(size_of(inner[root.operands[_UPDATES[root.kind]]].shape, True), size)
    if root.kind == "tuple":
        parts = [inner[o] for o in root.operands if o in inner]
        return min(sum(_written(inner, part, size_of(part.shape)) for part in parts), size)
    return size
