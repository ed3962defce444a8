"""Tokenizers."""

from selfexec_jax.text.imported import ImportedTokenizer, load_tokenizer
from selfexec_jax.text.sentencepiece import SentencePieceTokenizer, train_tokenizer

Tokenizer = SentencePieceTokenizer | ImportedTokenizer

__all__ = ["ImportedTokenizer", "SentencePieceTokenizer", "Tokenizer", "load_tokenizer", "train_tokenizer"]
