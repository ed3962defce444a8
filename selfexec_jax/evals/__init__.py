"""How good is it, how sure are we, and what did it cost: estimators, intervals and the report of a run."""

from selfexec_jax.evals.metrics import bootstrap_ci, paired_bootstrap, pass_at_k, rank_score_at_k
from selfexec_jax.evals.report import load_report, write_report
from selfexec_jax.evals.terminal import result_table

__all__ = [
    "bootstrap_ci",
    "load_report",
    "paired_bootstrap",
    "pass_at_k",
    "rank_score_at_k",
    "result_table",
    "write_report",
]
