"""From question-answer pairs to packed batches."""

from __future__ import annotations

import dataclasses

import grain
import numpy as np

_LOOKAHEAD = 4  # batches that are packed at once: more choice leaves less padding


@dataclasses.dataclass(frozen=True)
class Example:
    """One prompt with the answer to learn, as token ids."""

    prompt: list[int]
    answer: list[int]

    def arrays(self) -> dict[str, np.ndarray]:
        n, m = len(self.prompt), len(self.answer)
        return {
            "tokens": np.asarray(self.prompt + self.answer, np.int32),
            "is_answer": np.asarray([0] * n + [1] * m, np.int32),
        }


class _Examples:
    """A random-access source of example arrays for grain."""

    def __init__(self, examples: list[Example]):
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        return self._examples[i].arrays()


def packed_batches(
    sets: dict[str, list[Example]], mix: dict[str, float], rows: int, row_tokens: int, seed: int
) -> grain.IterDataset:
    """An endless, resumable stream of packed batches {tokens, is_answer, segments, positions}, each rows x row_tokens.

    Sets are drawn by their share in `mix` and shuffled by the seed. Examples longer than a row are left
    out beforehand by `fits`; a set with a share but no examples raises ValueError.
    """
    parts, weights = [], []
    for i, (name, share) in enumerate(sorted(mix.items())):
        if share <= 0:
            continue
        if not sets.get(name):
            raise ValueError(f"sft.mix.{name}={share}: there are no such examples; set it to 0")
        source = grain.MapDataset.source(_Examples(sets[name]))
        parts.append(source.seed(seed + i).shuffle().repeat())
        weights.append(share)
    lengths = {"tokens": row_tokens, "is_answer": row_tokens}
    stream = grain.MapDataset.mix(parts, weights=weights).to_iter_dataset(
        grain.ReadOptions(num_threads=1, prefetch_buffer_size=256)
    )
    packed = grain.experimental.FirstFitPackIterDataset(
        stream, length_struct=lengths, num_packing_bins=_LOOKAHEAD * rows, seed=seed
    )
    return packed.batch(rows).map(
        lambda b: {
            "tokens": b["tokens"],
            "is_answer": b["is_answer"],
            "segments": b["tokens_segment_ids"],
            "positions": b["tokens_positions"],
        }
    )


def fits(examples: list[Example], row_tokens: int) -> list[Example]:
    return [e for e in examples if len(e.prompt) + len(e.answer) <= row_tokens]


def pack_rows(lengths: list[int], row_tokens: int) -> list[list[int]]:
    """First-fit packing: which items go into which row. Raises ValueError for an item longer than a row."""
    rows: list[list[int]] = []
    room: list[int] = []
    for i, n in enumerate(lengths):
        if n > row_tokens:
            raise ValueError(f"a sample of {n} tokens does not fit a row of {row_tokens}; raise rl.row_tokens")
        row = next((r for r, free in enumerate(room) if free >= n), None)
        if row is None:
            rows.append([])
            room.append(row_tokens)
            row = len(rows) - 1
        rows[row].append(i)
        room[row] -= n
    return rows
