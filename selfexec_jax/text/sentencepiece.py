"""A lossless sentencepiece tokenizer of our own, for models that start from random weights."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

_SPACE = "\u2581"  # sentencepiece writes a space as this; the character itself must go as bytes
_ROLES = {"user": "<|user|>", "assistant": "<|assistant|>"}


def train_tokenizer(texts: Iterable[str], vocab_size: int, path: str | Path) -> SentencePieceTokenizer:
    """Trains byte-pair pieces on `texts` and writes the model file. The same texts give the same file.

    Digits are split, unknown characters fall back to bytes, and nothing is normalised, so that
    decode(encode(s)) == s for every string. Raises ValueError when the texts hold too few pieces.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            split_digits=True,
            split_by_whitespace=False,  # "for x in " may become one piece
            split_by_unicode_script=False,
            max_sentencepiece_length=24,
            byte_fallback=True,
            character_coverage=1.0,
            user_defined_symbols=["\n", "-"],  # never merged into words: lines and signs stay regular
            control_symbols=list(_ROLES.values()),
            max_sentence_length=1 << 20,
            num_threads=1,
            pad_id=0,
            eos_id=1,
            bos_id=-1,
            unk_id=2,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(f"text.vocab_size={vocab_size}: {str(error).splitlines()[0][:200]}") from None
    partial = Path(path).with_suffix(".partial")
    partial.write_bytes(model.getvalue())
    partial.replace(path)
    return SentencePieceTokenizer(path)


def is_own(data: bytes) -> bool:
    """Whether a sentencepiece model is one that `train_tokenizer` made: it has our marks of roles."""
    model = sentencepiece.SentencePieceProcessor(model_proto=data)
    return all(model.is_control(model.piece_to_id(piece)) for piece in _ROLES.values())


class SentencePieceTokenizer:
    """Text to ids and back. Control tokens (roles, end) never come out of text, whatever it says."""

    def __init__(self, path: str | Path = "", data: bytes = b""):
        if not data and not Path(path).is_file():
            raise ValueError(f"{path}: no such tokenizer file; run the problems stage first")
        self._model = sentencepiece.SentencePieceProcessor(model_proto=data or Path(path).read_bytes())
        self.vocab_size = self._model.vocab_size()
        self.pad_id, self.end_id = self._model.pad_id(), self._model.eos_id()
        self._role_ids = {role: self._model.piece_to_id(piece) for role, piece in _ROLES.items()}
        self._space_bytes = [self._model.piece_to_id(f"<0x{byte:02X}>") for byte in _SPACE.encode()]

    def encode(self, text: str) -> list[int]:
        first, *rest = self._model.encode(text.split(_SPACE))
        ids = list(first)
        for piece in rest:
            ids += self._space_bytes
            ids += piece
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids; control tokens are left out."""
        return self._model.decode([int(i) for i in ids])

    def encode_prompt(self, messages: list[dict[str, str]]) -> list[int]:
        """A chat up to and including the mark after which the assistant answers."""
        ids: list[int] = []
        for message in messages:
            ids += [self._role_ids[message["role"]], *self.encode(message["content"])]
        return [*ids, self._role_ids["assistant"]]

    def encode_answer(self, text: str) -> list[int]:
        return [*self.encode(text), self.end_id]
