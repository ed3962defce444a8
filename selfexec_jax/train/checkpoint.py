"""Checkpoints with orbax: the whole state on one side, small JSON (data position, counters) on the other."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import flax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from selfexec_jax.hosts import ALONE, Hosts
from selfexec_jax.train.checksum import checksums
from selfexec_jax.train.state import TrainState

log = logging.getLogger(__name__)

T = TypeVar("T")

class Checkpoints:
    """The checkpoints of one stage, in a directory or a bucket that all hosts see; of several, all call alike.

    They are written while training goes on. A half-written one is never taken for a whole one, and one whose arrays are
    not what they were when they were saved is passed over for the one before. keep: how many stay, the newest.
    """

    def __init__(self, directory: str | Path | epath.Path, keep: int = 2, hosts: Hosts = ALONE):
        path = epath.Path(directory)
        self._directory = path if "://" in str(path) else path.resolve()
        self._hosts = hosts
        # Read by these and not by the manager, which waits for other hosts that may have failed to read.
        self._of_state, self._of_arrays = ocp.StandardCheckpointHandler(), ocp.PyTreeCheckpointHandler()
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

        Checkpoints of that step and of later ones that are there already, from before a kill, are replaced.
        """
        self.wait()
        for later in [s for s in self._manager.all_steps() if s >= step]:  # of a time that was left, or damaged
            self._manager.delete(later)
        extra = json.loads(json.dumps({"checksums": checksums(state), "extra": extra}))  # as it is now
        items = {"state": ocp.args.StandardSave(state), "extra": ocp.args.JsonSave(extra)}
        if arrays is not None:
            items["arrays"] = ocp.args.PyTreeSave(arrays)
        if not self._manager.save(step, args=ocp.args.Composite(**items)):
            raise RuntimeError(f"{self._directory}/{step}: orbax did not save it")

    def wait(self) -> None:
        """Until all that was saved is on disk."""
        self._manager.wait_until_finished()

    def restore(self, target: TrainState) -> tuple[TrainState, dict, dict[str, np.ndarray]] | None:
        """State, extra and arrays of the newest whole checkpoint, the state laid out as `target` (shapes, types and
        shardings); None when there is none at all.

        Raises ValueError with one line for a checkpoint of another model, and where all are damaged.
        """

        def read(step: Path) -> tuple:
            self._check(step, target.params)
            told = json.loads((step / "extra" / "metadata").read_text())
            arrays = self._of_arrays.restore(step / "arrays") if (step / "arrays").exists() else None
            state = self._of_state.restore(step / "state", args=ocp.args.StandardRestore(target))
            return (state, told.get("extra"), arrays), told, state

        return self._newest(read)

    def restore_params(self, target: dict) -> dict:
        """Only the parameters of the newest whole checkpoint, laid out as `target`; raises as `restore` does."""

        def read(step: Path) -> tuple:
            self._check(step, target)
            told, item = json.loads((step / "extra" / "metadata").read_text()), {"params": target}
            how = ocp.checkpoint_utils.construct_restore_args(item)
            params = self._of_arrays.restore(
                step / "state", args=ocp.args.PyTreeRestore(item=item, restore_args=how, partial_restore=True)
            )["params"]
            as_saved = {name: a for name, a in params.items() if a.dtype == jnp.float32}  # what training keeps them in
            return params, told, _Params(as_saved)

        found = self._newest(read)
        if found is None:
            raise ValueError(f"{self._directory}: no checkpoint there; train it first or name another directory")
        return found

    def _newest(self, read: Callable[[Path], tuple[T, dict, object]]) -> T | None:
        """What the newest checkpoint gives that every host can read; None when there is none. `read` talks to no other
        host; it gives the value, what was noted of it, and the arrays to compare with that."""
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            found, wrong = None, ""
            try:
                found, told, arrays = read(self._directory / str(step))
            except OtherModel:
                raise
            except Exception as error:  # orbax and what is below it have many
                wrong = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            wrongs = self._hosts.gather(f"{self._directory.name} {step}", wrong)
            if not any(wrongs):
                if "checksums" not in told:
                    raise ValueError(f"{self._directory}/{step}: of an older version of this program")
                sums = checksums(arrays)  # together, and the same on all hosts
                wrongs = [f"{name} is not what was saved" for name in sums if told["checksums"].get(name) != sums[name]]
            if not any(wrongs):
                return found
            log.warning("%s/%d: damaged (%s)", self._directory, step, next(filter(None, wrongs)))
        if steps:
            raise ValueError(f"{self._directory}: every checkpoint there is damaged; move it away to begin again")
        return None

    def _check(self, step: Path, params: dict) -> None:
        """Compares names and shapes with what lies on disk, before orbax starts what an error would leave hanging."""
        stored = self._of_arrays.metadata(step / "state").tree["params"]
        for name in sorted(stored.keys() | params.keys()):
            there = tuple(stored[name].shape) if name in stored else "missing"
            here = params[name].shape if name in params else "missing"
            if there != here:
                raise OtherModel(
                    f"{step}: not a checkpoint of this model: {name} is {there} there and {here} in"
                    " config.model; set config.model as it was trained"
                )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_) -> None:
        self.wait()
        self._manager.close()


@flax.struct.dataclass
class _Params:
    """Parameters in the place where a state has them: the paths are the same."""

    params: dict


class OtherModel(ValueError):
    """A checkpoint of a model of another shape."""
