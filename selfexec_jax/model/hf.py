"""Checkpoints of Hugging Face transformers in and out, tensor by tensor.

| ours, stacked over layers | theirs |
|---|---|
| embed VxD, head VxD, final_norm D | model.embed_tokens, lm_head, model.norm |
| q DxNxH, k and v DxKxH, o NxHxD (and biases) | self_attn.{q,k,v,o}_proj, transposed |
| q_norm, k_norm H | self_attn.{q,k}_norm |
| gate and up DxF, down FxD | mlp.{gate,up,down}_proj, transposed |
| attn_norm, mlp_norm D | input_layernorm, post_attention_layernorm |
| attn_norm, post_attn_norm, mlp_norm, post_mlp_norm D (Gemma) | input_, post_attention_, pre_ and post_feedforward_layernorm |
"""  # noqa: E501

from __future__ import annotations

import dataclasses
import functools
import json
import posixpath
from collections.abc import Callable, Iterator

import fsspec
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from selfexec_jax.model import safetensors
from selfexec_jax.model.architectures import UnsupportedModel, family_of, read_config, write_config
from selfexec_jax.model.config import ModelConfig
from selfexec_jax.model.safetensors import Entry, TensorFileError
from selfexec_jax.model.sharding import tree_shardings
from selfexec_jax.model.transformer import Transformer, adapted, init_params

DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
_SHARD_BYTES = 5 * 10**9  # a file of an export holds at most so many
# Nothing that a forward pass reads: precomputed positions, and the image half of Gemma 3.
_SKIPPED = ("rotary_emb.inv_freq", "vision_tower.", "multi_modal_projector.")
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a tensor of theirs goes: a parameter, the layer in its stack, and its own shape."""

    param: str
    layer: int | None
    shape: tuple[int, ...]
    is_turned: bool  # theirs is out x in, ours in x out

    def ours(self, tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return (tensor.T if self.is_turned else tensor).reshape(shape)

    def theirs(self, array: np.ndarray) -> np.ndarray:
        if not self.is_turned:
            return array.reshape(self.shape)
        return array.reshape(self.shape[::-1]).T


def places(cfg: ModelConfig) -> dict[str, _Place]:
    """Every tensor of a checkpoint by its name, in the order of the model."""
    D, H, F, V = cfg.d_model, cfg.head_dim, cfg.d_ff, cfg.vocab_size
    widths = {"q": cfg.n_heads * H, "k": cfg.n_kv_heads * H, "v": cfg.n_kv_heads * H}
    found = {"model.embed_tokens.weight": _Place("embed", None, (V, D), False)}
    norms = {"attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    if cfg.post_norms:
        norms = {"attn_norm": "input_layernorm", "post_attn_norm": "post_attention_layernorm",
                 "mlp_norm": "pre_feedforward_layernorm", "post_mlp_norm": "post_feedforward_layernorm"}  # fmt: skip
    for i in range(cfg.n_layers):
        layer = f"model.layers.{i}"
        for ours, width in widths.items():
            found[f"{layer}.self_attn.{ours}_proj.weight"] = _Place(ours, i, (width, D), True)
            if cfg.qkv_bias:
                found[f"{layer}.self_attn.{ours}_proj.bias"] = _Place(f"{ours}_bias", i, (width,), False)
        found[f"{layer}.self_attn.o_proj.weight"] = _Place("o", i, (D, widths["q"]), True)
        if cfg.o_bias:
            found[f"{layer}.self_attn.o_proj.bias"] = _Place("o_bias", i, (D,), False)
        if cfg.qk_norm:
            for ours in ("q_norm", "k_norm"):
                found[f"{layer}.self_attn.{ours}.weight"] = _Place(ours, i, (H,), False)
        for ours, shape in (("gate", (F, D)), ("up", (F, D)), ("down", (D, F))):
            found[f"{layer}.mlp.{ours}_proj.weight"] = _Place(ours, i, shape, True)
        for ours, theirs in norms.items():
            found[f"{layer}.{theirs}.weight"] = _Place(ours, i, (D,), False)
    found["model.norm.weight"] = _Place("final_norm", None, (D,), False)
    if not cfg.tied:
        found["lm_head.weight"] = _Place("head", None, (V, D), False)
    return found


# ---- in ------------------------------------------------------------------------------------------------------
def load_config(folder: str, **runtime) -> ModelConfig:
    """The decoder of a checkpoint folder; `runtime` replaces fields that are not the checkpoint's (blocks, dtypes)."""
    path = posixpath.join(folder, "config.json")
    try:
        config = json.loads(_read(path))
    except FileNotFoundError:
        raise UnsupportedModel(f"{path}: no such file; give the folder of a Hugging Face checkpoint") from None
    except ValueError:
        raise UnsupportedModel(f"{path}: not JSON") from None
    if not isinstance(config, dict):
        raise UnsupportedModel(f"{path}: not a JSON object")
    if config.get("quantization_config"):
        raise UnsupportedModel(f"{path}: quantization_config: quantised checkpoints are not supported")
    return dataclasses.replace(read_config(config, path), **runtime)


def load(
    folder: str, dtype: str = "float32", mesh=None, progress: Callable = iter, **runtime
) -> tuple[Transformer, dict]:
    """The decoder and the parameters of a checkpoint folder, on a disk or in a bucket (`gs://...`).

    Parameters are laid out on the mesh as training has them (one device without a mesh) and read a tensor at a time,
    so that a host holds at most twice the largest tensor beside them. progress: wraps the list of tensors that is gone
    through. Raises UnsupportedModel for the config, TensorFileError for the files and for a tensor that is missing,
    superfluous, of another shape or not finite.
    """
    model = Transformer(load_config(folder, **runtime))
    return model, load_params(folder, model, dtype, mesh, progress)


def load_params(
    folder: str, model: Transformer, dtype: str = "float32", mesh=None, progress: Callable = iter, seed: int = 0
) -> dict:
    """The parameters of a checkpoint folder for a model that `load_config` describes; adapters are fresh, of a seed."""
    target = target_of(model, dtype, mesh)
    found = _matched(folder, places(model.cfg))
    params: dict[str, jax.Array] = {}
    for name in progress(list(found)):
        place, entry = found[name]
        whole = target[place.param]
        if place.layer is None:
            params[place.param] = _put(entry, place, whole.shape, whole.sharding, whole.dtype)
            continue
        if place.param not in params:
            zeros = functools.partial(jnp.zeros, whole.shape, whole.dtype)
            params[place.param] = jax.jit(zeros, out_shardings=whole.sharding)()
        part = _put(entry, place, whole.shape[1:], _of_a_layer(whole.sharding), whole.dtype)
        params[place.param] = _set_layer(params[place.param], part, place.layer)
    adapters = {name: whole.sharding for name, whole in target.items() if name not in params}

    def fresh() -> dict:
        made = init_params(model, jax.random.key(seed))
        return {name: made[name] for name in adapters}

    return params | (jax.jit(fresh, out_shardings=adapters)() if adapters else {})


def target_of(model: Transformer, dtype: str = "float32", mesh=None) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and shardings of a model's parameters."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r}; choose from {', '.join(DTYPES)}")
    shapes = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    alone = SingleDeviceSharding(jax.local_devices()[0])
    shardings = tree_shardings(shapes, mesh) if mesh is not None else {name: alone for name in shapes}
    return {name: jax.ShapeDtypeStruct(shape.shape, DTYPES[dtype], sharding=shardings[name])
            for name, shape in shapes.items()}  # fmt: skip


def _matched(folder: str, wanted: dict[str, _Place]) -> dict[str, tuple[_Place, Entry]]:
    """Each wanted tensor with where it lies, in the files' order; the first that does not fit is an error."""
    there = {}
    for name, entry in safetensors.entries(folder).items():
        if any(mark in name for mark in _SKIPPED):
            continue
        plain = name.replace("model.language_model.", "model.").replace("language_model.", "")
        there[plain if plain in wanted else name] = entry
    if "lm_head.weight" not in wanted:
        there.pop("lm_head.weight", None)  # a copy of the tied embedding
    missing = next((name for name in wanted if name not in there), None)
    if missing:
        raise TensorFileError(f"{folder}: {missing}: missing")
    extra = next((name for name in there if name not in wanted), None)
    if extra:
        raise TensorFileError(f"{there[extra].path}: {extra}: no parameter of this model")
    for name, entry in there.items():
        if entry.shape != wanted[name].shape:
            shapes = f"shape {list(entry.shape)}, not {list(wanted[name].shape)}"
            raise TensorFileError(f"{entry.path}: {name}: {shapes} as config.json has it")
        if entry.dtype not in (*map(np.dtype, DTYPES.values()), np.dtype(np.float64)):
            raise TensorFileError(f"{entry.path}: {name}: {entry.dtype} are no weights; convert it to BF16, F16 or F32")
    return {name: (wanted[name], entry) for name, entry in there.items()}


def _put(entry: Entry, place: _Place, shape, sharding, dtype) -> jax.Array:
    array = _on_devices(place.ours(entry.read(), shape), sharding)
    array = array if array.dtype == dtype else _cast(array, np.dtype(dtype))
    if not _is_finite(array):  # after the cast, which float16 may be too narrow for
        raise TensorFileError(f"{entry.path}: {entry.name}: holds NaN or infinity")
    return array


def _on_devices(tensor: np.ndarray, sharding) -> jax.Array:
    return jax.make_array_from_callback(tensor.shape, sharding, lambda index: np.ascontiguousarray(tensor[index]))


@jax.jit
def _is_finite(array: jax.Array) -> jax.Array:
    return jnp.isfinite(array).all()


@functools.partial(jax.jit, static_argnums=1)
def _cast(array: jax.Array, dtype: np.dtype) -> jax.Array:
    return array.astype(dtype)


@functools.partial(jax.jit, donate_argnums=0)
def _set_layer(stack: jax.Array, layer: jax.Array, i: int) -> jax.Array:
    return stack.at[i].set(layer)


def _of_a_layer(sharding):
    """The sharding of one layer of a stack."""
    return NamedSharding(sharding.mesh, P(*sharding.spec[1:])) if isinstance(sharding, NamedSharding) else sharding


# ---- out -----------------------------------------------------------------------------------------------------
def save(
    folder: str, model: Transformer, params: dict, dtype: str | None = None, like: str = "", progress: Callable = iter
) -> None:
    """Writes a folder that transformers loads: config.json, safetensors of at most 5 GB, tokenizer files of `like`.

    dtype: of the tensors, by default that of the parameters. like: the folder that the model, or its tokenizer alone,
    came from; its config is kept as far as it holds. Adapters are added to what they adapt. The folder must not hold a
    checkpoint yet; config.json is written last, so that a folder with one is whole. Of several processes all must call
    it, and the first writes.
    """
    cfg, dtype = model.cfg, dtype or str(params["embed"].dtype)
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r}; choose from {', '.join(DTYPES)}")
    family_of(cfg)
    fs, root = fsspec.core.url_to_fs(folder)
    if fs.exists(posixpath.join(root, "config.json")):
        raise ValueError(f"{folder}: holds a checkpoint; give another folder")
    is_first = jax.process_index() == 0
    if is_first:
        fs.makedirs(root, exist_ok=True)
    files = _files(places(cfg), np.dtype(DTYPES[dtype]).itemsize)
    names = iter(progress([name for names in files.values() for name in names]))
    for file, wanted in files.items():
        tensors = (_theirs(params, cfg, wanted[name], DTYPES[dtype]) for name, _ in zip(wanted, names, strict=False))
        if is_first:
            shapes = {name: place.shape for name, place in wanted.items()}
            safetensors.write(posixpath.join(folder, file), shapes, np.dtype(DTYPES[dtype]), tensors)
        else:
            for _ in tensors:
                pass
    if is_first:
        _write_small_files(folder, cfg, dtype, like, files)


def _files(found: dict[str, _Place], itemsize: int) -> dict[str, dict[str, _Place]]:
    """Tensors by the file that holds them."""
    parts: list[dict[str, _Place]] = [{}]
    size = 0
    for name, place in found.items():
        n = itemsize * int(np.prod(place.shape))
        if size + n > _SHARD_BYTES and parts[-1]:
            parts.append({})
            size = 0
        parts[-1][name] = place
        size += n
    if len(parts) == 1:
        return {"model.safetensors": parts[0]}
    return {f"model-{i:05}-of-{len(parts):05}.safetensors": part for i, part in enumerate(parts, 1)}


def _theirs(params: dict, cfg: ModelConfig, place: _Place, dtype) -> np.ndarray:
    names = [name for name in params if name == place.param or name.startswith(f"{place.param}_lora_")]
    part = {name: params[name] if place.layer is None else params[name][place.layer] for name in names}
    array = adapted(part, place.param, cfg)
    if jax.process_count() > 1:
        array = multihost_utils.process_allgather(array, tiled=True)
    return place.theirs(np.asarray(array)).astype(dtype)


def _write_small_files(folder: str, cfg: ModelConfig, dtype: str, like: str, files: dict) -> None:
    if len(files) > 1:
        index = {"metadata": {}, "weight_map": {name: file for file, names in files.items() for name in names}}
        _write(posixpath.join(folder, "model.safetensors.index.json"), json.dumps(index, indent=1).encode())
    config = write_config(cfg, dtype)
    if like:
        for name, data in _tokenizer_files(like):
            _write(posixpath.join(folder, name), data)
        theirs = _config_in(like)
        if theirs.get("model_type") == config["model_type"]:
            theirs = {name: value for name, value in theirs.items() if name not in ("torch_dtype", "dtype")}
            if read_config(theirs, like) == read_config(config, folder):
                config = theirs | {"torch_dtype": dtype}
            else:  # other positions than it came with, say
                config = {name: v for name, v in theirs.items() if name != "rope_parameters"} | config
    _write(posixpath.join(folder, "config.json"), json.dumps(config, indent=1).encode())


def _tokenizer_files(folder: str) -> Iterator[tuple[str, bytes]]:
    for name in _TOKENIZER_FILES:
        try:
            yield name, _read(posixpath.join(folder, name))
        except FileNotFoundError:
            continue


def _config_in(folder: str) -> dict:
    """The config of a checkpoint; none for a folder that holds a tokenizer alone."""
    try:
        return json.loads(_read(posixpath.join(folder, "config.json")))
    except FileNotFoundError:
        return {}


def _read(path: str) -> bytes:
    fs, place = fsspec.core.url_to_fs(path)
    return fs.cat_file(place)


def _write(path: str, data: bytes) -> None:
    with fsspec.open(path, "wb") as out:
        out.write(data)
