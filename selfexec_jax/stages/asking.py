"""Who answers in an evaluation, and how it is asked."""

from __future__ import annotations

from selfexec_jax.rollout.endpoint import Chat, Endpoint
from selfexec_jax.self_execution import Asking
from selfexec_jax.stages import model as models
from selfexec_jax.stages.checks import check_votes
from selfexec_jax.stages.shared_engine import SharedEngine
from selfexec_jax.stages.workdir import Workdir


def who_answers(config, workdir: Workdir) -> tuple:
    """The engine, its tokenizer, the name of its parameters, and the run's own model where that is asked."""
    e = config.eval
    if e.endpoint:
        if config.tasks.template != "paper":
            raise ValueError("eval.endpoint: a served model needs questions in words; set tasks.template=paper")
        if workdir.hosts.count > 1:
            raise ValueError("eval.endpoint: a served model is asked by one host; leave --hosts out")
        served = Endpoint(e.endpoint, e.endpoint_model, workdir.data / "endpoint.jsonl", e.endpoint_at_once)
        return SharedEngine(served, workdir.hosts), Chat(), "served", None
    loaded = models.load(config, workdir)
    policy = "rl" if config.rl.steps and loaded.has("rl") else "sft"
    params = loaded.params(policy)
    if not loaded.has(policy):
        policy = "pretrained"
    return SharedEngine(loaded.engine(), workdir.hosts).load(params, 0), loaded.tokenizer, policy, loaded


def asks_of(config) -> dict[str, Asking]:
    e, t = config.eval, config.tasks
    pieces = t.max_chunks if t.chunk_chars else 1
    check_votes(config)
    return {
        "solve": Asking(t.template, e.temperature, e.top_p, e.max_new_tokens),
        "simulate": Asking(t.template, e.simulate_temperature, e.top_p, e.max_new_tokens, pieces, e.chunk_votes),
    }
