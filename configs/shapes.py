"""What the `config.json` of known checkpoints says, to plan for them without having them (`plan.shape`)."""

_QWEN = {"model_type": "qwen2", "rms_norm_eps": 1e-6, "rope_theta": 1e6, "max_position_embeddings": 32_768}
_LLAMA = {"model_type": "llama", "rms_norm_eps": 1e-5}

SHAPES = {
    "qwen2p5_3b": _QWEN | {
        "vocab_size": 151_936, "hidden_size": 2048, "intermediate_size": 11_008, "num_hidden_layers": 36,
        "num_attention_heads": 16, "num_key_value_heads": 2, "tie_word_embeddings": True,
    },
    "qwen2p5_7b": _QWEN | {
        "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "tie_word_embeddings": False,
    },
    "cwm_32b": {
        "model_type": "cwm", "vocab_size": 128_256, "hidden_size": 6144, "intermediate_size": 21_504,
        "num_hidden_layers": 64, "num_attention_heads": 48, "num_key_value_heads": 8,
    },
    # Whose speed on TPUs is published, by MaxText.
    "llama2_70b": _LLAMA | {
        "vocab_size": 32_000, "hidden_size": 8192, "intermediate_size": 28_672, "num_hidden_layers": 80,
        "num_attention_heads": 64, "num_key_value_heads": 8, "tie_word_embeddings": False,
    },
    "llama3p1_8b": _LLAMA | {
        "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "rope_theta": 5e5, "tie_word_embeddings": False,
    },
}  # fmt: skip
