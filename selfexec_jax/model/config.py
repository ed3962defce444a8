"""The shape of a decoder."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Every number that the decoder's shapes and arithmetic depend on."""

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int  # query heads share key/value heads in groups of n_heads / n_kv_heads
    head_dim: int
    d_ff: int
    rope_base: float = 10_000.0
    norm_eps: float = 1e-6
    query_block: int = 64  # queries a block in training attention; a block sees only the keys before its end
    scan_layers: bool = False  # one compiled layer scanned with rematerialisation: for deep models
    compute_dtype: str = "float32"  # of activations; parameters stay float32

    def __post_init__(self) -> None:
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads={self.n_heads} is not a multiple of n_kv_heads={self.n_kv_heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim} must be even for rotary positions")
