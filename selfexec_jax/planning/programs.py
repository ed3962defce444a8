"""The programs of a run, compiled for a slice of TPUs that need not be there, and what each costs a chip."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from selfexec_jax.configs.shapes import SHAPES
from selfexec_jax.model import hf
from selfexec_jax.model.architectures import read_config
from selfexec_jax.model.attention import kernel_of
from selfexec_jax.model.cache import empty_cache
from selfexec_jax.model.config import ModelConfig
from selfexec_jax.model.decoding import decoding_config, decoding_params, decoding_shardings
from selfexec_jax.model.sharding import batch_sharding, make_mesh, mesh_of
from selfexec_jax.model.transformer import Transformer, init_params
from selfexec_jax.planning import arithmetic
from selfexec_jax.planning.chips import Slice
from selfexec_jax.planning.costs import Costs, costs_of, summed
from selfexec_jax.planning.hlo import parse
from selfexec_jax.rollout import decode
from selfexec_jax.train import packing, sft, update
from selfexec_jax.train.gradients import Gradients
from selfexec_jax.train.state import (
    TrainState,
    abstract_state,
    model_config,
    runtime_fields,
    trainable,
    with_longer_rope,
)


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A program on one chip: what it costs, and the bytes that it needs beside what is kept from step to step."""

    name: str
    costs: Costs
    kernels_s: float  # of attention's kernel, at the chip's rate
    temporary: int
    code: int
    outputs: Any  # shapes of what it gives, and how the compiler divides them

    @property
    def seconds(self) -> float:
        return self.costs.seconds + self.kernels_s

    @property
    def limit(self) -> str:
        """What takes most of its time."""
        c = self.costs
        if c.network_s > c.busy_s + c.exposed_s + self.kernels_s:
            return "network"
        parts = {"arithmetic": c.compute_s + self.kernels_s, "memory": c.busy_s - c.compute_s, "network": c.exposed_s}
        return max(parts, key=parts.get)


class TooLarge(Exception):
    """A program that the compiler gives up on: it needs more memory than a chip has."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is compiled for: a config, the shape of its model in training and in the engine, their meshes."""

    config: object
    cfg: ModelConfig
    sampler: ModelConfig
    where: Slice
    mesh: Mesh
    lane: Mesh

    @property
    def model(self) -> Transformer:
        return Transformer(self.cfg, self.mesh)

    def compiled(self, name: str, lower: Callable, mesh: Mesh, kernels: float = 0.0, is_kept: bool = False) -> Compiled:
        """kernels: operations of attention's kernel that one chip does; is_kept: what it gives is kept, and counted."""
        try:
            lowered = lower()
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            used = re.search(r"Used (\S+) of (\S+) hbm", str(error))
            used = used or re.search(r"\((\S+)\) exceeds available HBM \((\S+)\)", str(error))
            raise TooLarge(f"{name} takes {used[1]} of {used[2]}" if used else f"{name}: {error}") from None
        coordinates = [tuple(device.coords) for device in mesh.devices.flat]
        memory = compiled.memory_analysis()
        costs = costs_of(parse(compiled.as_text()), self.where, coordinates)
        beyond = 0 if is_kept else max(memory.output_size_in_bytes - memory.alias_size_in_bytes, 0)
        outputs = jax.tree.map(
            lambda t, sharding: jax.ShapeDtypeStruct(t.shape, t.dtype, sharding=sharding),
            lowered.out_info, compiled.output_shardings,
        )  # fmt: skip
        return Compiled(
            name, costs, kernels / self.where.chip.bf16_flops, memory.temp_size_in_bytes + beyond,
            memory.generated_code_size_in_bytes, outputs,
        )  # fmt: skip


def shape_of(config) -> ModelConfig:
    """The decoder that a config trains: of its checkpoint, of `plan.shape`, or of its own `model` section."""
    if config.init_from:
        shape = hf.load_config(config.init_from, **runtime_fields(config))
    elif config.plan.shape:
        if config.plan.shape not in SHAPES:
            raise ValueError(f"plan.shape={config.plan.shape!r} is none of {', '.join(SHAPES)}")
        shape = read_config(SHAPES[config.plan.shape], "configs/shapes.py")
        shape = dataclasses.replace(shape, **runtime_fields(config))
    else:
        return model_config(config, config.text.vocab_size)
    return with_longer_rope(shape, config.model.rope_scale)


def setting_of(config, where: Slice) -> Setting:
    """Raises ValueError where the config's meshes do not divide the slice, or the model's heads, or where a lane of the
    engine would be what the slice cannot run."""
    if config.rollout.tensor > 1 and where.chip.axes == 2 and where.n_chips > where.chips_a_host:
        raise ValueError(
            f"rollout.tensor={config.rollout.tensor}: {where.chip.name} chips of several hosts run a program one by one"
            " or all together; set it to 1"
        )
    alone = {"chips_per_host_bounds": (1, 1, 1)} if where.n_chips == 1 else {}
    devices = topologies.get_topology_desc(platform="tpu", topology_name=where.topology, **alone).devices
    mesh = make_mesh(config.mesh.fsdp, config.mesh.tensor, config.mesh.context, devices=devices)
    tensor = config.rollout.tensor
    cfg, lane = shape_of(config), make_mesh(tensor=tensor, devices=devices[:tensor])
    return Setting(config, cfg, decoding_config(cfg, tensor), where, mesh, lane)


def bytes_a_chip(tree) -> int:
    """Of arrays that lie as their shardings say."""
    return sum(t.dtype.itemsize * math.prod(t.sharding.shard_shape(t.shape)) for t in jax.tree.leaves(tree))


def sft_programs(s: Setting) -> tuple[list[Compiled], dict[str, int]]:
    """A micro-batch of SFT of long rows, one of short rows if there are such, and the optimizer's step; and the bytes
    of what they keep on a chip."""
    knobs = s.config.sft
    tx = sft.make_optimizer(knobs)
    _, _, target = abstract_state(s.model, tx, 0, s.mesh)
    gradients = sft.make_update(s.model, tx, target, s.mesh).gradients
    tokens = sft.rows_of(knobs, s.mesh) * knobs.row_tokens
    shapes = [(tokens // row, row) for row in (knobs.row_tokens, knobs.short_row_tokens) if row]
    return _update_programs(s, "SFT", gradients, target, shapes, ("scale",))


def rl_programs(s: Setting) -> tuple[list[Compiled], dict[str, int]]:
    """A micro-batch of an update of RL of long rows, one of short rows if there are such, and the optimizer's step; and
    the bytes of what they keep on a chip."""
    knobs = s.config.rl
    tx = update.make_optimizer(knobs)
    _, _, target = abstract_state(s.model, tx, 0, s.mesh)
    gradients = update.make_learner(s.model, tx, knobs, target, s.mesh).gradients
    shapes = [(counts[0], row) for row, counts in packing.row_shapes(knobs, s.mesh).items()]
    compiled, kept = _update_programs(s, "RL", gradients, target, shapes, packing.FLOATS)
    return compiled, kept | ({"policy before RL": bytes_a_chip(target.params)} if knobs.kl else {})


def _update_programs(
    s: Setting, name: str, gradients: Gradients, target: TrainState, shapes: Sequence[tuple[int, int]],
    floats: Sequence[str],
) -> tuple[list[Compiled], dict[str, int]]:  # fmt: skip
    grads, programs = trainable(target.params), []
    for rows, tokens in shapes:
        batch = _batch(s, rows, tokens, packing.INTS) | _batch(s, rows, tokens, floats, jnp.float32)
        lower = functools.partial(gradients.add.of(rows).lower, target.params, grads, batch)
        kernels = _kernels(s, rows * tokens, tokens, True)
        programs.append(s.compiled(f"{name} micro-batch, rows of {tokens}", lower, s.mesh, kernels))
    programs.append(s.compiled(f"{name} optimizer", lambda: gradients.apply.lower(target, grads), s.mesh))
    return programs, _state(target) | {"gradients": bytes_a_chip(grads)}


def rollout_programs(s: Setting) -> tuple[list[Compiled], dict[str, int]]:
    """A prefill of the longest prompts and one step of decoding, and the bytes of what they keep on a chip."""
    knobs = s.config.rollout
    cfg, mesh = s.sampler, s.lane
    model = Transformer(cfg, mesh)
    whole, heads = NamedSharding(mesh, P()), NamedSharding(mesh, P(None, "tensor"))
    placed = lambda t, sharding: jax.ShapeDtypeStruct(t.shape, t.dtype, sharding=sharding)  # noqa: E731
    params = jax.eval_shape(lambda: init_params(Transformer(s.cfg), jax.random.key(0)))
    params = jax.eval_shape(functools.partial(decoding_params, cfg=s.cfg, tensor=knobs.tensor), params)
    params = jax.tree.map(placed, params, decoding_shardings(params, mesh))
    lanes = max(s.where.chips_a_host // knobs.tensor, 1)  # of a host, whose engine has the config's slots
    classes = [(n // lanes, length) for n, length in knobs.short_slots]
    slots = knobs.slots // lanes
    classes.append((slots - sum(n for n, _ in classes), knobs.cache_length))
    caches = []
    for n, length in classes:
        empty = jax.eval_shape(functools.partial(empty_cache, cfg, n, length, knobs.int8_cache))
        caches.append(jax.tree.map(lambda t: placed(t, heads), empty))
    state = {name: jax.ShapeDtypeStruct((slots,), dtype, sharding=whole) for name, dtype in decode.FIELDS.items()}
    state["key"] = jax.ShapeDtypeStruct((slots, 2), jnp.uint32, sharding=whole)
    number = jax.ShapeDtypeStruct((), jnp.int32)
    lengths = tuple(length for _, length in classes)
    longest = max((b for b in knobs.prompt_buckets if b < knobs.cache_length), default=knobs.cache_length)
    rows = max(1, knobs.prefill_tokens // longest)
    prompts = jax.ShapeDtypeStruct((rows, longest), jnp.int32, sharding=whole)
    kernels = rows * longest * arithmetic.kernels(cfg, longest, False) / knobs.tensor
    prefill = functools.partial(decode.prefill.lower, model, params, prompts, knobs.int8_cache)
    step = functools.partial(
        decode.decode.lower, model, params, caches, state, lengths, knobs.steps_per_dispatch, number, False, number
    )
    if cfg.attention == "splash":
        for layer in range(cfg.period()):
            kernel_of(cfg, longest, cfg.window(layer), mesh)
    with jax.set_mesh(mesh):
        programs = [
            s.compiled("prefill", prefill, mesh, kernels),
            s.compiled("decoding, a token a slot", step, mesh),
        ]
    return programs, {"weights of the sampler": bytes_a_chip(params), "cache": bytes_a_chip(caches)}


def reshard(s: Setting) -> list[Compiled]:
    """The way of the weights from the trainer's devices to every lane's, as `Engine.load` has it: cast where they are,
    then sent one by one."""
    tensor = s.config.rollout.tensor
    prepare = functools.partial(decoding_params, cfg=s.cfg, tensor=tensor)
    given = hf.target_of(s.model, mesh=s.mesh)
    cast = s.compiled("weights cast for the sampler", lambda: jax.jit(prepare).lower(given), s.mesh)
    lanes = decoding_shardings(cast.outputs, Mesh(s.mesh.devices.reshape(-1, tensor), ("lane", "tensor")))
    parts = []
    for (array, target), n in Counter(zip(*map(jax.tree.leaves, (cast.outputs, lanes)), strict=True)).items():
        send = jax.jit(lambda a: a, out_shardings=target)
        parts.append((s.compiled("weights to the sampler", lambda: send.lower(array), s.mesh, is_kept=True), n))  # noqa: B023
    largest = max((part for part, _ in parts), key=lambda part: part.temporary)
    return [cast, dataclasses.replace(largest, costs=summed([(part.costs, n) for part, n in parts]))]


def _batch(s: Setting, rows: int, tokens: int, names: Sequence[str], dtype=jnp.int32) -> dict:
    one = jax.ShapeDtypeStruct((rows, tokens), dtype, sharding=batch_sharding(mesh_of(rows, s.mesh)))
    return dict.fromkeys(names, one)


def _kernels(s: Setting, tokens: int, row: int, is_training: bool) -> float:
    return tokens * arithmetic.kernels(s.cfg, row, is_training) / s.where.n_chips


def _state(target) -> dict[str, int]:
    return {"parameters": bytes_a_chip(target.params), "optimizer": bytes_a_chip(target.opt)}
