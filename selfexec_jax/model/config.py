"""The shape of a decoder."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotary positions. scaling: none; linear, positions divided by `factor`; llama3, low frequencies divided by it.

    llama3 leaves wavelengths below original_length / high_frequency as they are, divides those above
    original_length / low_frequency, and blends between (Llama 3.1).
    """

    base: float = 10_000.0
    scaling: str = "none"
    factor: float = 1.0
    low_frequency: float = 1.0
    high_frequency: float = 4.0
    original_length: int = 8192

    def __post_init__(self) -> None:
        if self.scaling not in ("none", "linear", "llama3"):
            raise ValueError(f"rope scaling {self.scaling!r} is none of none, linear, llama3")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Everything that the decoder's shapes and arithmetic depend on."""

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int  # query heads share key/value heads in groups of n_heads / n_kv_heads
    head_dim: int
    d_ff: int
    norm_eps: float = 1e-6
    rope: Rope = Rope()
    local_rope: Rope | None = None  # of layers with a window (Gemma 3); None: the same
    windows: tuple[int, ...] = ()  # tokens that each layer sees, the newest included; 0: all; (): all in every layer
    activation: str = "silu"  # of the gated hidden units: silu (SwiGLU) | gelu (GeGLU, tanh approximation)
    tied: bool = True  # the embedding is also the output head
    qkv_bias: bool = False
    o_bias: bool = False
    qk_norm: bool = False  # queries and keys of each head are normalised before they are rotated
    post_norms: bool = False  # what attention and hidden units add is normalised too (Gemma)
    norm_from_one: bool = False  # scales of norms are stored less one (Gemma)
    scale_embedding: bool = False  # by the square root of d_model (Gemma)
    query_scale: float = 0.0  # scores are divided by its square root; 0: head_dim
    attention_cap: float = 0.0  # scores x become cap * tanh(x / cap); 0: as they are (Gemma 2)
    logit_cap: float = 0.0  # the same for logits
    attention: str = "xla"  # of training and prefill: xla | splash (the kernel of TPUs)
    query_block: int = 64  # queries a block in training attention; a block sees only the keys before its end
    scan_layers: bool = False  # layers are compiled once and scanned: for deep models
    for_decoding: bool = False  # parameters have the form of decoding.py: an array a layer, projections as out x in
    remat: str = "none"  # what is computed again in the backward pass: none | layer | all but matmuls
    vocab_chunk: int = 0  # entries of the vocabulary whose logits a loss computes at a time; 0: all
    lora_rank: int = 0  # adapters of this rank beside the layers' projections; 0: none
    lora_alpha: float = 16.0  # adapters count lora_alpha / lora_rank
    compute_dtype: str = "float32"  # of activations; parameters stay as they are

    def __post_init__(self) -> None:
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads={self.n_heads} is not a multiple of n_kv_heads={self.n_kv_heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim} must be even for rotary positions")
        if self.windows and len(self.windows) != self.n_layers:
            raise ValueError(f"{len(self.windows)} windows for {self.n_layers} layers")
        if self.attention not in ("xla", "splash"):
            raise ValueError(f"attention={self.attention!r} is neither xla nor splash")
        if self.remat not in ("none", "layer", "all but matmuls"):
            raise ValueError(f"remat={self.remat!r} is none of none, layer, all but matmuls")

    def window(self, layer: int) -> int:
        """Tokens that a layer sees, 0 for all."""
        return self.windows[layer] if self.windows else 0

    def period(self) -> int:
        """After how many layers the pattern of windows repeats."""
        w, n = self.windows, len(self.windows)
        return next((p for p in range(1, n) if w[p:] == w[: n - p]), n or 1)
