"""What a Hugging Face `config.json` says of a decoder, and the other way round.

Each family is read field by field: one that is not known, or has a value that the decoder does not do, is an error
that names it.
"""

from __future__ import annotations

from selfexec_jax.model.config import ModelConfig, Rope

FAMILIES = ("llama", "qwen2", "qwen3", "cwm", "gemma2", "gemma3_text")
_GEMMA = ("gemma2", "gemma3_text")
# Of the tokenizer, of training, of inference in transformers: nothing that the forward pass depends on.
_IGNORED = frozenset("""
_name_or_path architectures auto_map bos_token_id eos_token_id pad_token_id cache_implementation dtype torch_dtype
initializer_range max_position_embeddings transformers_version use_cache max_window_layers _attn_implementation_autoset
unsloth_version unsloth_fixed chunk_size_feed_forward id2label label2id is_encoder_decoder output_attentions
output_hidden_states problem_type return_dict sliding_window_pattern _sliding_window_pattern
""".split())
_SHAPE = {
    "vocab_size": "vocab_size", "hidden_size": "d_model", "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads", "num_key_value_heads": "n_kv_heads", "head_dim": "head_dim",
    "intermediate_size": "d_ff", "rms_norm_eps": "norm_eps",
}  # fmt: skip
_REQUIRED = frozenset(_SHAPE) - {"num_key_value_heads", "head_dim", "rms_norm_eps"}
_LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 8192}  # fmt: skip
# What a family's config.json may leave out, as transformers fills it in.
_DEFAULTS = {
    "gemma3_text": {"vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
                    "sliding_window": 4096},
    "gemma2": {"head_dim": 256, "sliding_window": 4096, "attn_logit_softcapping": 50.0,
               "final_logit_softcapping": 30.0},
    "cwm": {"head_dim": 128, "rms_norm_eps": 1e-5, "sliding_window": 8192,
            "rope_scaling": _LLAMA3 | {"factor": 16.0}},
}  # fmt: skip


class UnsupportedModel(ValueError):
    """A config that the decoder cannot follow; one line naming the field."""


class _Fields:
    """The fields of a config, each taken once; what is left over is an error."""

    def __init__(self, config: dict, where: str):
        self._left = {key: value for key, value in config.items() if key not in _IGNORED}
        self._where = where

    def take(self, name: str, default=None):
        value = self._left.pop(name, None)
        return default if value is None else value

    def must_be(self, name: str, *values) -> None:
        """The field is absent, or has one of these values."""
        value = self._left.pop(name, None)
        if value is not None and value not in values:
            self.refuse(name, value)

    def refuse(self, name: str, value) -> None:
        raise UnsupportedModel(f"{self._where}: {name}={value!r} is not supported")

    def end(self) -> None:
        """Whatever is left is a feature that is not done here, unless it is switched off."""
        for name, value in self._left.items():
            if value is not None and value is not False:
                self.refuse(name, value)


def read_config(config: dict, where: str) -> ModelConfig:
    """The decoder of a parsed `config.json`; `where` names it in errors. Raises UnsupportedModel."""
    family = config.get("model_type")
    if family == "gemma3":  # text and images: the text half is a model of its own
        return read_config({"model_type": "gemma3_text"} | config.get("text_config", {}), where)
    if family not in FAMILIES:
        raise UnsupportedModel(f"{where}: model_type={family!r} is none of {', '.join(FAMILIES)}")
    config = _DEFAULTS.get(family, {}) | config
    missing = sorted(name for name in _REQUIRED if not isinstance(config.get(name), int))
    if missing:
        raise UnsupportedModel(f"{where}: {missing[0]} is missing")
    fields = _Fields(config, where)
    fields.take("model_type")
    shape = {ours: fields.take(theirs) for theirs, ours in _SHAPE.items()}
    shape["n_kv_heads"] = shape["n_kv_heads"] or shape["n_heads"]
    shape["head_dim"] = shape["head_dim"] or shape["d_model"] // shape["n_heads"]
    shape["norm_eps"] = shape["norm_eps"] or 1e-6
    fields.must_be("attention_dropout", 0, 0.0)
    more = {"tied": bool(fields.take("tie_word_embeddings", family in _GEMMA))}
    if family in _GEMMA:
        more |= _gemma(fields, family)
    else:
        fields.must_be("hidden_act", "silu")
        fields.must_be("mlp_bias", False)
        fields.must_be("pretraining_tp", 1)
        bias = bool(fields.take("attention_bias", False))
        more |= {"qkv_bias": bias or family == "qwen2", "o_bias": bias and family != "qwen2",
                 "qk_norm": family == "qwen3"}  # fmt: skip
    more |= _positions(fields, family)
    more["windows"] = _windows(fields, config, family)
    fields.end()
    return ModelConfig(**shape, **more)


def _gemma(fields: _Fields, family: str) -> dict:
    fields.must_be("hidden_activation", "gelu_pytorch_tanh")
    fields.must_be("hidden_act", "gelu_pytorch_tanh")
    fields.must_be("attention_bias", False)
    fields.must_be("use_bidirectional_attention", False)
    if family == "gemma3_text":  # transformers reads it there and does nothing
        fields.must_be("attn_logit_softcapping", 0.0)
    return {
        "activation": "gelu", "qk_norm": family == "gemma3_text", "post_norms": True, "norm_from_one": True,
        "scale_embedding": True,
        "query_scale": float(fields.take("query_pre_attn_scalar", 256)),
        "attention_cap": float(fields.take("attn_logit_softcapping", 0)),
        "logit_cap": float(fields.take("final_logit_softcapping", 0)),
    }  # fmt: skip


def _positions(fields: _Fields, family: str) -> dict:
    """Rotary positions, as transformers 5 writes them (rope_parameters) or as it did before."""
    found = fields.take("rope_parameters")
    usual = {"gemma3_text": 1_000_000.0, "cwm": 1_000_000.0}.get(family, 10_000.0)
    base = float(fields.take("rope_theta", usual))
    old = fields.take("rope_scaling")  # in transformers 4, with a base of its own beside it
    local_base = float(fields.take("rope_local_base_freq", 10_000.0))
    if found is None:
        everywhere = _rope(fields, base, old or {})
        return {"rope": everywhere} | ({"local_rope": Rope(local_base)} if family == "gemma3_text" else {})
    if "full_attention" in found or "sliding_attention" in found:
        return {
            "rope": _rope(fields, base, found.get("full_attention") or {}),
            "local_rope": _rope(fields, local_base, found.get("sliding_attention") or {}),
        }
    return {"rope": _rope(fields, base, found)} | ({"local_rope": Rope(local_base)} if family == "gemma3_text" else {})


def _rope(fields: _Fields, base: float, said: dict) -> Rope:
    said = dict(said)
    base = float(said.pop("rope_theta", None) or base)
    kind = said.pop("rope_type", None) or said.pop("type", None) or "default"
    said.pop("type", None)
    if kind == "default":
        rope = Rope(base)
    elif kind == "linear":
        factor = said.pop("factor", None)
        if factor is None:
            fields.refuse("rope_scaling.factor", None)
        rope = Rope(base, "linear", float(factor))
    elif kind == "llama3":
        names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
        lost = next((name for name in names if name not in said), None)
        if lost:
            fields.refuse(f"rope_scaling.{lost}", None)
        factor, low, high, length = (said.pop(name) for name in names)
        rope = Rope(base, "llama3", float(factor), float(low), float(high), int(length))
    else:
        fields.refuse("rope_scaling.rope_type", kind)
    if said:
        fields.refuse(f"rope_scaling.{next(iter(said))}", next(iter(said.values())))
    return rope


def _windows(fields: _Fields, config: dict, family: str) -> tuple[int, ...]:
    size, kinds = int(fields.take("sliding_window", 0)), fields.take("layer_types")
    is_used = fields.take("use_sliding_window", family in ("cwm", *_GEMMA))
    n = config["num_hidden_layers"]
    if kinds is None:
        if not (is_used and size):
            return ()
        if family in _GEMMA:
            usual = 6 if family == "gemma3_text" else 2
            period = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or usual
            kinds = ["full_attention" if (i + 1) % period == 0 else "sliding_attention" for i in range(n)]
        elif family == "cwm":
            kinds = ["full_attention" if i % 4 == 0 else "sliding_attention" for i in range(n)]
        else:
            first = config.get("max_window_layers", 28)
            kinds = ["sliding_attention" if i >= first else "full_attention" for i in range(n)]
    strange = next((kind for kind in kinds if kind not in ("full_attention", "sliding_attention")), None)
    if strange is not None or len(kinds) != n:
        fields.refuse("layer_types", strange or kinds)
    windows = tuple(size if kind == "sliding_attention" else 0 for kind in kinds)
    return windows if any(windows) else ()


def family_of(cfg: ModelConfig) -> str:
    """The family whose forward pass a decoder's is. Raises UnsupportedModel where there is none."""
    if cfg.post_norms:
        is_gemma = cfg.norm_from_one and cfg.scale_embedding and cfg.activation == "gelu"
        if is_gemma and not (cfg.qkv_bias or cfg.o_bias):
            if cfg.qk_norm and not cfg.attention_cap:
                return "gemma3_text"
            if not cfg.qk_norm and not cfg.local_rope:
                return "gemma2"
    elif cfg.activation == "silu" and not (cfg.norm_from_one or cfg.scale_embedding or cfg.local_rope):
        plain = not (cfg.attention_cap or cfg.logit_cap) and cfg.query_scale in (0.0, float(cfg.head_dim))
        if plain and cfg.qk_norm and cfg.qkv_bias == cfg.o_bias:
            return "qwen3"
        if plain and cfg.qkv_bias and not cfg.o_bias and not cfg.qk_norm:
            return "qwen2"
        if plain and not cfg.qk_norm and cfg.qkv_bias == cfg.o_bias:
            return "cwm" if cfg.windows and not cfg.qkv_bias else "llama" if not cfg.windows else _none(cfg)
    return _none(cfg)


def _none(cfg: ModelConfig) -> str:
    raise UnsupportedModel(f"no family of transformers has the forward pass of {cfg}")


_CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
            "cwm": "CwmForCausalLM", "gemma2": "Gemma2ForCausalLM", "gemma3_text": "Gemma3ForCausalLM"}  # fmt: skip


def write_config(cfg: ModelConfig, dtype: str) -> dict:
    """A `config.json` from which transformers, old or new, and `read_config` make this decoder."""
    family = family_of(cfg)
    kinds = ["sliding_attention" if cfg.window(i) else "full_attention" for i in range(cfg.n_layers)]
    config = {"architectures": [_CLASSES[family]], "model_type": family, "torch_dtype": dtype}
    config |= {theirs: getattr(cfg, ours) for theirs, ours in _SHAPE.items()}
    config |= {"tie_word_embeddings": cfg.tied, "max_position_embeddings": 131_072}
    scaling = _scaling(cfg.rope)
    config |= {"rope_theta": cfg.rope.base, "rope_scaling": scaling}
    if cfg.windows:
        config |= {"sliding_window": max(cfg.windows), "layer_types": kinds}
    if family in _GEMMA:
        config |= {
            "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": round(cfg.query_scale or cfg.head_dim),
            "attn_logit_softcapping": cfg.attention_cap or None, "final_logit_softcapping": cfg.logit_cap or None,
            "layer_types": kinds,
        }  # fmt: skip
        if family == "gemma3_text":
            config["rope_local_base_freq"] = (cfg.local_rope or cfg.rope).base
        if not cfg.windows:
            config["sliding_window"] = 4096
        return config
    config |= {"hidden_act": "silu"}
    if family in ("qwen2", "qwen3"):
        config |= {"use_sliding_window": bool(cfg.windows), "max_window_layers": 0}
    if family in ("llama", "qwen3"):
        config["attention_bias"] = cfg.qkv_bias
    return config


def _scaling(rope: Rope) -> dict | None:
    if rope.scaling == "none":
        return None
    if rope.scaling == "linear":
        return {"rope_type": "linear", "factor": rope.factor}
    return {
        "rope_type": "llama3", "factor": rope.factor, "low_freq_factor": rope.low_frequency,
        "high_freq_factor": rope.high_frequency, "original_max_position_embeddings": rope.original_length,
    }  # fmt: skip
