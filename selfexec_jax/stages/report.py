"""Stage 5: report.json, report.md and report.html out of what the other stages left."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import sys

from selfexec_jax.evals.report import write_report
from selfexec_jax.stages import watch
from selfexec_jax.stages.metrics import read_metrics
from selfexec_jax.stages.workdir import Workdir

STAGES = ("problems", "sft", "rl", "belief", "eval")
_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "sentencepiece", "numpy")


def run(config, workdir: Workdir) -> dict:
    """Writes the report; returns where it lies. Raises ValueError when the eval stage has not run."""
    if not workdir.is_done("eval"):
        raise ValueError(f"{workdir.root}: its model was not evaluated; run the eval stage first")
    found = json.loads((workdir.data / "eval.json").read_text())
    facts = {stage: workdir.facts(stage) for stage in STAGES}
    curves = read_metrics(workdir)
    report = {
        "meta": {
            "config": config.name + (f":{config.ablation}" if config.ablation else ""),
            "seed": config.seed,
            "machine": {"cpus": os.cpu_count(), "platform": platform.platform(), "processor": platform.machine()},
            "versions": {"python": sys.version.split()[0]} | {p: importlib.metadata.version(p) for p in _PACKAGES},
            "seconds": {stage: f["seconds"] for stage, f in facts.items() if "seconds" in f},
            "tokens": {
                "sft": int(sum(c.get("tokens", 0) for c in curves if c["stage"] == "sft")),
                "rl": int(sum(c.get("sampled_tokens", 0) for c in curves if c["stage"] == "rl")),
                **{stage: facts[stage]["tokens"] for stage in ("belief", "eval") if "tokens" in facts[stage]},
            },
            "counts": {k: v for k, v in facts["problems"].items() if k != "seconds"}
            | {
                "candidate_runs_before_choice": found["runs_before_choice"],
                "too_long_to_be_asked": facts["eval"].get("too_long", 0),
            },
            "K": config.eval.candidates,
            "date": datetime.date.today().isoformat(),
        },
        "results": found["results"],
        "comparisons": found["comparisons"],
        "tables": found["tables"] | watch.tables(workdir, curves),
    }
    page = write_report(workdir.root, report, curves, found["examples"])
    return {"report": str(page)}
