"""The whole pipeline at a hundredth of its size, killed and resumed, and what it says to bad input."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from selfexec_jax.hosts import EXIT_CODE

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    "--config=configs/tiny.py",
    "--config.problems.n_train=40",
    "--config.problems.n_heldout=6",
    "--config.problems.n_unseen=3",
    "--config.belief.problems=4",
    "--config.problems.real_data=/nowhere",
    "--config.text.vocab_size=400",
    "--config.model.d_model=32",
    "--config.model.n_layers=1",
    "--config.model.head_dim=16",
    "--config.model.d_ff=32",
    "--config.sft.steps=12",
    "--config.sft.batch_rows=4",
    "--config.sft.checkpoint_every=4",
    "--config.sft.log_every=1",
    "--config.rl.steps=4",
    "--config.rl.prompts=6",
    "--config.rl.group_size=4",
    "--config.rl.problems=6",
    "--config.rl.own_programs=2",
    "--config.rl.max_new_tokens=48",
    "--config.rl.checkpoint_every=2",
    "--config.rl.short_row_tokens=0",  # one shape of micro-batch and one of prompts: each is compiled
    "--config.rl.micro_tokens=704",
    "--config.rl.validate_every=2",
    "--config.rl.validation_prompts=4",
    "--config.rl.validation_samples=1",
    "--config.rl.reward_wrong=-0.5",
    "--config.rollout.slots=8",
    "--config.rollout.prompt_buckets=(512,)",
    "--config.eval.candidates=2",
    "--config.eval.more_candidates=2",
    "--config.eval.simulate_temperature=1",
    "--config.eval.max_new_tokens=48",
    "--config.eval.max_fixes=1",
    "--config.eval.bootstrap=200",
]

# What runs for a few steps need not run fast.
ENVIRONMENT = os.environ | {"SELFEXEC_DATA": "", "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


def command(workdir, *extra, config=SMALL):
    return [sys.executable, "-m", "selfexec_jax.main", *config, f"--workdir={workdir}", *extra]


def run(workdir, *extra, config=SMALL, check=True):
    done = subprocess.run(
        command(workdir, *extra, config=config), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=500
    )
    if check:
        assert done.returncode == 0, done.stderr[-3000:]
    return done


def final_params(workdir, stage):
    """Every array of the newest checkpoint of a stage, by name."""
    import jax
    import orbax.checkpoint as ocp

    step = max(int(p.name) for p in (Path(workdir) / "checkpoints" / stage).iterdir() if p.name.isdigit())
    path = (Path(workdir) / "checkpoints" / stage / str(step) / "state").resolve()
    # The run saved from two devices and this process has one: ask for plain arrays.
    checkpointer = ocp.PyTreeCheckpointer()
    plain = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray), checkpointer.metadata(path).item_metadata.tree
    )
    tree = checkpointer.restore(path, restore_args=plain)
    return step, {jax.tree_util.keystr(k): np.asarray(v) for k, v in jax.tree_util.tree_leaves_with_path(tree)}


def assert_same(a, b):
    assert a[0] == b[0]
    assert a[1].keys() == b[1].keys()
    for name in a[1]:
        np.testing.assert_array_equal(a[1][name], b[1][name], err_msg=name)


def lines(workdir, stage):
    path = Path(workdir) / "metrics.jsonl"
    if not path.exists():
        return []
    found = []
    for text in path.read_text().splitlines():
        try:
            found.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return [m["step"] for m in found if m["stage"] == stage]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One undisturbed run of every stage."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    run(workdir)
    return workdir


def copy_of(whole, tmp_path, *, without):
    """The run as if the stages in `without` had not been run."""
    target = tmp_path / "copy"
    shutil.copytree(whole, target)
    for stage in without:
        (target / "done" / f"{stage}.json").unlink(missing_ok=True)
        shutil.rmtree(target / "checkpoints" / stage, ignore_errors=True)
    (target / "metrics.jsonl").unlink()
    (target / "data" / "own_programs.jsonl.gz").unlink(missing_ok=True)
    return target


def killed_then_resumed(workdir, stage, after, how=signal.SIGKILL):
    """Starts the run, kills it once `stage` has logged step `after`, and runs that stage to its end."""
    process = subprocess.Popen(
        command(workdir), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if any(step >= after for step in lines(workdir, stage)):
            break
        time.sleep(0.005)
    assert process.poll() is None, "the run ended before it could be killed"
    if how == signal.SIGKILL:
        os.killpg(process.pid, how)
        process.wait()
    else:
        process.send_signal(how)  # the run itself, as a launcher does
        assert process.wait(timeout=60) == EXIT_CODE
    assert not (workdir / "done" / f"{stage}.json").exists()
    run(workdir, "--config.stages=problems,sft" + (",rl" if stage == "rl" else ""))


def test_every_stage_leaves_its_files(whole):
    report = json.loads((whole / "report.json").read_text())
    for name in ("output_prediction_sft", "output_prediction_rl", "pass_at_1", "pass_at_2", "random_at_2",
                 "short1_at_2", "best_at_2_simulated", "best_at_2_executed", "single_turn", "self_rlef",
                 "self_rlef_executed", "fixed", "broken"):  # fmt: skip
        figure = report["results"][name]
        assert set(figure) == {"value", "low", "high", "n", "tokens"}
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
    for name in ("output_prediction_rl_over_sft", "best_at_2_simulated_over_pass_at_1", "simulation_gap_at_2",
                 "self_rlef_over_single_turn", "fixed_over_broken"):  # fmt: skip
        assert set(report["comparisons"][name]) == {"value", "low", "high", "n"}
    for file in ("config.json", "metrics.jsonl", "report.md", "report.html", "samples/step-4.jsonl.gz"):
        assert (whole / file).is_file(), file
    assert list((whole / "events").rglob("events*"))


def test_nothing_is_executed_before_the_choice(whole):
    report = json.loads((whole / "report.json").read_text())
    assert report["meta"]["counts"]["candidate_runs_before_choice"] == 0


def test_a_second_call_has_nothing_to_do(whole):
    before = (whole / "report.json").stat().st_mtime_ns
    assert "done before" in run(whole).stderr
    assert (whole / "report.json").stat().st_mtime_ns == before


def test_two_undisturbed_runs_agree(whole, tmp_path):
    other = copy_of(whole, tmp_path, without=("sft", "rl", "eval", "report"))
    run(other)
    assert_same(final_params(whole, "sft"), final_params(other, "sft"))
    assert_same(final_params(whole, "rl"), final_params(other, "rl"))
    assert (whole / "data" / "eval.json").read_bytes() == (other / "data" / "eval.json").read_bytes()


@pytest.mark.parametrize(("after", "how"), [(1, signal.SIGKILL), (6, signal.SIGKILL), (3, signal.SIGTERM)])
def test_sft_killed_and_resumed_equals_the_undisturbed_run(whole, tmp_path, after, how):
    other = copy_of(whole, tmp_path, without=("sft", "rl", "eval", "report"))
    killed_then_resumed(other, "sft", after, how)
    assert_same(final_params(whole, "sft"), final_params(other, "sft"))


@pytest.mark.parametrize(("after", "how"), [(3, signal.SIGKILL), (2, signal.SIGTERM)])
def test_rl_killed_and_resumed_equals_the_undisturbed_run(whole, tmp_path, after, how):
    other = copy_of(whole, tmp_path, without=("rl", "eval", "report"))
    killed_then_resumed(other, "rl", after, how)
    assert_same(final_params(whole, "rl"), final_params(other, "rl"))


def test_ctrl_c_says_where_it_stopped_and_quiet_says_nothing(whole, tmp_path):
    only = ("--config.stages=problems,sft", "--config.sft.steps=100", "--quiet")  # enough not to be through before
    other = copy_of(whole, tmp_path, without=("sft", "rl", "eval", "report"))
    (other / "config.json").unlink()
    process = subprocess.Popen(command(other, *only), cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not any(step >= 5 for step in lines(other, "sft")):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130, said
    stopped = re.fullmatch(
        r"interrupted in sft at step (\d+), saved at step (\d+); the same command goes on from here\n", said
    )
    reached, saved = map(int, stopped.groups())
    assert saved in range(4, 97, 4) and saved <= reached < 100
    done = run(other, *only)
    assert done.stderr == "" and (other / "done" / "sft.json").exists()


def one_line(done):
    assert done.returncode == 2, done.stderr[-2000:]
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: "), done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return last


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--config.rl.grop_size=4"], "grop_size"),
        (["--config=configs/tiny.py:no_such_row"], "no_such_row"),
        (["--config.stages=problems,dance"], "dance"),
        (["--config.problems.families=('tables',)", "--config.problems.n_heldout=900"], "n_heldout"),
    ],
)
def test_bad_input_is_one_line(tmp_path, extra, says):
    assert says in one_line(run(tmp_path / "run", *extra, check=False))


def test_unwritable_workdir_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in one_line(run(tmp_path / "file" / "run", check=False))


def test_another_config_in_the_same_workdir_is_one_line(whole):
    assert "sft.steps" in one_line(run(whole, "--config.sft.steps=13", check=False))


def test_checkpoint_of_another_model_is_one_line(whole, tmp_path):
    extra = ["--config.stages=eval", f"--config.init_from={whole}", "--config.model.d_model=48"]
    assert "not a checkpoint of this model" in one_line(run(tmp_path / "run", *extra, check=False))


def test_a_model_of_another_seed_is_one_line_and_leaves_nothing(whole, tmp_path):
    extra = [f"--config.init_from={whole}", "--config.seed=7"]
    assert "set seed=0" in one_line(run(tmp_path / "run", *extra, check=False))
    assert not (tmp_path / "run").exists()


def test_somebody_elses_checkpoint_is_evaluated(whole, tmp_path):
    shutil.copytree(whole / "data", tmp_path / "run" / "data")
    run(tmp_path / "run", "--config.stages=eval,report", f"--config.init_from={whole}")
    assert (tmp_path / "run" / "report.json").is_file()


def test_a_run_that_was_taken_home_remembers_how_it_is_asked(whole, tmp_path):
    home, program = tmp_path / "home", tmp_path / "p.py"
    program.write_text("print(1)\n")
    tools = f"{sys.executable} -m selfexec_jax.tools"
    for line in (
        f"{tools}.convert --from {whole} --to {home}",
        f"{tools}.simulate {program} --checkpoint {home} --json",
        f"{tools}.demo --checkpoint {whole}",
    ):
        done = subprocess.run(line.split(), cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == (1 if "simulate" in line else 0), (line, done.stdout[-2000:], done.stderr[-2000:])
        if "simulate" in line:
            assert set(json.loads(done.stdout)) >= {"predicted", "real", "first_divergence"}
    run(tmp_path / "again", f"--config.init_from={home}", "--config.stages=problems,sft", "--config.sft.steps=4")
    assert not (tmp_path / "again" / "data" / "tokenizer.model").exists()  # its own is used


def readme_commands():
    pages = ("README.md", "launch/README.md", "tests/benchmarks/README.md", "configs/README.md", "colab/README.md")
    text = "\n".join((ROOT / page).read_text() for page in pages if (ROOT / page).exists())
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.timeout(1800)
def test_every_command_of_the_readme_runs(whole, tmp_path):
    program = "nums = [int(w) for w in input().split()]\nans = 0\nfor x in nums:\n    ans += x\nprint(ans)\n"
    (tmp_path / "FILE.py").write_text(program)
    (tmp_path / "INPUT.txt").write_text("4 1 3\n")
    problem = json.loads((whole / "data" / "heldout.jsonl").read_text().splitlines()[0])
    sample = {"problem": problem["id"], "text": problem["solutions"][0]}
    shutil.copy(whole / "data" / "unseen.jsonl", tmp_path / "MINE.jsonl")
    (tmp_path / "SAMPLES.jsonl").write_text(json.dumps(sample) + "\n")
    bin_dir = Path(sys.executable).parent
    environment = ENVIRONMENT | {"PATH": f"{bin_dir}:{os.environ['PATH']}"}
    commands = readme_commands()
    assert commands[:2] == ["bash launch/local.sh", "bash launch/test.sh"]
    for command in commands:
        if "tools.plan" in command and find_spec("libtpu") is None:
            continue
        small = command.replace("runs/tiny", str(whole)).replace("runs/direct_answers", str(whole))
        if "selfexec_jax.main" in command:
            small = command.replace("runs/tiny", str(whole))
        small = small.replace("runs/", f"{tmp_path}/")
        small = small.replace("FILE.py", f"{tmp_path}/FILE.py").replace("INPUT.txt", f"{tmp_path}/INPUT.txt")
        for name in ("SAMPLES.jsonl", "MINE.jsonl"):
            small = small.replace(name, f"{tmp_path}/{name}")
        if "launch/local.sh" in command:
            small += f" --workdir={whole} " + " ".join(shlex.quote(a) for a in SMALL)
        elif "tools.plan" in command:
            fields = [a.replace("--config.", "--set=") for a in SMALL[1:]]
            small = f"{sys.executable} -m selfexec_jax.tools.plan --config=configs/tiny.py --topology=v5e-1"
            small += " " + " ".join(map(shlex.quote, [*fields, "--set=rl.steps=0"]))
        elif "launch/test.sh" in command:  # this suite is it: only its way to pytest is tried here
            small += " --version"
        elif "tests.benchmarks.rl" in command:
            small = small.replace("--run RUN", f"--run {whole} --parts loop --steps 1")
        elif "tests.benchmarks" in command:
            small += " --rounds 1 --busy 0"
        elif "selfexec_jax.main" in command:
            small += " " + " ".join(shlex.quote(a) for a in SMALL[1:])
            if "direct_answers" in command or "runs/lr" in command:  # further stages as in the runs before
                small += " --config.stages=problems"
        elif "tools.ablate" in command:
            small = small.replace("--names=no_rl,rloo --seeds=3", "--names=no_rl --seeds=1")
            small += " " + " ".join(shlex.quote(a.replace("--config.", "--set=")) for a in SMALL[1:])
        done = subprocess.run(small, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, (command, done.stdout[-500:], done.stderr[-2000:])
        assert done.stdout.strip() or "selfexec_jax.main" in command, command
