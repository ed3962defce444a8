"""Checkpoints with orbax: the whole state on one side, small JSON (data position, counters) on the other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from selfexec_jax.hosts import ALONE, Hosts
from selfexec_jax.train.checksum import checksums
from selfexec_jax.train.state import TrainState

log = logging.getLogger(__name__)

T = TypeVar("T")
_IN_PARAMS = "['params']"


class Checkpoints:
    """The checkpoints of one stage, in a directory or a bucket that all hosts see; of several, all call alike.

    They are written while training goes on. A half-written one is never taken for a whole one, and one whose arrays are
    not what they were when they were saved is passed over for the one before. keep: how many stay, the newest.
    """

    def __init__(self, directory: str | Path | epath.Path, keep: int = 2, hosts: Hosts = ALONE):
        path = epath.Path(directory)
        self._directory = path if "://" in str(path) else path.resolve()
        self._hosts = hosts
        name = self._directory.name  # two managers at work at once must not wait for each other's hosts
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                multiprocessing_options=ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=name),
            ),
        )

    def save(self, step: int, state: TrainState, extra: dict, arrays: dict[str, np.ndarray] | None = None) -> None:
        """Takes state, extra (JSON) and arrays of any shape for a step, and returns while they are being written.

        A checkpoint of that step that is there already, from before a kill, is replaced.
        """
        self._manager.wait_until_finished()
        if step in self._manager.all_steps():
            self._manager.delete(step)
        extra = {"checksums": checksums(state), "extra": extra}
        items = {"state": ocp.args.StandardSave(state), "extra": ocp.args.JsonSave(extra)}
        if arrays is not None:
            items["arrays"] = ocp.args.PyTreeSave(arrays)
        self._manager.save(step, args=ocp.args.Composite(**items))

    def restore(self, target: TrainState) -> tuple[TrainState, dict, dict[str, np.ndarray]] | None:
        """State, extra and arrays of the newest whole checkpoint, the state laid out as `target` (shapes, types and
        shardings); None when there is none at all.

        Raises ValueError with one line for a checkpoint of another model, and where all are damaged.
        """

        def read(step: int) -> tuple:
            self._check(step, target.params)
            items = {"state": ocp.args.StandardRestore(target), "extra": ocp.args.JsonRestore()}
            if (self._directory / str(step) / "arrays").exists():
                items["arrays"] = ocp.args.PyTreeRestore()
            found = self._manager.restore(step, args=ocp.args.Composite(**items))
            told = found["extra"]
            _compare(checksums(found["state"]), told["checksums"])
            return found["state"], told["extra"], found.get("arrays")

        return self._newest(read)

    def restore_params(self, target: dict) -> dict:
        """Only the parameters of the newest whole checkpoint, laid out as `target`; raises as `restore` does."""

        def read(step: int) -> dict:
            self._check(step, target)
            item = {"params": target}
            how = ocp.checkpoint_utils.construct_restore_args(item)
            state = ocp.args.PyTreeRestore(item=item, restore_args=how, partial_restore=True)
            found = self._manager.restore(step, args=ocp.args.Composite(state=state, extra=ocp.args.JsonRestore()))
            params = found["state"]["params"]
            as_saved = {name: a for name, a in params.items() if a.dtype == jnp.float32}  # what training keeps them in
            sums = checksums({"params": as_saved}) if as_saved else {}
            _compare({f".params{name.removeprefix(_IN_PARAMS)}": s for name, s in sums.items()},
                     found["extra"]["checksums"])  # fmt: skip
            return params

        found = self._newest(read)
        if found is None:
            raise ValueError(f"{self._directory}: no checkpoint there; train it first or name another directory")
        return found

    def _newest(self, read: Callable[[int], T]) -> T | None:
        """What the newest checkpoint gives that every host can read; None when there is none."""
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            found, wrong = None, ""
            try:
                found = read(step)
            except OtherModel:
                raise
            except Exception as error:  # orbax and what is below it have many
                wrong = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
            wrongs = self._hosts.gather(f"{self._directory.name} {step}", wrong)
            if not any(wrongs):
                return found
            log.warning("%s/%d: damaged (%s)", self._directory, step, next(filter(None, wrongs)))
        if steps:
            raise ValueError(f"{self._directory}: every checkpoint there is damaged; move it away to begin again")
        return None

    def _check(self, step: int, params: dict) -> None:
        """Compares names and shapes with what lies on disk, before orbax starts what an error would leave hanging."""
        path = self._directory / str(step) / "state"
        stored = ocp.PyTreeCheckpointer().metadata(path).item_metadata.tree["params"]
        for name in sorted(stored.keys() | params.keys()):
            there = tuple(stored[name].shape) if name in stored else "missing"
            here = params[name].shape if name in params else "missing"
            if there != here:
                raise OtherModel(
                    f"{self._directory}/{step}: not a checkpoint of this model: {name} is {there} there and {here} in"
                    " config.model; set config.model as it was trained"
                )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_) -> None:
        self._manager.wait_until_finished()
        self._manager.close()


def _compare(found: dict[str, int], saved: dict[str, int]) -> None:
    wrong = sorted(name for name, value in found.items() if saved.get(name) != value)
    if wrong:
        raise ValueError(f"{wrong[0]} is not what was saved")


class OtherModel(ValueError):
    """A checkpoint of a model of another shape."""
