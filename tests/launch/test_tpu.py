"""Every verb of launch/tpu.sh against a gcloud that plays back what clouds do."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "tpu.sh"
STATE = "queued-resources describe"
PROGRAMS = {"pip install": "install", "nohup": "run", "pgrep": "settle", "pkill": "stop", "then echo exit": "workers",
            "sed": "log"}  # fmt: skip
RUN = ["--", "--config=configs/tiny.py", "--workdir=gs://bucket/a run"]


@pytest.fixture
def tpu(tmp_path):
    """`tpu(*arguments, script=[...])` gives the finished process, with the calls of gcloud as `.calls`."""
    (tmp_path / "bin").mkdir()
    shutil.copy(Path(__file__).with_name("gcloud"), tmp_path / "bin" / "gcloud")

    def call(*args, script=()):
        (tmp_path / "calls").unlink(missing_ok=True)
        (tmp_path / "script.json").write_text(json.dumps(list(script)))
        env = os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "GCLOUD_FOLDER": str(tmp_path)}
        command = ["bash", SCRIPT, *args]
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=60)
        calls = tmp_path / "calls"
        done.calls = [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
        return done

    return call


def verbs_of(calls):
    """The calls in short: create, delete, scp, and the programs that ssh starts."""
    found = []
    for call in calls:
        if "describe" in call:
            continue
        if "ssh" in call:
            command = next(part for part in call if part.startswith("--command="))
            found.append(next(kind for part, kind in PROGRAMS.items() if part in command))
        else:
            found.append(next(part for part in call if part in ("create", "delete", "scp")))
    return found


def test_shellcheck_is_content():
    shellcheck = shutil.which("shellcheck") or ROOT / ".venv" / "bin" / "shellcheck"
    scripts = [*sorted((ROOT / "launch").glob("*.sh")), ROOT / ".ci" / "run"]
    done = subprocess.run([shellcheck, *scripts], capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def test_create_asks_for_a_queued_resource_and_waits(tpu):
    states = [[STATE, 0, "WAITING_FOR_RESOURCES"], [STATE, 0, "PROVISIONING"], [STATE, 0, "ACTIVE"]]
    done = tpu("create", "mine", "--type=v5p-128", "--spot", "--zone=us-east5-a", "--poll=0", script=states)
    assert done.returncode == 0, done.stderr
    assert done.calls[0] == [
        "compute", "tpus", "queued-resources", "create", "mine", "--node-id=mine", "--accelerator-type=v5p-128",
        "--runtime-version=v2-alpha-tpuv5", "--spot", "--zone=us-east5-a", "--quiet",
    ]  # fmt: skip
    assert len(done.calls) == 4 and "ACTIVE" in done.stderr


def test_several_slices_are_one_resource(tpu):
    done = tpu("create", "mine", "--type=v6e-64", "--slices=2", "--dry-run")
    assert "--node-count=2 --node-prefix=mine" in done.stdout and "v2-alpha-tpuv6e" in done.stdout
    done = tpu("run", "mine", "--slices=2", *RUN)
    assert sorted(call[4] for call in done.calls) == ["mine-0", "mine-1"]
    assert all("--worker=all" in call for call in done.calls)


@pytest.mark.parametrize("state", ["FAILED", "SUSPENDED"])
def test_what_is_not_to_be_had_is_an_error(tpu, state):
    done = tpu("create", "mine", "--type=v5p-8", "--poll=0", script=[[STATE, 0, state]])
    assert done.returncode == 1 and state in done.stderr


def test_quota_is_passed_on(tpu):
    done = tpu("create", "mine", "--type=v5p-8", script=[["queued-resources create", 1, ""]])
    assert done.returncode == 1 and len(done.calls) == 1


def test_push_copies_what_git_knows_and_tries_again(tpu, tmp_path):
    secret = tmp_path / "env"
    secret.write_text("HF_TOKEN=hf_secret\n")
    failures = [["scp", 255, ""], ["--command=chmod", 1, ""]]
    done = tpu("push", "mine", f"--env-file={secret}", "--poll=0", script=failures)
    assert done.returncode == 0, done.stderr
    assert verbs_of(done.calls) == ["scp", "scp", "scp", "install", "install"]
    assert "hf_secret" not in done.stdout + done.stderr + json.dumps(done.calls)
    done = tpu("push", "mine", "--poll=0", script=[["scp", [255], ""]])
    assert done.returncode == 1 and verbs_of(done.calls) == 3 * ["scp"]


def test_run_starts_every_worker_with_the_arguments_as_they_are(tpu):
    done = tpu("run", "mine", *RUN)
    assert done.returncode == 0, done.stderr
    (call,) = done.calls
    assert call[:5] == ["compute", "tpus", "tpu-vm", "ssh", "mine"] and "--worker=all" in call
    assert r"selfexec_jax.main --hosts=auto --config=configs/tiny.py --workdir=../bucket/bucket/a\ run" in call[6]
    assert r"--config.checkpoints=gs://bucket/a\ run/checkpoints" in call[6]
    assert "mountpoint -q selfexec_run/bucket/bucket || gcsfuse" in call[6]
    done = tpu("run", "mine", "--", "--workdir=/nfs/run")
    assert "gcsfuse" not in done.calls[0][6] and "--workdir=/nfs/run" in done.calls[0][6]
    assert subprocess.run(["bash", "-n", "-c", call[6].removeprefix("--command=")]).returncode == 0
    done = tpu("run", "mine", script=[])
    assert done.returncode == 2 and "after --" in done.stderr


def test_a_worker_that_fails_makes_the_verb_fail(tpu):
    done = tpu("run", "mine", "--slices=3", *RUN, script=[["ssh mine-1", 255, ""]])
    assert done.returncode == 255 and len(done.calls) == 3


def test_logs_of_all_workers_are_gathered(tpu, tmp_path):
    done = tpu("logs", "mine", "--slices=2", script=[["ssh mine-0", 0, "w0: a\nw1: b"], ["ssh mine-1", 0, "w0: c"]])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "logs/mine/mine-0.log").read_text() == "w0: a\nw1: b\n"
    assert (tmp_path / "logs/mine/mine-1.log").read_text() == "w0: c\n"


def test_status_stop_and_delete(tpu):
    done = tpu("status", "mine", script=[[STATE, 0, "ACTIVE"], ["then echo exit", 0, "running\nexit 0"]])
    assert done.returncode == 0 and "ACTIVE" in done.stderr and done.stdout == "running\nexit 0\n"
    assert verbs_of(tpu("stop", "mine").calls) == ["stop"]
    done = tpu("delete", "mine")
    assert done.calls == [["compute", "tpus", "queued-resources", "delete", "mine", "--force", "--quiet"]]


def test_a_dry_run_calls_nothing(tpu):
    for verb in (["create", "mine", "--type=v5litepod-8"], ["push", "mine"], ["run", "mine", *RUN[:1], "--x=1"],
                 ["logs", "mine"], ["status", "mine"], ["stop", "mine"], ["delete", "mine"]):  # fmt: skip
        options = [*verb[:2], "--dry-run", *verb[2:]]
        done = tpu(*options)
        assert done.returncode == 0 and done.calls == [] and done.stdout.startswith("gcloud compute tpus"), (verb, done)


def keep(tpu, script):
    return tpu("keep", "mine", "--type=v5p-8", "--spot", "--poll=0", *RUN, script=script)


def test_keep_sees_a_run_through(tpu):
    done = keep(tpu, [[STATE, 1, ""], [STATE, 0, "ACTIVE"], ["then echo exit", 0, "running"], [STATE, [0], "ACTIVE"],
                      ["then echo exit", 0, "running"], ["then echo exit", 0, "exit 0\nexit 0"]])  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert verbs_of(done.calls) == ["create", "scp", "install", "run", "workers", "workers", "workers", "log"]
    assert "done" in done.stderr


def test_keep_asks_again_for_what_was_pre_empted(tpu):
    done = keep(tpu, [[STATE, 0, "ACTIVE"], ["then echo exit", 0, "running"], [STATE, 0, "SUSPENDED"],
                      [STATE, [0], "ACTIVE"], ["then echo exit", 0, "exit 0"]])  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert verbs_of(done.calls) == ["workers", "delete", "create", "scp", "install", "run", "workers", "log"]


def test_keep_goes_on_after_a_run_that_was_asked_to_end(tpu):
    done = keep(tpu, [[STATE, [0], "ACTIVE"], ["then echo exit", 0, "exit 75\nexit 75"],
                      ["then echo exit", 0, "exit 0"]])  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert verbs_of(done.calls) == ["workers", "stop", "settle", "run", "workers", "log"]


def test_keep_installs_until_it_is_installed(tpu):
    """Also where somebody asked for the chips before, or an installation was interrupted."""
    failing = [["--command=chmod", 1, ""]] * 3
    done = keep(tpu, [[STATE, 1, ""], [STATE, [0], "ACTIVE"], *failing, ["then echo exit", 0, "bare\nnothing"],
                      ["then echo exit", 0, "exit 0"]])  # fmt: skip
    assert done.returncode == 0, done.stderr
    installs = ["scp", "install", "install", "install", "workers", "scp", "install", "run", "workers", "log"]
    assert verbs_of(done.calls) == ["create", *installs]


def test_keep_outlives_workers_that_do_not_answer(tpu):
    done = keep(tpu, [[STATE, [0], "ACTIVE"], ["then echo exit", 255, ""], ["then echo exit", 0, "running"],
                      ["then echo exit", 0, "exit 0"]])  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert verbs_of(done.calls) == ["workers", "workers", "workers", "log"]


def test_keep_gives_up_on_a_run_that_ends_at_once_again_and_again(tpu):
    done = keep(tpu, [[STATE, [0], "ACTIVE"], ["then echo exit", [0], "exit 137\nexit 75"]])
    assert done.returncode == 1 and "it ended at once 6 times" in done.stderr
    assert verbs_of(done.calls).count("run") == 5


def test_the_shell_around_a_run_outlives_its_end(tmp_path):
    """`stop` must not end what writes down the exit code."""
    pattern = next(line for line in SCRIPT.read_text().splitlines() if line.startswith("process=")).split("'")[1]
    (tmp_path / "selfexec_jax").mkdir()
    (tmp_path / "selfexec_jax" / "main.py").write_text(
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "print('here', flush=True)\ntime.sleep(60)\n"
    )
    command = f"{sys.executable} -m selfexec_jax.main --unlike={tmp_path.name}; echo $? > exit"
    shell = subprocess.Popen(["bash", "-c", command], cwd=tmp_path, stdout=subprocess.PIPE)
    shell.stdout.readline()
    subprocess.run(["pkill", "-TERM", "-f", f"{pattern} --unlike={tmp_path.name}"], check=True)
    assert shell.wait(30) == 0 and (tmp_path / "exit").read_text() == "75\n"


def test_keep_stops_where_the_run_failed(tpu):
    done = keep(tpu, [[STATE, [0], "ACTIVE"], ["then echo exit", 0, "exit 75\nexit 1"]])
    assert done.returncode == 1 and "the run failed" in done.stderr
    assert verbs_of(done.calls) == ["workers", "log"]


def test_keep_waits_where_there_is_no_quota(tpu):
    done = keep(tpu, [[STATE, 1, ""], ["queued-resources create", 1, ""], [STATE, 1, ""], [STATE, [0], "ACTIVE"],
                      ["then echo exit", 0, "exit 0"]])  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert verbs_of(done.calls) == ["create", "create", "scp", "install", "run", "workers", "log"]


@pytest.mark.parametrize(
    "args, words",
    [(["fly", "mine"], "launch/tpu.sh create NAME"), (["create", "Mine", "--type=v5p-8"], "NAME 'Mine'"),
     (["create", "mine"], "needs --type"), (["create", "mine", "--type=h100-8"], "no known kind"),
     (["run", "mine", "--config=x"], "after --"), (["push", "mine", "--env-file=/none"], "no such file"),
     (["run", "mine", "--slices=0", *RUN], "--slices=0"),
     (["run", "mine", "--", "--workdir=gs://bucket"], "give a folder of the bucket")],
)  # fmt: skip
def test_bad_input(tpu, args, words):
    done = tpu(*args)
    assert done.returncode == 2 and words in done.stderr and done.calls == []
