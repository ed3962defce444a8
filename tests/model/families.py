"""Miniatures of each family of transformers with random weights and every feature of the family switched on."""

import torch
import transformers

LLAMA3 = {"rope_type": "llama3", "rope_theta": 10_000.0, "factor": 4.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 32}  # fmt: skip
SMALL = {"vocab_size": 160, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 4,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512,
         "attn_implementation": "eager",
         "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}  # fmt: skip
MIXED = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
FAMILIES = {
    "llama": (transformers.LlamaConfig, {"rope_parameters": LLAMA3, "attention_bias": True}),
    "qwen2": (transformers.Qwen2Config, {
        "head_dim": None, "hidden_size": 64, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2,
        "tie_word_embeddings": True,
    }),
    "qwen3": (transformers.Qwen3Config, {
        "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1, "rope_parameters":
        {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0},
    }),
    "cwm": (transformers.CwmConfig, {"rope_parameters": LLAMA3, "sliding_window": 8, "layer_types": MIXED}),
    "gemma2": (transformers.Gemma2Config, {
        "sliding_window": 8, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0,
    }),
    "gemma3_text": (transformers.Gemma3TextConfig, {
        "num_hidden_layers": 5, "layer_types": [*MIXED, "sliding_attention"], "sliding_window": 8,
        "query_pre_attn_scalar": 24, "final_logit_softcapping": 8.0,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 100_000.0, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
    }),
}  # fmt: skip


def miniature(family: str, seed: int = 0, **changes):
    """A model whose weights, biases and norms are all far from their usual beginnings."""
    make, features = FAMILIES[family]
    fields = {k: v for k, v in (SMALL | features | changes).items() if v is not None}
    model = transformers.AutoModelForCausalLM.from_config(make(**fields)).eval().float()
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            spread = 0.3 if weight.ndim == 1 else 2.0 * weight.shape[-1] ** -0.5
            noise = torch.randn_like(weight) * spread
            weight.copy_(noise + 1 if "norm" in name and not family.startswith("gemma") else noise)
    return model
