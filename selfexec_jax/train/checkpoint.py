"""Checkpoints with orbax: the whole state on one side, small JSON (data position, counters) on the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp

from selfexec_jax.train.state import TrainState


class Checkpoints:
    """The checkpoints of one stage, newest last. A half-written one is never taken for a whole one."""

    def __init__(self, directory: str | Path, keep: int = 1):
        self._directory = Path(directory).resolve()
        self._manager = ocp.CheckpointManager(
            self._directory, options=ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        )

    def save(self, step: int, state: TrainState, extra: dict, arrays: dict[str, np.ndarray] | None = None) -> None:
        """Writes state, extra (JSON) and arrays of any shape for a step; returns when they are whole on disk.

        A checkpoint of that step that is there already, from before a kill, is replaced.
        """
        if step in self._manager.all_steps():
            self._manager.delete(step)
        items = {"state": ocp.args.StandardSave(state), "extra": ocp.args.JsonSave(extra)}
        if arrays is not None:
            items["arrays"] = ocp.args.PyTreeSave(arrays)
        self._manager.save(step, args=ocp.args.Composite(**items))

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the newest checkpoint."""
        args = ocp.args.Composite(arrays=ocp.args.PyTreeRestore())
        return self._manager.restore(self._manager.latest_step(), args=args)["arrays"]

    def restore(self, target: TrainState) -> tuple[TrainState, dict] | None:
        """The newest checkpoint laid out as `target` (shapes and shardings), or None when there is none.

        Raises ValueError with one line for a checkpoint of another model.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        self._check(step, target.params)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(target), extra=ocp.args.JsonRestore())
        found = self._manager.restore(step, args=args)
        return found["state"], found["extra"]

    def restore_params(self, target: dict) -> dict:
        """Only the parameters of the newest checkpoint, laid out as `target`."""
        step = self._manager.latest_step()
        if step is None:
            raise ValueError(f"{self._directory}: no checkpoint there; train it first or name another directory")
        self._check(step, target)
        item = {"params": target}
        args = ocp.args.Composite(
            state=ocp.args.PyTreeRestore(
                item=item, restore_args=ocp.checkpoint_utils.construct_restore_args(item), partial_restore=True
            )
        )
        return self._manager.restore(step, args=args)["state"]["params"]

    def _check(self, step: int, params: dict) -> None:
        """Compares names and shapes with what lies on disk, before orbax starts what an error would leave hanging."""
        path = self._directory / str(step) / "state"
        stored = ocp.PyTreeCheckpointer().metadata(path).item_metadata.tree["params"]
        for name in sorted(stored.keys() | params.keys()):
            there = tuple(stored[name].shape) if name in stored else "missing"
            here = params[name].shape if name in params else "missing"
            if there != here:
                raise ValueError(
                    f"{self._directory}/{step}: not a checkpoint of this model: {name} is {there} there and {here} in"
                    " config.model; set config.model as it was trained"
                )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()
