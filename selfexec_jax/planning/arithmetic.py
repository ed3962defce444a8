"""The arithmetic of a decoder, counted from its shape: a multiplication and an addition are two operations."""

from __future__ import annotations

from selfexec_jax.model.config import ModelConfig

_BACKWARD = 2  # of a matrix product, in forward passes
_SPLASH_BACKWARD = 2.5  # of attention, whose scores are computed again in both of its kernels' shares


def matrix_parameters(cfg: ModelConfig) -> int:
    """Parameters that every token is multiplied by: all but norms, biases and the embedding as a table."""
    attention = cfg.d_model * (2 * cfg.n_heads + 2 * cfg.n_kv_heads) * cfg.head_dim
    return cfg.n_layers * (attention + 3 * cfg.d_model * cfg.d_ff) + cfg.vocab_size * cfg.d_model


def forward(cfg: ModelConfig, example: float) -> float:
    """Operations a token in examples of this many tokens, attention within them included."""
    return 2 * matrix_parameters(cfg) + attention(cfg, example)


def attention(cfg: ModelConfig, example: float) -> float:
    """Operations a token of a forward pass that are attention's, causal, in examples of this many tokens."""
    return sum(4 * cfg.n_heads * cfg.head_dim * seen(example, cfg.window(i)) for i in range(cfg.n_layers))


def seen(example: float, window: int) -> float:
    """Tokens that a token sees, mean over an example."""
    if not window or window >= example:
        return example / 2
    return window - window * window / (2 * example)


def training(cfg: ModelConfig, example: float) -> float:
    """Operations a token of a forward and a backward pass; nothing that is only computed again."""
    return (1 + _BACKWARD) * forward(cfg, example)


def kernels(cfg: ModelConfig, row: int, is_training: bool) -> float:
    """Operations a token that attention's kernel does on rows of this many tokens, whatever examples are in them; none
    where there is no kernel, and the compiler counts them."""
    if cfg.attention != "splash":
        return 0.0
    passes = 1.0
    if is_training:
        passes += _SPLASH_BACKWARD + (cfg.remat != "none")
    return passes * attention(cfg, row)
