"""The command that takes models home."""

import json

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from families import miniature  # noqa: E402

from selfexec_jax.tools import convert  # noqa: E402


def test_a_checkpoint_in_another_dtype(tmp_path, capsys):
    miniature("gemma3_text").save_pretrained(tmp_path / "a")
    (tmp_path / "a" / "tokenizer.json").write_text("{}")
    assert convert.main(["--from", f"{tmp_path}/a", "--to", f"{tmp_path}/b", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["dtype"] == "bfloat16" and found["stage"] is None
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "b")
    assert again.dtype == torch.bfloat16 and found["parameters"] == again.num_parameters()
    assert (tmp_path / "b" / "tokenizer.json").read_text() == "{}"
    wanted = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "a").to(torch.bfloat16)
    for name, weight in wanted.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


@pytest.mark.parametrize(
    ("source", "said"),
    [("nowhere", "neither a run nor a Hugging Face checkpoint"), ("other", "model_type='opt' is none of")],
)
def test_bad_input_is_one_line(tmp_path, capsys, source, said):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"model_type": "opt"}))
    assert convert.main(["--from", f"{tmp_path}/{source}", "--to", f"{tmp_path}/b"]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "b").exists()


def test_nothing_is_overwritten(tmp_path, capsys):
    miniature("qwen2").save_pretrained(tmp_path / "a")
    before = (tmp_path / "a" / "config.json").read_text()
    assert convert.main(["--from", f"{tmp_path}/a", "--to", f"{tmp_path}/a"]) == 2
    assert "holds a checkpoint" in capsys.readouterr().err and (tmp_path / "a" / "config.json").read_text() == before
