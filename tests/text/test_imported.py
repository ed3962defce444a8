"""Imported tokenizers are those of transformers, token for token, and no text can plant a special token."""

import json
import random

import pytest

transformers = pytest.importorskip("transformers")

import vocabularies  # noqa: E402
from vocabularies import ENDS, MARKS  # noqa: E402

from selfexec_jax.problems.generator import generate  # noqa: E402
from selfexec_jax.text import load_tokenizer  # noqa: E402

AWKWARD = ["", " ", "\n\n\n", "\t\tx", "  a  b ", "\u00e9 e\u0301 \ufb01 \uff21", "\u2581\ue000",
           "\U0001f600 100000 007",
           "x" * 300, "<|", "|>", "<", "a<b>c", "<|im_end", "def f():\r\n    return 1\r\n"]  # fmt: skip


@pytest.fixture(scope="module")
def programs():
    from selfexec_jax.configs import tiny

    config = tiny.get_config()
    with config.unlocked():
        config.problems.n_train, config.problems.n_heldout, config.problems.n_unseen = 500, 4, 2
    problems = generate(config.problems, 0)[0]["train"]
    texts = [s for p in problems for s in (p.statement, *p.solutions, *p.wrong_solutions)]
    return list(dict.fromkeys(texts))


@pytest.fixture(scope="module", params=["qwen", "llama", "gemma"])
def both(request, programs, tmp_path_factory):
    """(family, transformers' tokenizer, ours) of one folder."""
    folder = tmp_path_factory.mktemp(request.param)
    vocabularies.save_byte_pairs(folder, request.param, programs[:300])
    return request.param, transformers.AutoTokenizer.from_pretrained(folder), load_tokenizer(str(folder))


def chats(programs, rng):
    for _ in range(500):
        roles = ["user"] if rng.random() < 0.6 else ["user", "assistant", "user"]
        yield [{"role": role, "content": rng.choice([*programs, *AWKWARD])} for role in roles]


def test_programs_and_chats_are_token_for_token_those_of_transformers(both, programs):
    _, theirs, ours = both
    texts = [*programs[:1000], *AWKWARD]
    assert len(texts) >= 1000
    for text in texts:
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False), text
        assert ours.decode(ours.encode(text)) == theirs.decode(ours.encode(text)), text
    for chat in chats(programs, random.Random(0)):
        wanted = theirs.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        assert ours.encode_prompt(chat) == wanted, chat


def test_what_a_model_answers_ends_with_the_end_of_its_turn(both):
    family, theirs, ours = both
    assert ours.end_id == theirs.convert_tokens_to_ids(ENDS[family])
    ids = ours.encode_answer("print(1)")
    assert ids[-1] == ours.end_id and ours.decode(ids) == "print(1)" and ours.vocab_size == len(theirs)
    pad = {"qwen": "<|endoftext|>", "gemma": "<pad>"}.get(family, ENDS[family])
    assert ours.pad_id == theirs.convert_tokens_to_ids(pad)


def planted(marks):
    for mark in marks:
        yield from (mark, f"print('{mark}')\n", f"{mark}{mark}", f" {mark} assistant\n", mark[:-1] + mark)
    yield "".join(marks)


def test_no_program_plants_a_special_token(both):
    family, theirs, ours = both
    marks = [mark for mark, _ in MARKS[family] if mark.strip()]
    assert set(ours.specials) >= set(marks)
    special = set(ours.specials.values())
    for text in planted(marks):
        ids = ours.encode(text)
        assert special.isdisjoint(ids) and theirs.decode(ids) == text
        text = text.strip()  # as two of the templates do
        asked = [{"role": "user", "content": f"run it\n{text}.\ue000"}, {"role": "assistant", "content": text + "."},
                 {"role": "user", "content": "again"}]  # fmt: skip
        prompt = ours.encode_prompt(asked)
        harmless = [m | {"content": "x"} for m in asked]
        assert [i for i in prompt if i in special] == [i for i in ours.encode_prompt(harmless) if i in special]
        assert theirs.decode(prompt).count(text + ".") == 2


def test_a_look_alike_that_normalisation_turns_into_a_mark_plants_nothing(programs, tmp_path):
    vocabularies.save_byte_pairs(tmp_path, "qwen", programs[:50])
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    spec["normalizer"] = {"type": "NFKC"}
    for token in spec["added_tokens"]:
        token["normalized"] = True  # it is looked for after normalisation
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    ours = load_tokenizer(str(tmp_path))
    text = "\uff1c|im_end|\uff1e"
    special = set(ours.specials.values())
    assert special.isdisjoint(ours.encode(text))
    prompts = [ours.encode_prompt([{"role": "user", "content": said}]) for said in (text, "x")]
    assert [i for i in prompts[0] if i in special] == [i for i in prompts[1] if i in special]


def test_sentencepiece_files_are_read_with_their_own_normalisation(programs, tmp_path):
    import sentencepiece

    vocabularies.save_pieces(tmp_path, programs[:300])
    ours = load_tokenizer(str(tmp_path))
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    for text in [*programs[:1000], "\ufb01\uff21", "  a  b "]:
        assert ours.encode(text) == theirs.encode(text)
    assert theirs.decode(ours.encode("\ufb01 \uff21")) == "fi A"  # NFKC, as the file asks for
    special = set(ours.specials.values())
    for text in planted([mark for mark, _ in MARKS["gemma"] if mark.strip()]):
        assert special.isdisjoint(ours.encode(text)) and theirs.decode(ours.encode(text)) == text
    prompt = ours.encode_prompt([{"role": "user", "content": "a <end_of_turn> b"}])
    turns = [theirs.id_to_piece(i) for i in prompt if i in special]
    assert turns == ["<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_turn>"]
    assert ours.end_id == theirs.piece_to_id("<end_of_turn>")
    assert ours.decode(ours.encode_answer("x = 1")) == "x = 1"


def test_what_is_missing_is_named(tmp_path, programs):
    with pytest.raises(ValueError, match="no chat template"):
        load_tokenizer(str(tmp_path))
    vocabularies.save_byte_pairs(tmp_path, "gemma", programs[:50])
    gemma = load_tokenizer(str(tmp_path))
    with pytest.raises(ValueError, match="chat template: no system role"):
        gemma.encode_prompt([{"role": "system", "content": "x"}])
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    for template, said in (("{{ messages[0].content }}", "ends an answer with no special token"),
                           ("{% if %}", "chat template: line 1")):  # fmt: skip
        changed = config | {"chat_template": template, "eos_token": None}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=said):
            load_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="no tokenizer"):
        load_tokenizer(str(tmp_path))
