"""Every row of the table changes what it says, runs, and can be compared with its base."""

import contextlib
import functools
import json
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import psutil
import pytest
from absl.flags import FlagValues
from ml_collections import ConfigDict, config_flags

from selfexec_jax.configs import ablations, claims, qwen2p5_3b, qwen2p5_7b, tiny
from selfexec_jax.evals.ablations import difference, markdown, plot
from selfexec_jax.evals.wording import ORDER
from selfexec_jax.hosts import EXIT_CODE
from selfexec_jax.stages import eval as evaluation
from selfexec_jax.stages import model as models
from selfexec_jax.stages import problems as first
from selfexec_jax.stages import rl, sft
from selfexec_jax.stages.checks import check
from selfexec_jax.stages.questions import problems_and_cases
from selfexec_jax.stages.sharing import READS, alone, folder_of, is_done, prepare
from selfexec_jax.stages.workdir import Workdir
from selfexec_jax.tools import ablate as ablate_tool
from selfexec_jax.tools.ablate import config_and_flags, resumable
from selfexec_jax.train.stopping import Stopped

ROOT = Path(__file__).resolve().parent.parent
ROWS = ablations.ABLATIONS | tiny.ROWS
MICRO = {
    "problems.n_train": 24, "problems.n_heldout": 3, "problems.n_unseen": 1, "problems.real_data": "/nowhere",
    "text.vocab_size": 400, "model.d_model": 16, "model.n_layers": 1, "model.head_dim": 8, "model.n_heads": 2,
    "model.n_kv_heads": 2, "model.d_ff": 16, "sft.steps": 2, "sft.log_every": 1, "rl.problems": 16, "rl.long_inputs": 1,
    "rl.own_programs": 2, "rl.max_new_tokens": 24, "rl.checkpoint_every": 2, "rl.short_row_tokens": 0,
    "rl.micro_tokens": 1, "rollout.slots": 8,  # one shape of micro-batch: each is compiled
    "rollout.prompt_buckets": (128, 320), "eval.max_new_tokens": 16, "eval.bootstrap": 50,
}  # fmt: skip
# Fields that a row may change and that are made small here too: its own value counts, if it is no larger.
AT_MOST = {"rl.steps": 2, "rl.prompts": 4, "rl.group_size": 4, "rl.validate_every": 0, "sft.batch_rows": 4,
           "eval.max_fixes": 1, "eval.candidates": 2, "eval.votes": 2}  # fmt: skip


def flat(config):
    def walk(tree, prefix):
        for key, value in tree.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    return dict(walk(config.to_dict(), ""))


@pytest.mark.parametrize(
    ("module", "name"),
    [(module, name) for module in (tiny, claims, qwen2p5_7b, qwen2p5_3b) for name in ablations.ABLATIONS | module.ROWS],
)
def test_a_row_changes_the_fields_that_it_states_and_no_other(module, name):
    row = (ablations.ABLATIONS | module.ROWS)[name]
    base, changed = flat(module.get_config(row.base or None)), flat(module.get_config(name))
    stated = {}
    for field, value in row.change.items():
        value = value(module.get_config(row.base or None)) if callable(value) else value
        stated |= {f"{field}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {field: value}
    assert stated and {field: changed[field] for field in stated} == stated
    differing = {field for field in base if base[field] != changed[field]} - {"ablation"}
    assert differing == {field for field, value in stated.items() if base[field] != value}
    check(module.get_config(name))
    assert changed["ablation"] == name and row.claim.endswith((".", "?")) and "\n" not in row.claim


def test_a_row_that_there_is_not_is_named():
    with pytest.raises(ValueError, match=r"^no ablation 'nothing' in configs/ablations\.py; there are: ") as refusal:
        tiny.get_config("nothing")
    listed = str(refusal.value).partition("there are: ")[2].split(", ")
    assert listed == sorted(ablations.ABLATIONS | tiny.ROWS)


def micro(name):
    config = tiny.get_config(name)
    config.update_from_flattened_dict(MICRO)
    before = flat(config)
    config.update_from_flattened_dict({field: min(most, before[field]) for field, most in AT_MOST.items()})
    return config


@pytest.fixture(scope="module")
def pool():
    with first.open_pool(micro(None)) as found:
        yield found


@pytest.fixture(autouse=True)
def _one_pool(monkeypatch, pool):
    for stage in (first, rl):
        monkeypatch.setattr(stage, "open_pool", lambda config: contextlib.nullcontext(pool))


@pytest.fixture(scope="module", autouse=True)
def _compiled_fast():
    """What runs for two steps need not run fast."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def engines():
    return {}


@pytest.fixture(autouse=True)
def _few_engines(monkeypatch, engines):
    """Rows that sample alike share an engine, which is what takes long to compile."""
    make = models.Loaded.engine

    def engine(self):
        key = json.dumps([self.config.rollout.to_dict(), self.tokenizer.vocab_size, self.config.tasks.style])
        return engines.setdefault(key, make(self))

    monkeypatch.setattr(models.Loaded, "engine", engine)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


@pytest.mark.parametrize("name", [None, *ROWS])
def test_a_row_runs_two_steps(name, shared, tmp_path):
    """Up to the stage that it touches, sharing with the rows before; then what it was to change."""
    config = micro(name)
    stages = {"problems": first, "sft": sft, "rl": rl}
    for stage, module in stages.items():
        folder = prepare(shared, config, stage)
        if is_done(shared, config, stage):
            continue
        work = Workdir(folder)
        work.open(config)
        work.mark_done(stage, module.run(config, work))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["stage"] == "rl"]
    assert steps == list(range(1, config.rl.steps + 1))
    assert all(np.isfinite(v) for line in lines for v in line.values() if isinstance(v, float))
    if name is None or any(field.startswith("eval.") for field in ROWS[name].change):
        work = Workdir(folder)
        loaded = models.load(config, work)
        engine = loaded.engine().load(loaded.params("rl" if config.rl.steps else "sft"), 0)
        problems, _ = problems_and_cases(config, work)
        decided = evaluation.decide(config, engine, loaded.tokenizer, problems[:2], evaluation.asks_of(config))
        assert [len(row) for row in decided.samples] == [config.eval.candidates] * 2
        episodes = [e for rows in decided.episodes.values() for row in rows for e in row]
        assert all(len(e.turns) <= config.eval.max_fixes for e in episodes)
        votes = {len(cell) for r in decided.rankings for row in r.predictions for cell in row if cell}
        assert votes <= {config.eval.votes}


# ---- sharing and comparing -------------------------------------------------------------------------------
def test_stages_are_shared_as_far_as_configs_agree(tmp_path):
    base, other = tiny.get_config(), tiny.get_config("rloo")
    for stage in ("problems", "sft"):
        assert folder_of(tmp_path, base, stage) == folder_of(tmp_path, other, stage)
    assert folder_of(tmp_path, base, "rl") != folder_of(tmp_path, other, "rl")
    assert folder_of(tmp_path, base, "problems") != folder_of(tmp_path, tiny.get_config("direct_answers"), "problems")
    votes = tiny.get_config("votes_3")
    assert folder_of(tmp_path, base, "rl") == folder_of(tmp_path, votes, "rl")
    assert folder_of(tmp_path, base, "eval") != folder_of(tmp_path, votes, "eval")
    seeded = tiny.get_config()
    seeded.seed = 1
    assert folder_of(tmp_path, base, "problems") != folder_of(tmp_path, seeded, "problems")


def test_a_stage_that_one_makes_another_waits_for(tmp_path):
    base, same, other = tiny.get_config(), tiny.get_config("rloo"), tiny.get_config("direct_answers")
    entered = queue.Queue()

    def enter(name, config):
        with alone(tmp_path, config, "sft"):
            entered.put(name)

    with alone(tmp_path, base, "sft"):
        waits = threading.Thread(target=enter, args=("same", same))
        waits.start()
        enter("other", other)  # another stage is free
        assert entered.get(timeout=30) == "other" and waits.is_alive() and entered.empty()
    assert entered.get(timeout=30) == "same"
    waits.join()


class Watched:
    """A config that notes what is read of it."""

    def __init__(self, config, read, prefix=""):
        self._config, self._read, self._prefix = config, read, prefix

    def __getattr__(self, name):
        value = getattr(self._config, name)
        if isinstance(value, type(self._config)):
            return Watched(value, self._read, f"{self._prefix}{name}.")
        if not callable(value):
            self._read.add(f"{self._prefix}{name}")
        return value

    def __getitem__(self, name):
        return self.__getattr__(name)


def test_the_problems_stage_reads_what_it_is_said_to_read(tmp_path):
    """Else two runs would share a folder that is not the same for both."""
    config, read = micro(None), set()
    work = Workdir(tmp_path)
    work.open(config)
    first.run(Watched(config, read), work)
    allowed = READS["problems"]
    assert {f for f in read if not any(f == a or f.startswith(f"{a}.") for a in allowed)} == set()
    assert len(read) > 20


def test_differences_are_paired_and_pooled_over_seeds():
    rng = np.random.default_rng(0)
    bases = [{"f": {str(i): float(v) for i, v in enumerate(rng.random(50))}} for _ in range(3)]
    shift = lambda base, by: {i: v + by for i, v in list(base["f"].items())[:40]}  # noqa: E731
    ours = [{"f": shift(base, 0.1 * (seed + 1))} for seed, base in enumerate(bases)]
    found = difference(ours, bases, "f")
    assert found.n == 120 and found.value == pytest.approx(0.2)
    assert found.by_seed == pytest.approx((0.1, 0.2, 0.3))
    assert 0.15 < found.low < 0.2 < found.high < 0.25
    with pytest.raises(ValueError, match="no problem stands in both runs"):
        difference([{"f": {"x": 1.0}}], [{"f": {"y": 1.0}}], "f")
    row = {"name": "rloo", "base": "base", "claim": "It does.", "expected_null": True, "differences": {"f": found},
           "facts": {"minutes": "3"}}  # fmt: skip
    assert "| `rloo (null)` | `base` | +20.0 [" in markdown("T", ["f"], [row])
    assert plot(["f"], [row])[:4] == b"\x89PNG"


def test_a_claim_is_compared_on_its_own_figures(tmp_path):
    """A row that changes none of the figures that every run has shows what it is about, over its base's."""
    runs = {}
    for name, solved in {"base": {"best_at_8_simulated": 0.0}, "belief": {"best_at_8_simulated": 0.0, "search": 1.0,
                         "best_at_8_believed": 0.5}}.items():  # fmt: skip
        work = Workdir(tmp_path / name)
        work.data.mkdir(parents=True)
        rows = [{"name": figure, "ids": ["a", "b"], "values": [value] * 2, "tokens": [9, 9], "prefilled": [1, 1]}
                for figure, value in (solved | {"self_rlef": 0.0}).items()]  # fmt: skip
        work.write_rows(work.data / "values.jsonl.gz", rows)
        cases = [{"name": "output_prediction_sft", "ids": ["a/heldout/0"], "values": [1.0]}]
        work.write_rows(work.data / "case_values.jsonl.gz", cases)
        work.mark_done("eval", {"policy": "sft", "K": 8, "seconds": 1.0})
        runs[name] = [ablate_tool.Run(name, 0, work.root)]
    found = ablate_tool.compare("belief", "base", ablations.ABLATIONS["belief"], runs["belief"], runs["base"])
    assert {name: d.value for name, d in found["differences"].items()} == {
        "output_prediction": 0.0, "best_at_K_simulated": 0.0, "self_rlef": 0.0,
        "best_at_K_believed over best_at_K_simulated": 0.5, "search over best_at_K_simulated": 1.0,
    }  # fmt: skip
    assert found["facts"]["its own figures"] == "9 + 1 read over 9 + 1 read; 9 + 1 read over 9 + 1 read"
    alone = ablate_tool.compare("belief", "base", ablations.ABLATIONS["belief"], runs["base"], runs["base"])
    assert list(alone["differences"]) == ["output_prediction", "best_at_K_simulated", "self_rlef"]  # it has no belief


def test_figures_that_claims_are_about_are_those_of_evaluations():
    known = {name for row in ablations.ABLATIONS.values() for pair in row.over.items() for name in pair}
    gains = {f"search_executing_from_{gain:g}" for gain in tiny.get_config("executing").belief.least_gains}
    assert known <= set(ORDER) | gains


def ablate_command(workdir, *flags, **fields):
    command = [sys.executable, "-m", "selfexec_jax.tools.ablate", "--config=configs/tiny.py", f"--workdir={workdir}"]
    changes = MICRO | AT_MOST | {"rl.steps": 1, "eval.votes": 1} | fields  # tiny's are greedy
    return [*command, *flags, *(f"--set={k}={v}" for k, v in changes.items())]


def ablate(workdir, *flags, check=True):
    command = ablate_command(workdir, *flags)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 or not check, done.stderr[-3000:]
    return done


@pytest.mark.timeout(900)
def test_ablations_are_run_shared_resumed_and_written(tmp_path):
    done = ablate(tmp_path, "--names=rloo", "--seeds=1")
    for file in ("ablations.md", "ablations.png", "ablations.json"):
        assert (tmp_path / file).stat().st_size > 100
    assert "`rloo`" in done.stdout
    made = sorted(p.name.split("-")[0] for p in (tmp_path / "stages").iterdir())
    assert made == ["eval", "eval", "problems", "rl", "rl", "sft"]
    rows = json.loads((tmp_path / "ablations.json").read_text())
    assert rows[0]["differences"]["output_prediction"]["n"] >= 4
    # An evaluation that is lost is made again, and nothing else is.
    lost = next(p for p in (tmp_path / "stages").iterdir() if p.name.startswith("eval"))
    shutil.rmtree(lost)
    again = ablate(tmp_path, "--names=rloo", "--seeds=1", "--json")
    ran = [line for line in again.stderr.splitlines() if " in " in line]
    assert len(ran) == 1 and ": eval in" in ran[0]
    assert [r["differences"] for r in json.loads(again.stdout)] == [r["differences"] for r in rows]


def until(holds, seconds=300):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.timeout(600)
def test_who_asks_ablations_to_end_asks_the_run_that_goes_on(tmp_path):
    command = ablate_command(tmp_path, "--names=rloo", "--seeds=1", **{"sft.steps": 100_000})
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        log = next(Path(line.split()[-1]) for line in process.stderr if ": sft in " in line)
        until(lambda: log.exists() and "sft 3/" in log.read_text())
        (run,) = psutil.Process(process.pid).children()
    finally:
        process.terminate()
        said = process.communicate(timeout=100)[1]
    assert process.returncode == EXIT_CODE and not run.is_running()
    assert said == "asked to end; the same command goes on from here\n"
    assert re.search(r"sft: saved after step \d+ of 100000; the same command goes on from here", log.read_text())


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on from here\n"),
        (Stopped("asked to end"), EXIT_CODE, "asked to end; the same command goes on from here\n"),
        (subprocess.CalledProcessError(1, [], "run/sft.log", "b\nc"), 1,
         "a run failed; its last lines (all of them: run/sft.log):\nb\nc\n"),
    ],
)  # fmt: skip
def test_a_command_whose_run_ended_early_says_so_in_a_line(error, code, says, capsys):
    @resumable
    def main(argv):
        if error in argv:
            raise error
        return 0

    assert (main([]), main([error])) == (0, code)
    assert capsys.readouterr().err == says


@pytest.mark.parametrize(
    ("name", "changes", "has"),
    [
        ("no_rl", ["rl.steps=3", "sft.steps=5"], {"rl.steps": 0, "sft.steps": 5}),  # a row's word is the last
        ("group_4", ["rl.prompts=6"], {"rl.prompts": 12, "rl.group_size": 4}),  # of what was set it makes its own
        ("single_turn", ["rl.share.predict=0.4"], {"rl.share.predict": 0.4, "rl.share.solve": 0.6}),
        ("departure_feedback", ["sft.batch_rows=4"], {"sft.batch_rows": 2, "tasks.feedback": "departure"}),
        ("base", ["problems.families=('pairs',)", "name=mine"], {"problems.families": ("pairs",), "name": "mine"}),
    ],
)
def test_what_is_set_is_set_before_a_row_changes_it(name, changes, has, monkeypatch):
    config, flags = config_and_flags("configs/tiny.py", name, 3, changes)
    values = FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    monkeypatch.setattr(sys, "argv", ["main", *flags])  # where the library looks for fields
    values(sys.argv)
    assert values.config.to_dict() == config.to_dict()
    assert {field: functools.reduce(ConfigDict.__getitem__, field.split("."), config) for field in has} == has
    assert config.seed == 3


@pytest.mark.parametrize(
    ("flags", "says"),
    [(["--names=nothing"], "no ablation 'nothing'"), (["--names=rloo", "--config=/nowhere.py"], "no such config file"),
     (["--names=rloo", "--set=rl.grop_size=1"], "grop_size"),
     (["--names=rloo", "--set=sft.log_every=4x"], "--set sft.log_every=4x: not a value")],
)  # fmt: skip
def test_bad_input_is_one_line(tmp_path, flags, says):
    done = ablate(tmp_path, *flags, check=False)
    assert done.returncode == 2 and says in done.stderr and len(done.stderr.splitlines()) == 1
