"""The tokenizer and the chat template of an imported checkpoint (extra `[hf]`).

`tokenizer.json` is read by the `tokenizers` library, a folder that has `tokenizer.model` alone (Gemma, Llama 2) by
sentencepiece, with the normalisation that the file asks for. Untrusted text never becomes a special token: where a
program says `<|im_end|>`, it is encoded letter by letter, as it would be if there were no such token.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Sequence

import fsspec

from selfexec_jax.text.chat import ChatTemplate
from selfexec_jax.text.sentencepiece import SentencePieceTokenizer, is_own


def load_tokenizer(folder: str) -> SentencePieceTokenizer | ImportedTokenizer:
    """The tokenizer of a checkpoint folder, on a disk or in a bucket: an imported one, or our own of a run that was
    taken home.

    Raises ValueError for a folder without one, and for an imported one without a chat template.
    """
    fast, pieces = _read(folder, "tokenizer.json"), _read(folder, "tokenizer.model")
    if fast is None and pieces is not None and is_own(pieces):
        return SentencePieceTokenizer(data=pieces)
    config = json.loads(_read(folder, "tokenizer_config.json") or b"{}")
    template = (_read(folder, "chat_template.jinja") or b"").decode() or config.get("chat_template")
    if isinstance(template, list):  # several by name
        template = next((each["template"] for each in template if each.get("name") == "default"), None)
    if not template:
        raise ValueError(f"{folder}: no chat template; put one beside it as chat_template.jinja")
    names = {name: _content(config[name]) for name in ("bos_token", "eos_token", "pad_token", "unk_token")
             if config.get(name)}  # fmt: skip
    if fast is None and pieces is None:
        raise ValueError(f"{folder}: no tokenizer; tokenizer.json or tokenizer.model must be there")
    codec = _Fast(fast.decode()) if fast is not None else _Pieces(pieces, names)
    return ImportedTokenizer(codec, ChatTemplate(template, names), folder)


def _content(token: str | dict) -> str:
    return token["content"] if isinstance(token, dict) else token


def _read(folder: str, name: str) -> bytes | None:
    fs, place = fsspec.core.url_to_fs(posixpath.join(folder, name))
    return fs.cat_file(place) if fs.exists(place) else None


class _Fast:
    """A `tokenizers` tokenizer, and the same one without its special tokens."""

    def __init__(self, text: str):
        try:
            import tokenizers
        except ImportError:
            raise ValueError("imported tokenizers need the extra: pip install 'selfexec_jax[hf]'") from None
        self._whole = tokenizers.Tokenizer.from_str(text)
        spec = json.loads(text)
        # Runs of white space are added tokens of Gemma; they mean what they say.
        self.specials = {t["content"]: t["id"] for t in spec["added_tokens"] if t["content"].strip()}
        spec["added_tokens"] = [t for t in spec["added_tokens"] if not t["content"].strip()]
        spec["post_processor"] = None  # it names special tokens
        self._plain = tokenizers.Tokenizer.from_str(json.dumps(spec))
        self.size = max(self._whole.get_vocab().values()) + 1

    def encode(self, text: str) -> list[int]:
        return self._whole.encode(text, add_special_tokens=False).ids

    def encode_plain(self, text: str) -> list[int]:
        return self._plain.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        return self._whole.decode(ids, skip_special_tokens=True)


class _Pieces:
    """A sentencepiece model, and the same one whose marks are never found in text."""

    def __init__(self, data: bytes, names: dict[str, str]):
        import sentencepiece
        from sentencepiece import sentencepiece_model_pb2

        self._whole = sentencepiece.SentencePieceProcessor(model_proto=data)
        proto = sentencepiece_model_pb2.ModelProto.FromString(data)
        kinds = proto.SentencePiece
        self.specials = {}
        for i, piece in enumerate(proto.pieces):
            is_mark = piece.type == kinds.USER_DEFINED and piece.piece.replace("\u2581", " ").strip()
            if is_mark or piece.type == kinds.CONTROL or piece.piece in names.values():
                self.specials[piece.piece] = i
            if is_mark:
                piece.type = kinds.UNUSED
        self._plain = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
        self.size = self._whole.vocab_size()

    def encode(self, text: str) -> list[int]:
        return self._whole.encode(text)

    def encode_plain(self, text: str) -> list[int]:
        return self._plain.encode(text)

    def decode(self, ids: list[int]) -> str:
        marks = set(self.specials.values())
        return self._whole.decode([i for i in ids if i not in marks])


def _replaced(text: str, holders: dict[str, str], marks: re.Pattern) -> str:
    return marks.sub(lambda found: holders[found[0]], text)


class ImportedTokenizer:
    """Text and chats to ids and back, as transformers has them; special tokens come from the template alone."""

    def __init__(self, codec: _Fast | _Pieces, template: ChatTemplate, where: str):
        self._codec, self._template = codec, template
        self.specials = codec.specials
        self._special_ids = frozenset(codec.specials.values())
        marks = sorted(map(re.escape, codec.specials), key=len, reverse=True)
        self._marks = re.compile(f"({'|'.join(marks) or '(?!)'})")
        self.vocab_size = codec.size
        self.end_id = self._end(where)
        self.pad_id = codec.specials.get(template.names.get("pad_token"), self.end_id)

    def _end(self, where: str) -> int:
        """The special token that the template puts after an assistant's answer."""
        mark = "\ue000"
        _, _, after = self._template.render(
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": mark}], False
        ).partition(mark)
        found = self._marks.search(after)
        name = found[0] if found else self._template.names.get("eos_token")
        if name not in self.specials:
            raise ValueError(f"{where}: its chat template ends an answer with no special token")
        return self.specials[name]

    def encode(self, text: str) -> list[int]:
        """Untrusted text; no special token comes out of it, whatever it says."""
        ids = self._codec.encode(text)
        return ids if self._special_ids.isdisjoint(ids) else self._codec.encode_plain(text)

    def encode_prompt(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """A chat up to and including the mark after which the assistant answers."""
        if isinstance(self._codec, _Fast) and not self._plants(messages):
            return self._codec.encode(self._template.render(messages, True))
        # The template's marks become tokens, and all that is between them is text. What the messages say that looks
        # like a mark is hidden from the split behind characters that they do not hold.
        said = "".join(m["content"] for m in messages)
        free = (chr(i) for i in range(0xE000, 0xF8FF) if chr(i) not in said)
        holders = dict(zip(dict.fromkeys(self._marks.findall(said)), free, strict=False))
        hidden = [m | {"content": _replaced(m["content"], holders, self._marks)} for m in messages]
        shown = {holder: mark for mark, holder in holders.items()}
        ids: list[int] = []
        for part in self._marks.split(self._template.render(hidden, True)):
            if part in self.specials:
                ids.append(self.specials[part])
            elif part:
                ids += self.encode("".join(shown.get(letter, letter) for letter in part))
        return ids

    def _plants(self, messages: Sequence[dict[str, str]]) -> bool:
        return not all(self._special_ids.isdisjoint(self._codec.encode(m["content"])) for m in messages)

    def encode_answer(self, text: str) -> list[int]:
        return [*self.encode(text), self.end_id]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids; special tokens are left out."""
        return self._codec.decode([int(i) for i in ids if i < self.vocab_size])
