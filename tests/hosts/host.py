"""One host of a small run, for the tests: `python host.py WHAT HOST HOSTS DEVICES COORDINATOR FOLDER [UNTIL]`.

sft: 20 steps on packed rows, interrupted as step UNTIL begins. rl, replay: 20 steps on a toy question; with replay,
samples are drawn by an engine and written down, or taken from FOLDER/samples.json if that is there. Prints a line of
JSON a step.
"""

import contextlib
import dataclasses
import json
import sys
import time
from pathlib import Path

import jax

from selfexec_jax.configs import base
from selfexec_jax.hosts import ALONE, joining
from selfexec_jax.model import ModelConfig, Transformer
from selfexec_jax.model.sharding import make_mesh
from selfexec_jax.rollout import Engine, Sample
from selfexec_jax.train import data, rl, sft
from selfexec_jax.train.state import abstract_state
from selfexec_jax.train.update import make_optimizer
from tests.train.knobs import knobs
from tests.train.toy import Letters, Toy, prompts, right

STEPS = 20
SHAPE = ModelConfig(16, 16, 2, 2, 2, 8, 32, query_block=8)


def packed():
    """Updates of sixteen rows of examples of many lengths, in two micro-batches."""
    examples = [data.Example([2 + i % 5] * (1 + i % 7), [3 + (i * k) % 11 for k in range(1 + i % 6)])
                for i in range(100)]  # fmt: skip
    return data.PackedUpdates({"predict": examples}, {"predict": 1.0}, 16, 16, 0, 2, 8)


def told(line):
    print(json.dumps(line | {"time": time.monotonic()}), flush=True)


def run_sft(folder, hosts, until):
    def begins(step):
        if step == until:
            raise KeyboardInterrupt

    options = base.get_config().sft
    options.update({"steps": STEPS, "batch_rows": 16, "row_tokens": 16, "log_every": 1, "warmup_steps": 2,
                    "checkpoint_every": 5, "learning_rate": 1e-2})  # fmt: skip
    mesh = make_mesh(fsdp=2)  # over both hosts where there are two of two devices each
    print_line = lambda step, line: told({"step": step, "loss": line["loss"]})  # noqa: E731
    sft.train(options, Transformer(SHAPE, mesh), packed(), mesh, 0, folder / "sft", print_line, hosts=hosts,
              begins=begins)  # fmt: skip


class Replay:
    """Draws samples with an engine and writes them down, or gives those that were, by version and seed."""

    def __init__(self, engine, path):
        self._engine, self._path, self._told, self._version = engine, path, {}, 0
        if path.exists():
            self._told = json.loads(path.read_text())

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def load(self, params, version):
        self._version = version
        self._engine.load(params, version)

    def stream(self, requests):
        if self._path.exists():
            for i, request in enumerate(requests):
                for row in self._told[f"{self._version}/{request.seed}"]:
                    yield i, Sample(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()})
            return
        for i, sample in self._engine.stream(requests):
            told = self._told.setdefault(f"{self._version}/{requests[i].seed}", [])
            told.append(dataclasses.asdict(sample))
            yield i, sample

    def write(self):
        self._path.write_text(json.dumps(self._told))


def run_rl(folder, hosts, replays):
    options = knobs(
        steps=STEPS, prompts=6, group_size=8, max_new_tokens=4, learning_rate=1e-2, warmup_steps=1, grad_clip=1.0,
        weight={"toy": 1.0}, row_tokens=16, micro_tokens=128, checkpoint_every=4, staleness=1, updates=2,
        validate_every=10, validation_samples=2, normaliser="token", advantage="batch",
    )  # fmt: skip
    mesh = make_mesh(fsdp=2)
    model = Transformer(SHAPE, mesh)
    params = abstract_state(model, make_optimizer(options), 0, mesh)[0]().params
    toy = Toy(prompts(*([3 + i] * (2 + i) for i in range(6))),
              lambda prompt, turns: right(7 in turns[-1].sample.tokens), slow_s=0.02)  # fmt: skip
    toy.held_back = prompts((6, 5), (7, 5), (8, 5))
    engine = Engine(model, Letters(), slots=4 * jax.local_device_count(), cache_length=16, prompt_buckets=(8,),
                    prefill_tokens=32, steps_per_dispatch=2)  # fmt: skip
    if replays:
        engine = Replay(engine, folder / "samples.json")

    def log(step, line, groups):
        said = {"step": step, "reward": line.get("reward"), "grad_norm": line.get("grad_norm"),
                "kept": line.get("groups_kept"), "validation": line.get("validation"), "gap": line.get("logprob_gap"),
                "prompts": [g.prompt.name for g in groups],
                "answers": [[list(t.sample.tokens) for r in g.rollouts for t in r.turns] for g in groups]}  # fmt: skip
        told(said)

    rl.train(options, model, engine, lambda: params, mesh, 0, folder / "rl", toy, log, hosts)
    if replays and not (folder / "samples.json").exists():
        engine.write()


def main(what, host, count, devices, coordinator, folder, until=-1):
    jax.config.update("jax_num_cpu_devices", int(devices))
    hosts, folder = ALONE, Path(folder)
    if int(count) > 1:
        hosts = joining.join(coordinator, int(count), int(host), 60.0, 30.0)
        joining.start_devices(hosts, coordinator, 60.0)
    if what == "sft":
        with contextlib.suppress(KeyboardInterrupt):
            run_sft(folder, hosts, int(until))
    else:
        run_rl(folder, hosts, replays=what == "replay")
    if hosts.count > 1:
        jax.distributed.shutdown()
        hosts.leave(0, "done")


if __name__ == "__main__":
    main(*sys.argv[1:])
