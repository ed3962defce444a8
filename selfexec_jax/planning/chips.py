"""TPU chips as their maker publishes them, and the names by which slices of them are asked for.

Source: Google Cloud's "TPU architecture" pages of v4, v5e, v5p and v6e. Bandwidths of links are one way, of one link.
"""

from __future__ import annotations

import dataclasses
import math
import re


@dataclasses.dataclass(frozen=True)
class Chip:
    """One chip, linked to its neighbours along each axis of a torus."""

    name: str
    bf16_flops: float  # a second
    memory: int  # bytes
    memory_bandwidth: float  # bytes a second
    link_bandwidth: float  # bytes a second, one way
    axes: int  # of the torus that its slices are
    ring_from: int  # chips along an axis from which on its ends are linked
    slice_type: str  # of accelerator names
    names_count: str  # what those names count: chips | cores (two a chip)
    accelerator: str  # any valid accelerator name, which the compiler asks for


CHIPS = {
    "v4": Chip("v4", 275e12, 32 << 30, 1228e9, 50e9, 3, 4, "v4", "cores", "v4-8"),
    "v5e": Chip("v5e", 197e12, 16 << 30, 819e9, 50e9, 2, 16, "v5litepod", "chips", "v5litepod-8"),
    "v5p": Chip("v5p", 459e12, 95 << 30, 2765e9, 100e9, 3, 4, "v5p", "cores", "v5p-8"),
    "v6e": Chip("v6e", 918e12, 32 << 30, 1640e9, 112e9, 2, 16, "v6e", "chips", "v6e-8"),
}
# The default shapes of slices, by chips.
_SHAPES = {
    2: {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"},
    3: {4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8", 256: "4x8x8", 512: "8x8x8",
        1024: "8x8x16", 2048: "8x16x16"},
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips that are linked: `shape` of them along each axis."""

    chip: Chip
    shape: tuple[int, ...]

    @property
    def topology(self) -> str:
        """The name that the compiler knows it by."""
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

    @property
    def accelerator(self) -> str:
        """The name that it is asked for by."""
        n = self.n_chips * (2 if self.chip.names_count == "cores" else 1)
        return f"{self.chip.slice_type}-{n}"

    @property
    def n_chips(self) -> int:
        return math.prod(self.shape)

    @property
    def chips_a_host(self) -> int:
        return min(self.n_chips, 8 if self.chip.axes == 2 and self.n_chips <= 8 else 4)


def compiler_environment(chip: Chip) -> dict[str, str]:
    """Environment variables with which programs are compiled for a chip that is not there, beside other processes that
    do; to be set before jax is imported."""
    return {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost",
            "TPU_ACCELERATOR_TYPE": chip.accelerator, "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}  # fmt: skip


def slice_named(name: str) -> Slice:
    """A slice by its topology (v5p:4x4x4) or its accelerator name (v5p-128, v5litepod-64 or v5e-64).

    Raises ValueError that says what there is.
    """
    if found := re.fullmatch(r"(\w+):(\d+(?:x\d+)*)", name):
        chip, shape = CHIPS.get(found[1]), tuple(map(int, found[2].split("x")))
        if chip and len(shape) == chip.axes:
            return Slice(chip, shape)
    if found := re.fullmatch(r"(\w+)-(\d+)", name):
        chip = next((c for c in CHIPS.values() if found[1] in (c.name, c.slice_type)), None)
        if chip:
            n, odd = divmod(int(found[2]), 2 if chip.names_count == "cores" else 1)
            if n in _SHAPES[chip.axes] and not odd:
                return Slice(chip, tuple(map(int, _SHAPES[chip.axes][n].split("x"))))
    examples = ", ".join(f"{c.name}:{_SHAPES[c.axes][64]} = {Slice(c, (64,)).accelerator}" for c in CHIPS.values())
    raise ValueError(f"--topology={name}: no such slice; of 64 chips there are {examples}")
