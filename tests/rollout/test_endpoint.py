"""A served model behind the engine's contract: against a server on this machine that can be slow, busy and cut off."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from served import serving

from selfexec_jax.problems import Problem, Test
from selfexec_jax.problems.datasets import save_problems
from selfexec_jax.rollout import Request
from selfexec_jax.rollout.endpoint import Chat, Endpoint

pytest.importorskip("openai")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with serving() as server:
        yield server


def request(text, **fields):
    return Request(tuple(Chat().encode_prompt([{"role": "user", "content": text}])), **fields)


def test_samples_come_in_order_with_seeds_of_their_own(server, tmp_path):
    endpoint = Endpoint(server.url, "m", tmp_path / "answers.jsonl")
    found = endpoint.generate([request("a\u2581", n=3, seed=7), request("b", seed=(1 << 40) + 1, max_new_tokens=3)])
    assert [[sample.text for sample in row] for row in found] == [["a\u2581/7", "a\u2581/8", "a\u2581/9"], ["b/1"]]
    assert [(len(s.tokens), s.finish_reason) for row in found for s in row] == [(4, "stop")] * 3 + [(3, "stop")]
    body = next(body for body in server.asked if body["seed"] == 9)
    assert (body["model"], body["temperature"], body["top_p"], body["max_tokens"]) == ("m", 1.0, 1.0, 256)
    (cut,) = endpoint.generate([request("abcdef", max_new_tokens=4)])[0]
    assert (cut.text, cut.finish_reason) == ("abcd", "length")


def test_what_was_answered_is_not_asked_again(server, tmp_path):
    file = tmp_path / "answers.jsonl"
    requests = [request(text, n=2) for text in "abc"]
    first = Endpoint(server.url, "m", file).generate(requests)
    assert len(server.asked) == 6
    assert Endpoint(server.url, "m", file).generate(requests) == first and len(server.asked) == 6
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:4]) + lines[4][:9])  # killed while it wrote the fifth
    assert Endpoint(server.url, "m", file).generate(requests) == first and len(server.asked) == 8
    Endpoint(server.url, "other", file).generate(requests[:1])
    assert len(server.asked) == 10
    file.write_text("my notes\n")
    with pytest.raises(ValueError, match="answers.jsonl:1: not an answer"):
        Endpoint(server.url, "m", file)


def test_trouble_is_tried_again_and_then_told(server):
    server.trouble = [(429, "slow down"), (500, "oops"), (503, "busy"), (429, "slow down")]
    endpoint = Endpoint(server.url, "m")
    assert endpoint.generate([request("a", seed=3)])[0][0].text == "a/3"
    server.trouble = [(400, "This model's maximum context length is 10 tokens")]
    sample = endpoint.generate([request("a")])[0][0]
    assert (sample.text, sample.finish_reason, sample.tokens) == ("", "too_long", ())
    server.trouble = [(400, "no such parameter")]
    with pytest.raises(RuntimeError, match="the server refuses a request: .*no such parameter"):
        endpoint.generate([request("b")])
    server.trouble = [(401, "bad key")] * 9
    with pytest.raises(RuntimeError, match="no answer of m: .*bad key"):
        endpoint.generate([request("c")])
    with pytest.raises(RuntimeError, match="no answer of m"):
        Endpoint("http://127.0.0.1:9/v1", "m", retries=0).generate([request("a")])


def test_who_is_asked_to_end_does_not_wait_for_a_server(server):
    served, is_over, waited = threading.Event(), threading.Event(), []
    server.answer = lambda body: served.set() or str(waited.append(is_over.wait(60)))
    main = threading.get_ident()  # where a real Ctrl-C arrives; raised in another thread it would wake nobody
    threading.Thread(target=lambda: served.wait(30) and signal.pthread_kill(main, signal.SIGINT), daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            Endpoint(server.url, "m").generate([request("a", n=3)])
        assert not waited
    finally:
        is_over.set()


def test_a_missing_key_is_one_line(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(RuntimeError, match="http://x/v1: .*OPENAI_API_KEY"):
        Endpoint("http://x/v1", "m")


@functools.cache  # many candidates are the same program
def _output_of(source, stdin=""):
    done = subprocess.run([sys.executable, "-I", "-c", source], input=stdin, capture_output=True, text=True)
    return done.stdout.rstrip("\n")


def answers(problems):
    """Of a model that simulates without fault, solves every other time, and repairs what it is told is wrong."""

    def answer(body):
        asked = body["messages"][-1]["content"]
        if asked.startswith("Simulate"):
            if "Standard input" not in asked:
                source, call = re.search(r"```python\n(.*)\n```\n\nassert (.*) == \?\?$", asked, re.DOTALL).groups()
                value = _output_of(f"{source}\nprint(repr({call}))")
                return f"Line 1: it runs.\nassert {call} == {value}"
            source, stdin = re.search(
                r"```python\n(.*)\n```\n\nStandard input:\n```\n(.*)\n```$", asked, re.DOTALL
            ).groups()
            said = _output_of(source, stdin).replace("\\", "\\\\").replace("\n", "\\n")
            return f"Line 1: it runs.\n<output>{said}</output>"
        problem = next(p for p in problems if p["statement"] in asked)
        if asked.startswith("Solve"):
            return f"```python\n{problem['solutions'][0] if body['seed'] % 2 else problem['wrong_solutions'][0]}\n```"
        is_right = problem["solutions"][0].strip() in asked
        return "```\n#SUBMIT\n```" if is_right else f"```python\n{problem['solutions'][0]}\n```"

    return answer


ASKING = ["--config.tasks.template=paper", "--config.eval.candidates=4", "--config.eval.max_fixes=2",
          "--config.eval.bootstrap=200", "--config.eval.max_new_tokens=2000", "--config.rl.max_new_tokens=2000",
          "--config.eval.endpoint_model=m"]  # fmt: skip


def run(workdir, stages, *flags):
    command = [sys.executable, "-m", "selfexec_jax.main", "--config=configs/tiny.py", f"--workdir={workdir}"]
    environment = os.environ | {"SELFEXEC_DATA": "", "JAX_PLATFORMS": "cpu", "OPENAI_API_KEY": "none"}
    return subprocess.run([*command, *ASKING, *flags, f"--config.stages={stages}"], cwd=ROOT, env=environment,
                          capture_output=True, text=True, timeout=400)  # fmt: skip


def test_a_served_model_is_evaluated_from_end_to_end(server, tmp_path):
    flags = ["--config.problems.n_train=40", "--config.problems.n_heldout=12", "--config.problems.n_unseen=3",
             "--config.problems.real_data=/nowhere", "--config.text.vocab_size=400",
             f"--config.eval.endpoint={server.url}"]  # fmt: skip
    workdir = tmp_path / "run"
    done = run(workdir, "problems", *flags)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = (tmp_path / "run" / "data" / "heldout.jsonl").read_text() + (
        tmp_path / "run" / "data" / "unseen.jsonl"
    ).read_text()
    server.answer = answers([json.loads(line) for line in rows.splitlines()])
    done = run(workdir, "eval,report", *flags)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    results = {name: each["value"] for name, each in report["results"].items()}
    assert 0.2 < results["pass_at_1"] < 0.9 and results["pass_at_4"] > results["pass_at_1"]
    assert results["best_at_4_simulated"] == results["best_at_4_executed"] > results["pass_at_1"]
    assert results["self_rlef"] == 1 and results["output_prediction_served"] == 1
    assert report["results"]["self_rlef"]["tokens"] > 0
    asked = len(server.asked)
    (tmp_path / "run" / "done" / "eval.json").unlink()
    assert run(workdir, "eval", *flags).returncode == 0 and len(server.asked) == asked  # every answer was kept
    done = run(workdir, "eval", *flags, "--config.tasks.template=compact")
    assert done.returncode and "tasks.template" in done.stderr


CALLED = Problem(
    "twice", "Double the number.", "call", "f", public_tests=(Test("2", "4"), Test("-1", "-2")),
    private_tests=(Test("7", "14"), Test("'a'", "'aa'")), solutions=("def f(x):\n    return x * 2\n",),
    wrong_solutions=("def f(x):\n    return x + 2\n",),
)  # fmt: skip
READ = Problem(
    "echo", "Say it twice.", public_tests=(Test("a\n", "aa\n"),), private_tests=(Test("bc\n", "bcbc\n"),),
    solutions=("print(input() * 2)\n",), wrong_solutions=("print(input())\n",),
)  # fmt: skip


def test_a_named_benchmark_is_evaluated_instead_of_generated_problems(server, tmp_path):
    save_problems(tmp_path / "own.jsonl", [CALLED, READ])
    server.answer = answers([json.loads(line) for line in (tmp_path / "own.jsonl").read_text().splitlines()])
    rows = [{"problem": "a", "model": "m", "source": "def g(x):\n    return [x]", "call": "g(3)", "output": "[3]"},
            {"problem": "b", "model": "m", "source": "print(int(input()) + 1)", "stdin": "4\n", "output": "5\n"},
            {"problem": "b", "model": "m", "source": "print(1 / int(input()))", "stdin": "0\n",
             "output": "?"}]  # fmt: skip
    (tmp_path / "dmc_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {}
    for name in ("own", "dmc_out"):
        flags = [f"--config.eval.endpoint={server.url}", f"--config.eval.benchmark={name}",
                 f"--config.eval.benchmark_data={tmp_path}/{name}.jsonl"]  # fmt: skip
        done = run(tmp_path / name, "eval,report", *flags)
        assert done.returncode == 0, done.stderr[-2000:]
        found[name] = json.loads((tmp_path / name / "report.json").read_text())["results"]
    assert found["own"]["pass_at_4"] == {"value": 1, "low": 1, "high": 1, "n": 2} | {
        "tokens": found["own"]["pass_at_4"]["tokens"]
    }
    assert found["own"]["best_at_4_simulated"]["value"] == found["own"]["self_rlef"]["value"] == 1
    assert found["own"]["pass_at_1"]["value"] == 0.5 and found["own"]["output_prediction_served_own"]["n"] == 2
    assert "pass_at_1" not in found["dmc_out"] and found["dmc_out"]["output_prediction_served"]["n"] == 3
    assert found["dmc_out"]["output_prediction_served"]["value"] == pytest.approx(2 / 3)
    done = run(tmp_path / "inputs", "eval", *flags, "--config.eval.benchmark=cruxeval_i")
    assert done.returncode == 2 and "cruxeval_i asks for inputs" in done.stderr
