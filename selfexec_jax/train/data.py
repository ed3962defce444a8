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

    @property
    def n_tokens(self) -> int:
        return len(self.prompt) + len(self.answer)

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


class PackedUpdates:
    """An endless, resumable stream of updates: each a list of `micro_batches` micro-batches of packed rows, {tokens,
    is_answer, segments, positions}, with `batch_rows` x `row_tokens` tokens in all.

    Sets are drawn by their share in `mix` and shuffled by the seed. With `short_row_tokens`, examples that fit go into
    rows of that length, so that attention does not look from one far to another that it must not see: a micro-batch
    has rows of one length, and as many of them are long as the long examples' share of the tokens makes due. Examples
    longer than a row are left out beforehand by `fits`; a set with a share but no examples raises ValueError.
    """

    def __init__(
        self, sets: dict[str, list[Example]], mix: dict[str, float], batch_rows: int, row_tokens: int, seed: int,
        micro_batches: int = 1, short_row_tokens: int = 0,
    ):  # fmt: skip
        short = short_row_tokens or row_tokens
        if row_tokens % short:
            raise ValueError(f"sft.short_row_tokens={short} does not divide sft.row_tokens={row_tokens}")
        for name, share in mix.items():
            if share > 0 and not sets.get(name):
                raise ValueError(f"sft.mix.{name}={share}: there are no such examples; set it to 0")
        drawn = {name: sets[name] for name, share in sorted(mix.items()) if share > 0}
        is_long = lambda e: e.n_tokens > short  # noqa: E731
        rows = batch_rows // micro_batches
        self._micro_batches, self._n = micro_batches, 0
        self._long, long_tokens = _stream(
            {name: [e for e in found if is_long(e)] for name, found in drawn.items()}, drawn, mix, rows, row_tokens,
            rows * micro_batches, seed,
        )  # fmt: skip
        per = row_tokens // short
        self._short, short_tokens = _stream(
            {name: [e for e in found if not is_long(e)] for name, found in drawn.items()}, drawn, mix, rows * per,
            short, rows * per * micro_batches, seed,
        )  # fmt: skip
        self._long_share = long_tokens / (long_tokens + short_tokens)

    def __iter__(self) -> PackedUpdates:
        return self

    def __next__(self) -> list[dict[str, np.ndarray]]:
        due = lambda n: int(n * self._micro_batches * self._long_share)  # noqa: E731
        n_long = due(self._n + 1) - due(self._n)
        self._n += 1
        kinds = [self._long] * n_long + [self._short] * (self._micro_batches - n_long)
        return [next(kind) for kind in kinds]

    def get_state(self) -> dict:
        return {"n": self._n, "streams": [s and s.get_state() for s in (self._long, self._short)]}

    def set_state(self, state: dict) -> None:
        self._n = state["n"]
        for stream, found in zip((self._long, self._short), state["streams"], strict=True):
            if stream is not None:
                stream.set_state(found)


def _stream(
    chosen: dict[str, list[Example]], of: dict[str, list[Example]], mix: dict[str, float], rows: int, row_tokens: int,
    at_once: int, seed: int,
) -> tuple[grain.DatasetIterator | None, float]:  # fmt: skip
    """(packed batches of some examples of each set, their tokens an example that is drawn of all); None without any."""
    parts, weights, tokens = [], [], 0.0
    for i, (name, examples) in enumerate(chosen.items()):
        if not examples:
            continue
        parts.append(grain.MapDataset.source(_Examples(examples)).seed(seed + i).shuffle().repeat())
        weights.append(mix[name] * len(examples) / len(of[name]))
        tokens += mix[name] * sum(e.n_tokens for e in examples) / len(of[name])
    if not parts:
        return None, 0.0
    stream = grain.MapDataset.mix(parts, weights=weights).to_iter_dataset(
        grain.ReadOptions(num_threads=1, prefetch_buffer_size=256)
    )
    packed = grain.experimental.FirstFitPackIterDataset(
        stream, length_struct={"tokens": row_tokens, "is_answer": row_tokens}, num_packing_bins=_LOOKAHEAD * at_once,
        seed=seed,
    )  # fmt: skip
    batches = packed.batch(rows).map(
        lambda b: {
            "tokens": b["tokens"],
            "is_answer": b["is_answer"],
            "segments": b["tokens_segment_ids"],
            "positions": b["tokens_positions"],
        }
    )
    return iter(batches), tokens


def fits(examples: list[Example], row_tokens: int) -> list[Example]:
    return [e for e in examples if e.n_tokens <= row_tokens]
