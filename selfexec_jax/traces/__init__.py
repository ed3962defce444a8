"""What happened in a run, in words, and whether words about it are right."""

from selfexec_jax.traces.chunks import Chunk, chunks
from selfexec_jax.traces.claims import Check, FirstError, check_claims, claims_held, parse_claims, right_lines
from selfexec_jax.traces.contradictions import contradictions
from selfexec_jax.traces.departure import departure
from selfexec_jax.traces.limit import TOO_LONG, limited
from selfexec_jax.traces.narrate import STYLES, Narration, narrate, recorded_for
from selfexec_jax.traces.steps import Step, steps

__all__ = [
    "STYLES",
    "TOO_LONG",
    "Check",
    "Chunk",
    "FirstError",
    "Narration",
    "Step",
    "check_claims",
    "chunks",
    "claims_held",
    "contradictions",
    "departure",
    "limited",
    "narrate",
    "parse_claims",
    "recorded_for",
    "right_lines",
    "steps",
]
