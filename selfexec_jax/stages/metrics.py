"""Metrics of every step: metrics.jsonl, TensorBoard, Weights & Biases; and how far a stage has come."""

from __future__ import annotations

import json
import secrets
import sys
import time
from pathlib import Path

from selfexec_jax.stages.workdir import Workdir, write_whole

_FLUSHED_S = 60.0  # a mounted bucket takes the whole file again each time


class Metrics:
    """Appends a line a step to metrics.jsonl and TensorBoard events, and tells Weights & Biases if a project of it is
    named: the first host does. Raises ValueError where that needs an extra which is not there."""

    def __init__(self, workdir: Workdir, stage: str, wandb_project: str = ""):
        self._stage, self._path = stage, workdir.root / "metrics.jsonl"
        self._events = _Events(workdir.root / "events" / stage) if workdir.hosts.is_first else None
        self._wandb = _wandb_run(workdir, stage, wandb_project) if wandb_project and workdir.hosts.is_first else None

    def write(self, step: int, values: dict) -> None:
        if self._events is None:
            return
        line = {"stage": self._stage, "step": step, "time": time.time()} | values
        with open(self._path, "a", encoding="utf-8") as file:  # on a mounted bucket a line is there when it is closed
            file.write(json.dumps(line) + "\n")
        scalars = {}
        for key, value in values.items():
            if isinstance(value, dict):  # of each host
                scalars |= {f"{key}/{name}/{i}": v for name, found in value.items() for i, v in enumerate(found)}
            else:
                scalars[key] = value
        self._events.write(step, scalars)
        if self._wandb is not None:
            self._wandb.log(scalars, step=step)

    def close(self) -> None:
        if self._events is not None:
            self._events.close()
        if self._wandb is not None:
            self._wandb.finish()


class _Events:
    """A stage's events for TensorBoard, written at once, an event a step. tensorboardX's SummaryWriter hands them to a
    thread through a queue, and where an interrupt falls into that, closing it waits for ever."""

    def __init__(self, folder: Path):
        sys.modules.setdefault("torch", None)  # tensorboardX would import it for seconds, to know its tensors
        try:
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto import event_pb2, summary_pb2
        finally:
            if sys.modules["torch"] is None:
                del sys.modules["torch"]
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        folder.mkdir(parents=True, exist_ok=True)
        self._file = EventsWriter(str(folder / "events"))
        self._flushed = time.monotonic()

    def write(self, step: int, scalars: dict[str, float]) -> None:
        values = [self._summary.Value(tag=key, simple_value=value) for key, value in scalars.items()]
        self._file.write_event(self._event(wall_time=time.time(), step=step, summary=self._summary(value=values)))
        if time.monotonic() > self._flushed + _FLUSHED_S:
            self._file.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        self._file.close()


def _wandb_run(workdir: Workdir, stage: str, project: str):
    try:
        import wandb
    except ImportError:
        raise ValueError(f"wandb={project}: needs the extra: pip install 'selfexec_jax[wandb]'") from None
    root = workdir.root.resolve()
    kept = root / "wandb" / f"{stage}.id"  # the same run directory goes on in the same run there
    if not kept.exists():
        write_whole(kept, secrets.token_hex(8).encode())
    config = json.loads((root / "config.json").read_text())
    return wandb.init(
        project=project, id=kept.read_text(), name=f"{root.name}/{stage}", group=root.name, resume="allow",
        config=config, dir=str(root),
    )  # fmt: skip


def reached(workdir: Workdir, stage: str) -> str:
    """In words, how far a stage has come that was cut off, and from where it will go on."""
    steps = [line["step"] for line in read_metrics(workdir) if line["stage"] == stage]
    folder = workdir.checkpoints / stage
    saved = [int(p.name) for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []
    if not steps and not saved:
        return stage
    return f"{stage} at step {max([*steps, *saved])}, saved at step {max(saved, default=0)}"


def read_metrics(workdir: Workdir) -> list[dict]:
    """The last line of each (stage, step), in order; a line cut short by a kill is left out."""
    path = workdir.root / "metrics.jsonl"
    lines: dict[tuple, dict] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        lines[line["stage"], line["step"]] = line
    return sorted(lines.values(), key=lambda m: (m["stage"], m["step"]))
