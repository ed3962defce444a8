"""Runs the stages of a config: `python -m selfexec_jax.main --config=configs/tiny.py --workdir=runs/tiny`."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time

import jax
from absl import app, flags
from ml_collections import config_flags

from selfexec_jax.hosts import ALONE, EXIT_CODE, Hosts, Lost, joining, supervising
from selfexec_jax.stages.checks import check
from selfexec_jax.stages.metrics import reached
from selfexec_jax.stages.origin import check_seed
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.train import stopping

STAGES = ("problems", "sft", "rl", "belief", "eval", "report")
_OF_ONE_HOST = ("problems", "report")  # no devices, and files that one writes
_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, with an ablation after a colon.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run; made if need be, resumed if there.")
_QUIET = flags.DEFINE_bool("quiet", False, "Say nothing but warnings and errors.")
_HOSTS = flags.DEFINE_string("hosts", "1", "How many processes the run has; auto: as the TPU pod or the cluster says.")
_HOST = flags.DEFINE_integer("host", 0, "Which of them this is, from 0.")
_COORDINATOR = flags.DEFINE_string("coordinator", f"127.0.0.1:{joining.PORT}", "HOST:PORT of host 0.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    level = logging.WARNING if _QUIET.value else logging.INFO
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr, force=True)
    for name in ("absl", "jax", "orbax"):
        logging.getLogger(name).setLevel(logging.ERROR)
    config = _CONFIG.value
    told = _COORDINATOR.value, _HOSTS.value, _HOST.value
    address, count, index = joining.where() if _HOSTS.value == "auto" else told
    if int(count) > 1 and not supervising.is_supervised():
        place = [f"--coordinator={address}", f"--hosts={count}", f"--host={index}"]
        command = [sys.executable, "-m", "selfexec_jax.main", *sys.argv[1:], *place]
        sys.exit(supervising.supervise(command, int(index)))
    wanted = [s for s in config.stages.split(",") if s]
    for stage in wanted:
        if stage not in STAGES:
            raise ValueError(f"config.stages: no stage {stage!r}; there are {','.join(STAGES)}")
    check(config)
    check_seed(config)
    stopping.listen()
    hosts = _hosts(config, address, int(count), int(index))
    try:
        workdir = Workdir(_WORKDIR.value, hosts)
        workdir.open(config)
        if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):  # a run that goes on compiles nothing again
            jax.config.update("jax_compilation_cache_dir", str(workdir.root.resolve() / "compiled"))
        for stage in (s for s in STAGES if s in wanted):
            _run(stage, config, workdir)
            hosts.wait(f"after {stage}")
    except BaseException as error:
        if hosts.count == 1:
            raise
        code, said = _ending(error)
        if code == 1:
            logging.exception("this host")
            time.sleep(config.hosts.lost_s + joining.HEAR_S)  # if it is that another is gone, this ends meanwhile
        hosts.leave(code, said)
        time.sleep(joining.HEAR_S)
        _end(code, said)
    if hosts.count > 1:
        jax.distributed.shutdown()  # waits for all
        hosts.leave(0, "done")


def _hosts(config, address: str, count: int, index: int) -> Hosts:
    """This host among the run's; with several, they find each other here, and so do their devices."""
    os.environ.setdefault("LIBTPU_INIT_ARGS", config.mesh.tpu_flags)
    if config.mesh.cpu_devices:
        jax.config.update("jax_num_cpu_devices", config.mesh.cpu_devices)
    if count == 1:
        return ALONE
    hosts = joining.join(address, count, index, config.hosts.join_s, config.hosts.lost_s)
    joining.start_devices(hosts, address, config.hosts.join_s)
    return hosts


def _run(stage: str, config, workdir: Workdir) -> None:
    if workdir.hosts.any(f"is {stage} done", workdir.is_done(stage)):
        logging.info("%s: done before", stage)
        return
    if stage in _OF_ONE_HOST and not workdir.hosts.is_first:
        return
    logging.info("%s: starting", stage)
    workdir.unmark(STAGES[STAGES.index(stage) + 1 :])  # they were made without it, and are to be made again
    started = time.monotonic()
    try:
        facts = importlib.import_module(f"selfexec_jax.stages.{stage}").run(config, workdir)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f" in {reached(workdir, stage)}") from None
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
    except (Exception, KeyboardInterrupt, stopping.Stopped) as error:
        code, said = _ending(error)
        if code == 1:
            raise
        sys.stderr.write(f"{said}\n")
        sys.exit(code)


def _ending(error: BaseException) -> tuple[int, str]:
    """The exit code of a run that ends with an error, and the one line to say; 1: nobody expected it."""
    if isinstance(error, KeyboardInterrupt):
        return 130, f"interrupted{error}; the same command goes on from here"
    if isinstance(error, (stopping.Stopped, Lost)):
        return EXIT_CODE, f"{error}; the same command goes on from here"
    if isinstance(error, (ValueError, OSError)):
        return 2, f"error: {' '.join(str(error).split())}"
    return 1, f"{type(error).__name__}: {error}"


def _end(code: int, said: str) -> None:
    """At once: on several hosts, what JAX does at the end of a process waits for processes that are gone."""
    sys.stderr.write(f"{said}\n")
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
