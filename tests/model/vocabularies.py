"""Tokenizer folders as checkpoints of three families bring them: byte pairs of Qwen and Llama, pieces of Gemma."""

# ruff: noqa: E501  templates and patterns are one line each
import io
import json

import sentencepiece
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

QWEN_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA_SPLIT = QWEN_SPLIT.replace(r"\p{N}|", r"\p{N}{1,3}|")
MARKS = {
    "qwen": [("<|endoftext|>", True), ("<|im_start|>", True), ("<|im_end|>", True), ("<tool_call>", False),
             ("<|fim_prefix|>", False), ("<|file_sep|>", False)],
    "llama": [("<|begin_of_text|>", True), ("<|eot_id|>", True), ("<|start_header_id|>", True),
              ("<|end_header_id|>", True), ("<|python_tag|>", True)],
    "gemma": [("<pad>", True), ("<eos>", True), ("<bos>", True), ("<start_of_turn>", True), ("<end_of_turn>", True),
              ("\n\n", False), ("<table>", False)],
}  # fmt: skip
TEMPLATES = {
    "qwen": """{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{%- endif %}
{%- for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}{% generation %}{{ message.content }}{% endgeneration %}{{ '<|im_end|>\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}""",
    "llama": """{{ bos_token }}{% for message in messages %}{% if loop.index > 9 %}{% break %}{% endif %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}""",
    "gemma": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}
{%- for message in messages %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}""",
}
ENDS = {"qwen": "<|im_end|>", "llama": "<|eot_id|>", "gemma": "<end_of_turn>"}
_NAMES = {
    "qwen": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    "llama": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
    "gemma": {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"},
}


def save_byte_pairs(folder, family: str, texts: list[str], size: int = 600) -> None:
    """tokenizer.json, tokenizer_config.json with the chat template."""
    is_gemma = family == "gemma"
    tokenizer = tokenizers.Tokenizer(models.BPE(byte_fallback=is_gemma, unk_token="<unk>" if is_gemma else None))
    if is_gemma:
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        alphabet, first = [], ["<unk>"] + [f"<0x{i:02X}>" for i in range(256)]
    else:
        if family == "qwen":
            tokenizer.normalizer = normalizers.NFC()
        split = tokenizers.Regex(QWEN_SPLIT if family == "qwen" else LLAMA_SPLIT)
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(split, "isolated"), byte_level])
        tokenizer.decoder = decoders.ByteLevel()
        alphabet, first = pre_tokenizers.ByteLevel.alphabet(), []
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, special_tokens=first, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    # what the trainer was told to keep as it is are pieces like others, not marks
    spec = json.loads(tokenizer.to_str()) | {"added_tokens": []}
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(spec))
    for mark, is_special in MARKS[family]:
        added = tokenizers.AddedToken(mark, special=is_special, normalized=False)
        (tokenizer.add_special_tokens if is_special else tokenizer.add_tokens)([added])
    tokenizer.save(str(folder / "tokenizer.json"))
    _save_config(folder, family, tokenizer_class="PreTrainedTokenizerFast")


def save_pieces(folder, texts: list[str], size: int = 700) -> None:
    """tokenizer.model alone, as the Gemma and Llama 2 families have it, and its template."""
    model = io.BytesIO()
    marks = [mark for mark, _ in MARKS["gemma"][3:]]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type="bpe", vocab_size=size, byte_fallback=True,
        normalization_rule_name="nfkc", remove_extra_whitespaces=False, split_digits=True, minloglevel=2,
        user_defined_symbols=marks, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>",
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    _save_config(folder, "gemma")


def _save_config(folder, family: str, **more) -> None:
    config = _NAMES[family] | {"chat_template": TEMPLATES[family]} | more
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
