"""Turns to learn from, packed into micro-batches of few shapes."""

from __future__ import annotations

import dataclasses

import numpy as np
from jax.sharding import Mesh

from selfexec_jax.model.sharding import batch_rows
from selfexec_jax.train.rollouts import Turn

# Of a batch of packed rows, by tokens; the numbers are what RL has.
INTS, FLOATS = ("tokens", "positions", "segments", "is_answer"), ("advantage", "scale", "sampler", "old")


@dataclasses.dataclass(frozen=True)
class Item:
    """A turn to learn from, with the scale of its tokens, and its advantage, which counts from `first` to `last`."""

    turn: Turn
    advantage: float = 0.0
    scale: float = 0.0
    first: int = 0
    last: int | None = None

    @property
    def n_tokens(self) -> int:
        return len(self.turn.sample.prompt_tokens) + len(self.turn.sample.tokens)


def row_shapes(knobs, mesh: Mesh) -> dict[int, list[int]]:
    """The only shapes of micro-batches: for each length of rows, the longest first, how many rows make up the token
    budget, and a small number for what is left over."""
    if knobs.short_row_tokens >= knobs.row_tokens:
        raise ValueError(f"rl.short_row_tokens={knobs.short_row_tokens} is not below rl.row_tokens={knobs.row_tokens}")
    of_mesh, found = batch_rows(mesh), {}
    for row_tokens in filter(None, (knobs.row_tokens, knobs.short_row_tokens)):
        rows = max(knobs.micro_tokens // row_tokens // of_mesh, 1) * of_mesh
        found[row_tokens] = sorted({rows, max(rows // 4 // of_mesh, 1) * of_mesh}, reverse=True)
    return found


def pack(items: list[Item], shapes: dict[int, list[int]]) -> list[dict[str, np.ndarray]]:
    """Micro-batches of packed rows in these shapes; each array rows x row_tokens, `item` the number of the item of each
    token. What fits into rows of several lengths goes into short ones, and into what room long ones have left."""
    left = sorted(range(len(items)), key=lambda i: -items[i].n_tokens)
    batches = []
    for row_tokens, shorter in zip(shapes, [*list(shapes)[1:], 0], strict=True):
        lengths = [items[i].n_tokens for i in left]
        due = pack_rows([n for n in lengths if n > shorter], row_tokens)
        sizes = _sizes(len(due), shapes[row_tokens])
        rows = [[left[i] for i in row] for row in pack_rows(lengths, row_tokens, sum(sizes))]
        packed = set().union(*rows)
        left = [i for i in left if i not in packed]
        for n in sizes:
            batches.append(filled(items, rows[:n], n, row_tokens))
            rows = rows[n:]
    return batches


def _sizes(n_rows: int, counts: list[int]) -> list[int]:
    """How many rows the micro-batches have that n_rows go into."""
    sizes = []
    while n_rows > 0:
        n = next((n for n in counts if n <= n_rows), counts[-1])
        if n_rows > counts[-1] and n == counts[-1] and counts[0] - n_rows < n:
            n = counts[0]  # one large batch that is nearly full beats several small ones
        sizes.append(n)
        n_rows -= n
    return sizes


def filled(items: list[Item], rows: list[list[int]], n_rows: int, row_tokens: int) -> dict[str, np.ndarray]:
    batch = {k: np.zeros((n_rows, row_tokens), np.int32) for k in (*INTS, "item")}
    batch |= {k: np.zeros((n_rows, row_tokens), np.float32) for k in FLOATS}
    for r, row in enumerate(rows):
        at = 0
        for segment, i in enumerate(row, 1):
            item, sample = items[i], items[i].turn.sample
            n, m = len(sample.prompt_tokens), len(sample.tokens)
            here, answer = slice(at, at + n + m), slice(at + n, at + n + m)
            batch["tokens"][r, here] = sample.prompt_tokens + sample.tokens
            batch["positions"][r, here] = np.arange(n + m)
            batch["segments"][r, here] = segment
            batch["is_answer"][r, answer] = 1
            batch["advantage"][r, answer][item.first : item.last] = item.advantage
            batch["scale"][r, answer] = item.scale
            batch["sampler"][r, answer] = sample.logprobs
            if item.turn.old is not None:
                batch["old"][r, answer] = item.turn.old
            batch["item"][r, here] = i
            at += n + m
    return batch


def pack_rows(lengths: list[int], row_tokens: int, n_rows: int | None = None) -> list[list[int]]:
    """First-fit packing: which items go into which row.

    With n_rows there are that many, some of them empty, and what fits into none is left out; otherwise an item longer
    than a row raises ValueError.
    """
    rows: list[list[int]] = [[] for _ in range(n_rows or 0)]
    room = [row_tokens] * len(rows)
    for i, n in enumerate(lengths):
        row = next((r for r, free in enumerate(room) if free >= n), None)
        if row is None and n_rows is not None:
            continue
        if n > row_tokens:
            raise ValueError(f"a sample of {n} tokens does not fit a row of {row_tokens}; raise rl.row_tokens")
        if row is None:
            rows.append([])
            room.append(row_tokens)
            row = len(rows) - 1
        rows[row].append(i)
        room[row] -= n
    return rows
