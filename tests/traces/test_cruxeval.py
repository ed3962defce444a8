"""The 800 functions of CRUXEval: traced they give the recorded outputs, and their narrations check."""

import ast
import json
import os
from pathlib import Path

import pytest

from selfexec_jax.traces import STYLES, check_claims, narrate, parse_claims

_DATA = Path(os.environ.get("SELFEXEC_DATA") or Path(__file__).parents[3] / "shared" / "data")


def _samples():
    file = _DATA / "cruxeval.jsonl"
    if not file.exists():
        pytest.skip("cruxeval.jsonl is not there; set SELFEXEC_DATA to the folder that holds it")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_traced_outputs_and_narrations(traced):
    samples = _samples()
    wrong = []
    for sample in samples:
        run = traced(sample["code"], call=f"f({sample['input']})")
        if run.error or run.trace.stop or run.value != ast.literal_eval(sample["output"]):
            wrong.append((sample["id"], "output"))
        for style in (name for name, style in STYLES.items() if style.of == "steps"):
            narration = narrate(run.trace, style)
            check = check_claims(parse_claims(narration.text, style), run.trace, style)
            if not check.ok or ast.literal_eval(narration.output) != ast.literal_eval(sample["output"]):
                wrong.append((sample["id"], style, check))
    assert len(samples) == 800
    assert wrong == []
