"""A compiled program as text: its computations, and every instruction with how often it runs."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

import numpy as np

_LINE = re.compile(r"(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8,
          "u64": 8, "f64": 8}  # fmt: skip
_CALLED = re.compile(r"(?:calls|body|to_apply|true_computation|false_computation)=%?([\w.\-]+)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    name: str
    shape: str
    kind: str
    operands: tuple[str, ...]
    rest: str  # operands and attributes, as they are written


@dataclasses.dataclass(frozen=True)
class Program:
    """Instructions of each computation by their names, and the computation that it begins with."""

    computations: dict[str, dict[str, Instruction]]
    entry: str

    def walk(self, computation: str = "", times: int = 1) -> Iterator[tuple[str, Instruction, int]]:
        """(computation, instruction, how often it runs), loops as often as they go round, fusions as one."""
        computation = computation or self.entry
        for instruction in self.computations[computation].values():
            yield computation, instruction, times
            if instruction.kind == "while":
                body = re.search(r"body=%?([\w.\-]+)", instruction.rest)[1]
                yield from self.walk(body, times * self._rounds(instruction))
            elif instruction.kind in ("call", "conditional", "async-start"):
                for called in _CALLED.findall(instruction.rest):
                    yield from self.walk(called, times)

    def called(self, instruction: Instruction) -> dict[str, Instruction]:
        """The instructions of a fusion."""
        return self.computations[re.search(r"calls=%?([\w.\-]+)", instruction.rest)[1]]

    def _rounds(self, loop: Instruction) -> int:
        """How often a loop goes round that counts from 0 to a constant; 1 where that is not known beforehand."""
        condition, body = (
            self.computations[re.search(rf"{part}=%?([\w.\-]+)", loop.rest)[1]] for part in ("condition", "body")
        )
        compared = [i for i in condition.values() if i.kind == "compare" and "direction=LT" in i.rest]
        if len(compared) != 1:
            return 1
        sides = [condition[name] for name in compared[0].operands]
        ends = [_constant(i) for i in sides if i.kind == "constant"]
        places = [int(re.search(r"index=(\d+)", i.rest)[1]) for i in sides if i.kind == "get-tuple-element"]
        if len(ends) != 1 or len(places) != 1:
            return 1
        root = list(body.values())[-1]
        counted = body.get(root.operands[places[0]]) if root.kind == "tuple" else None
        steps = [_constant(body[name]) for name in counted.operands if body[name].kind == "constant"] if counted else []
        return -(-ends[0] // (steps[0] if steps else 1))


def _constant(instruction: Instruction) -> int:
    return int(re.match(r"(\d+)", instruction.rest)[1])


def parse(text: str) -> Program:
    """Reads what `compiled.as_text()` gives."""
    computations: dict[str, dict[str, Instruction]] = {}
    entry = name = ""
    for line in text.splitlines():
        if begun := re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line):
            name = begun[2]
            computations[name] = {}
            entry = name if begun[1] else entry
        elif (found := _LINE.match(line.strip())) and name:
            label, shape, kind, rest = found.groups()
            operands = tuple(re.findall(r"%([\w.\-]+)", rest.split("), ")[0]))
            computations[name][label] = Instruction(label, shape, kind, operands, rest)
    return Program(computations, entry)


def size_of(shape: str, is_anywhere: bool = False) -> int:
    """Bytes of a shape, of all its parts; without `is_anywhere`, of those in a chip's main memory alone."""
    total = 0
    for dtype, dims, layout in re.findall(r"\b(\w+)\[([\d,]*)\](\{[^}]*\})?", shape):
        if dtype in _BYTES and (is_anywhere or "S(" not in layout):
            total += _BYTES[dtype] * math.prod(int(dim) for dim in dims.split(",") if dim)
    return total


def groups_of(instruction: Instruction) -> list[list[int]]:
    """The devices that a collective is among, group by group; of a permutation, its pairs."""
    rest = instruction.rest
    if pairs := re.search(r"source_target_pairs=\{(\{.*?\})\}", rest):
        return [list(map(int, pair.split(","))) for pair in re.findall(r"\{([\d,]+)\}", pairs[1])]
    if explicit := re.search(r"replica_groups=\{(\{.*?\})\}", rest):
        return [list(map(int, group.split(","))) for group in re.findall(r"\{([\d,]+)\}", explicit[1])]
    if iota := re.search(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", rest):
        return _iota(iota[3], iota[4]).reshape(int(iota[1]), int(iota[2])).tolist()
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\((.*?)\))? \{([^}]*)\}", rest):
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", mesh[1])}
        ids = np.arange(math.prod(sizes.values()))
        if mesh[2] and (order := re.match(r"\[([\d,]+)\](?:<=\[([\d,]+)\])?(?:T\(([\d,]+)\))?", mesh[2])):
            ids = _iota(order[2] or order[1], order[3]).reshape(-1)
        within = re.findall(r"'(\w+)'", mesh[3])
        axes = list(sizes)
        order = [axes.index(a) for a in axes if a not in within] + [axes.index(a) for a in within]
        n = math.prod(sizes[a] for a in within)
        return ids.reshape(tuple(sizes.values())).transpose(order).reshape(-1, n).tolist()
    return []


def _iota(dims: str, order: str | None) -> np.ndarray:
    dims = tuple(map(int, dims.split(",")))
    ids = np.arange(math.prod(dims)).reshape(dims)
    return ids.transpose(tuple(map(int, order.split(",")))) if order else ids
