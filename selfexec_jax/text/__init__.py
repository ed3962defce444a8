"""Tokenizers."""

from selfexec_jax.text.sentencepiece import SentencePieceTokenizer, train_tokenizer

__all__ = ["SentencePieceTokenizer", "train_tokenizer"]
