"""The shipped model, evaluated with what goes beyond the paper: belief, searches by it, and repairs told of what is
believed."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["--config=configs/tiny.py:believed_feedback", "--config.stages=problems,belief,eval,report",
         "--config.init_from=selfexec_jax/checkpoints/tiny", "--config.problems.n_train=40",
         "--config.problems.n_heldout=16", "--config.problems.n_unseen=0", "--config.belief.problems=16",
         "--config.belief.candidates=4", "--config.eval.candidates=4", "--config.eval.more_candidates=0",
         "--config.eval.prediction_samples=1", "--config.eval.max_fixes=1",
         "--config.eval.bootstrap=200", "--config.rollout.slots=32", "--config.rollout.prompt_buckets=(128,256)",
         ]  # fmt: skip


def test_what_belief_brings_is_measured_and_reported(tmp_path):
    done = subprocess.run([sys.executable, "-m", "selfexec_jax.main", *FLAGS, f"--workdir={tmp_path}"], cwd=ROOT,
                          capture_output=True, text=True, timeout=900)  # fmt: skip
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    found = json.loads((tmp_path / "data" / "eval.json").read_text())
    results = found["results"]
    assert found["runs_before_choice"] == 0
    assert 0 < results["self_rlef_believed"]["tokens"] <= 1.5 * results["self_rlef"]["tokens"]
    gained = results["self_rlef_believed"]["value"] - results["single_turn"]["value"]
    assert abs(results["fixed_believed"]["value"] - results["broken_believed"]["value"] - gained) < 1e-3
    assert gained > 0  # a third of first programs is wrong, and most of those can be repaired
    assert {"best_at_4_believed", "search", "self_rlef_executed"} <= set(results)
    assert found["comparisons"]["self_rlef_believed_over_self_rlef"]["n"] == 16
    executed = [row["of all runs"] for row in found["tables"]["searches"] if row["strategy"].startswith("search exec")]
    assert executed == sorted(executed) and executed[0] < 0.2  # the less a run may gain, the more are executed
    for name in ("report.md", "report.html"):
        assert "Self-RLEF believed" in (tmp_path / name).read_text()
