"""Checkpoints of transformers in and out: the same logits, choices and gradients, and every fault by its name."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import safetensors.numpy  # noqa: E402
from families import FAMILIES, miniature  # noqa: E402

from selfexec_jax.model import Transformer, hf  # noqa: E402
from selfexec_jax.model.architectures import UnsupportedModel, read_config  # noqa: E402
from selfexec_jax.model.safetensors import TensorFileError  # noqa: E402
from selfexec_jax.rollout import Engine, Request  # noqa: E402

LENGTH = 96  # twelve windows, three times the length that rotary positions were scaled for


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, tmp_path_factory):
    """(their model, its folder, our model, its parameters)."""
    theirs = miniature(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    theirs.save_pretrained(folder)
    return theirs, folder, *hf.load(str(folder))


def tokens(seed, *shape):
    return np.random.default_rng(seed).integers(2, 160, shape)


def test_logits_and_gradients_are_theirs(pair):
    theirs, _, model, params = pair
    given = tokens(0, 2, LENGTH)
    asked = torch.tensor(given)
    logits = theirs(asked).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, 160), asked[:, 1:].reshape(-1))
    loss.backward()

    def ours(params):
        logits = model.apply({"params": params}, jnp.asarray(given))
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits[:, :-1]), jnp.asarray(given)[:, 1:, None], -1)
        return -picked.mean(), logits

    grads, found = jax.jit(jax.grad(ours, has_aux=True))(params)
    assert float(logits.detach().abs().max()) > 2  # sharp enough to differ
    np.testing.assert_allclose(found, logits.detach().numpy(), atol=1e-4)
    weights = dict(theirs.named_parameters())
    for name, place in hf.places(model.cfg).items():
        grad = np.asarray(grads[place.param] if place.layer is None else grads[place.param][place.layer])
        wanted = weights[name].grad.numpy()
        assert np.linalg.norm(place.theirs(grad) - wanted) < 1e-3 * np.linalg.norm(wanted), name


class Endless:
    """A tokenizer of a model that never ends by itself."""

    pad_id, end_id = 0, -1

    def decode(self, ids) -> str:
        return ""


def test_greedy_continuations_are_theirs(pair):
    theirs, _, model, params = pair
    given = tokens(1, 2, 40)
    with torch.no_grad():
        wanted = theirs.generate(
            torch.tensor(given), max_new_tokens=64, min_new_tokens=64, do_sample=False, eos_token_id=None
        ).numpy()
    buckets, devices = (40, 64), jax.devices()[:1]
    engine = Engine(model, Endless(), slots=2, cache_length=104, prompt_buckets=buckets, devices=devices)
    asked = [Request(tuple(row), max_new_tokens=64, temperature=0.0) for row in given.tolist()]
    for row, (sample,) in zip(wanted, engine.load(params, 0).generate(asked), strict=True):
        assert sample.tokens == tuple(row[40:].tolist())


def test_an_export_is_loaded_by_transformers_and_its_import_is_bit_exact(pair, tmp_path):
    theirs, folder, model, params = pair
    for like in ("", str(folder)):
        out = tmp_path / f"out{bool(like)}"
        hf.save(str(out), model, params, like=like)
        again = transformers.AutoModelForCausalLM.from_pretrained(out, attn_implementation="eager").float()
        given = torch.tensor(tokens(2, 1, LENGTH))
        with torch.no_grad():
            assert float((again(given).logits - theirs(given).logits).abs().max()) < 1e-5
        other, back = hf.load(str(out))
        assert other.cfg == model.cfg
        assert all((back[name] == params[name]).all() for name in params) and back.keys() == params.keys()
    with pytest.raises(ValueError, match="holds a checkpoint"):
        hf.save(str(out), model, params)


def test_layers_in_a_scan_and_dtypes(pair, tmp_path):
    _, folder, model, params = pair
    given = jnp.asarray(tokens(3, 1, 32))
    if model.cfg.post_norms and model.cfg.qk_norm:  # Gemma 3: a pattern of windows that does not come out even
        scanned, same = hf.load(str(folder), scan_layers=True, remat="layer")
        wanted, found = (jax.jit(m.apply)({"params": p}, given) for m, p in ((model, params), (scanned, same)))
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    hf.save(str(tmp_path / "half"), model, params, dtype="bfloat16")
    _, half = hf.load(str(tmp_path / "half"), dtype="bfloat16")
    assert all(half[name].dtype == ml_dtypes.bfloat16 for name in half)
    assert (half["q"] == params["q"].astype("bfloat16")).all()


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    """A folder of a few small files with an index, as large checkpoints come."""
    folder = tmp_path_factory.mktemp("sharded")
    miniature("qwen2").save_pretrained(folder, max_shard_size="60KB")
    return folder


def test_sharded_files_on_a_mesh_are_laid_out_as_in_training(qwen):
    script = f"""
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from selfexec_jax.model import hf
from selfexec_jax.model.sharding import make_mesh, tree_shardings
mesh = make_mesh(2, 2)
_, alone = hf.load({str(qwen)!r})
model, params = hf.load({str(qwen)!r}, mesh=mesh)
for name, sharding in tree_shardings(params, mesh).items():
    assert params[name].sharding == sharding, name
    np.testing.assert_array_equal(np.asarray(params[name]), np.asarray(alone[name]))
parts = params["gate"].addressable_shards
assert len(parts) == 8 and parts[0].data.size * 4 == params["gate"].size
hf.save({str(qwen)!r} + "/out", model, params)
_, back = hf.load({str(qwen)!r} + "/out")
np.testing.assert_array_equal(np.asarray(back["down"]), np.asarray(alone["down"]))
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


def test_a_bucket_is_as_good_as_a_disk(qwen):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(qwen), "/bucket/model", recursive=True)
    model, params = hf.load("memory://bucket/model")
    _, wanted = hf.load(str(qwen))
    assert all((params[name] == wanted[name]).all() for name in wanted)
    hf.save("memory://bucket/out", model, params)
    assert (hf.load("memory://bucket/out")[1]["k"] == wanted["k"]).all()


NAME = "model.layers.0.self_attn.k_proj.weight"


def spoiled(folder, change):
    miniature("qwen2").save_pretrained(folder)
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(NAME), f"{NAME}: missing"),
        (lambda t: t.update(more=t[NAME]), "model.safetensors: more: no parameter"),
        (lambda t: t.update({NAME: t[NAME][:, :-1].copy()}), rf"{NAME}: shape \[32, 63\], not \[32, 64\]"),
        (lambda t: t[NAME].__setitem__((0, 0), np.nan), f"{NAME}: holds NaN"),
        (lambda t: t.update({NAME: t[NAME].astype(np.int32)}), f"{NAME}: int32 are no weights"),
    ],
)  # fmt: skip
def test_a_bad_tensor_is_named(tmp_path, change, said):
    spoiled(tmp_path, change)
    with pytest.raises(TensorFileError, match=said):
        hf.load(str(tmp_path))


def test_a_bad_file_is_named(tmp_path, qwen):
    miniature("qwen2").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    for data, said in ((whole[:-1], "the file ends before"), (whole[:6], "its header does not fit"),
                       (b"\xff" * 100, "its header does not fit"), (b"\x05" + b"\0" * 7 + b"hello" + whole, "no JSON"),
                       (whole.replace(b'"F32"', b'"F8_"'), "F8_ is not read")):  # fmt: skip
        file.write_bytes(data)
        with pytest.raises(TensorFileError, match=f"model.safetensors: .*{said}"):
            hf.load(str(tmp_path))
    file.unlink()
    with pytest.raises(TensorFileError, match="holds neither"):
        hf.load(str(tmp_path))
    index = json.loads((qwen / "model.safetensors.index.json").read_text())
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(TensorFileError, match="model-00001-of-.*: no such file"):
        hf.load(str(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(UnsupportedModel, match="config.json: no such file"):
        hf.load(str(tmp_path))


@pytest.mark.parametrize(
    ("family", "field", "value"),
    [
        ("llama", "hidden_act", "gelu"), ("llama", "mlp_bias", True), ("llama", "new_feature", 3),
        ("qwen3", "rope_scaling", {"rope_type": "yarn", "factor": 4.0}),
        ("llama", "rope_scaling", {"rope_type": "linear", "factor": 4.0, "beta": 1}),
        ("gemma3_text", "use_bidirectional_attention", True), ("cwm", "layer_types", ["full_attention"]),
        ("qwen2", "layer_types", ["chunked_attention"] * 4), ("llama", "model_type", "opt"),
        ("llama", "vocab_size", None), ("llama", "rope_scaling", {"rope_type": "linear"}),
    ],
)  # fmt: skip
def test_what_the_decoder_does_not_do_is_named(family, field, value):
    config = json.loads(miniature(family).config.to_json_string()) | {field: value}
    config.pop("rope_parameters", None)
    with pytest.raises(UnsupportedModel, match=rf"here: .*{field}"):
        read_config(config, "here")


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "gemma3_text"])
def test_what_a_config_leaves_out_is_as_transformers_has_it(family):
    """Which layers have windows, and how long."""
    said = {"model_type": family, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4,
            "num_hidden_layers": 30, "num_key_value_heads": 2, "vocab_size": 64}  # fmt: skip
    said |= {"use_sliding_window": True, "sliding_window": 64} if family != "gemma3_text" else {}
    theirs = transformers.AutoConfig.for_model(**said)
    wanted = tuple(theirs.sliding_window if kind == "sliding_attention" else 0 for kind in theirs.layer_types)
    assert read_config(said, "here").windows == wanted and len(set(wanted)) == 2


def test_configs_as_the_published_checkpoints_have_them():
    """Fields as of Qwen2.5-7B, Llama-3.1-8B, CWM and Gemma-3-4B (text and images) on the hub."""
    qwen = read_config({
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "hidden_act": "silu", "hidden_size": 3584,
        "intermediate_size": 18944, "max_position_embeddings": 131072, "max_window_layers": 28, "model_type": "qwen2",
        "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "sliding_window": 131072, "tie_word_embeddings": False, "use_sliding_window": False,
        "use_mrope": False, "vocab_size": 152064,
    }, "here")  # fmt: skip
    assert (qwen.head_dim, qwen.windows, qwen.qkv_bias, qwen.rope.base, qwen.tied) == (128, (), True, 1e6, False)
    llama = read_config({
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128256, "rope_theta": 500000.0,
        "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    }, "here")  # fmt: skip
    assert llama.rope.scaling == "llama3" and llama.rope.base == 500_000 and not llama.qkv_bias
    cwm = read_config({
        "model_type": "cwm", "hidden_size": 6144, "intermediate_size": 21504, "num_attention_heads": 48,
        "num_hidden_layers": 64, "num_key_value_heads": 8, "vocab_size": 128256,
    }, "here")  # fmt: skip
    assert cwm.windows[:5] == (0, 8192, 8192, 8192, 0) and cwm.rope.factor == 16 and cwm.rope.base == 1e6
    gemma = read_config({"model_type": "gemma3", "vision_config": {}, "text_config": {
        "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
    }}, "here")  # fmt: skip
    assert (gemma.n_heads, gemma.n_kv_heads, gemma.head_dim, gemma.vocab_size) == (8, 4, 256, 262_208)
    assert gemma.windows[:7] == (1024,) * 5 + (0, 1024) and gemma.rope.base == 1e6 and gemma.rope.factor == 8
    assert gemma.local_rope.base == 10_000 and gemma.tied and Transformer(gemma).cfg.period() == 6
