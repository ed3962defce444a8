"""Runs the stages of a config: `python -m selfexec_jax.main --config=configs/tiny.py --workdir=runs/tiny`."""

from __future__ import annotations

import importlib
import logging
import sys
import time

import jax
from absl import app, flags
from ml_collections import config_flags

from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.train import stopping

STAGES = ("problems", "sft", "rl", "eval", "report")
_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, with an ablation after a colon.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run; made if need be, resumed if there.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    for name in ("absl", "jax", "orbax"):
        logging.getLogger(name).setLevel(logging.ERROR)
    config, workdir = _CONFIG.value, Workdir(_WORKDIR.value)
    wanted = [s for s in config.stages.split(",") if s]
    for stage in wanted:
        if stage not in STAGES:
            raise ValueError(f"config.stages: no stage {stage!r}; there are {','.join(STAGES)}")
    stopping.listen()
    workdir.open(config)
    if config.mesh.cpu_devices:
        jax.config.update("jax_num_cpu_devices", config.mesh.cpu_devices)
    for stage in (s for s in STAGES if s in wanted):
        if workdir.is_done(stage):
            logging.info("%s: done before", stage)
            continue
        logging.info("%s: starting", stage)
        started = time.monotonic()
        facts = importlib.import_module(f"selfexec_jax.stages.{stage}").run(config, workdir)
        seconds = time.monotonic() - started
        workdir.mark_done(stage, facts | {"seconds": round(seconds, 1)})
        logging.info("%s: done in %.0f s", stage, seconds)


def _parse(argv: list[str]) -> list[str]:
    """Flags; a bad one, a misspelt field or a row that no ablation has becomes a ValueError of one line."""
    try:
        return flags.FLAGS(argv)
    except (flags.Error, KeyError, AttributeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ValueError(lines[-1] if "Traceback" in str(error) else " ".join(lines)) from None


def run() -> None:
    """The command: bad input gives one line and exit code 2."""
    flags.mark_flags_as_required(["config", "workdir"])
    try:
        app.run(main, flags_parser=_parse)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command goes on from here\n")
        sys.exit(130)
    except stopping.Stopped as stopped:
        sys.stderr.write(f"{stopped}; the same command goes on from here\n")
        sys.exit(stopping.EXIT_CODE)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(2)


if __name__ == "__main__":
    run()
