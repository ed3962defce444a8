"""What is installed is whole: configs, the small model, pages; from a wheel and from an sdist."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
INSIDE = ("selfexec_jax/configs/tiny.py", "selfexec_jax/configs/ablations.py", "selfexec_jax/traces/viewer.html",
          "selfexec_jax/checkpoints/tiny/model.safetensors", "selfexec_jax/checkpoints/tiny/run.json")  # fmt: skip


def copied(tmp_path):
    """The project as a clone has it; building writes beside the sources."""
    clone = tmp_path / "clone"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, tracked or []):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, clone / name, follow_symlinks=False)
    return clone


def run(*command, cwd, **more):
    done = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=900,
                          **more)  # fmt: skip
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository, so no list of what belongs to the project")
    tmp_path = tmp_path_factory.mktemp("build")
    clone, out = copied(tmp_path), tmp_path / "out"
    run("setup.py", "-q", "sdist", "-d", out, cwd=clone)
    (sdist,) = out.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    run("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, unpacked, cwd=tmp_path)
    (wheel,) = out.glob("*.whl")
    return names, wheel


def test_sdist_and_wheel_hold_configs_and_the_small_model(built):
    names, wheel = built
    inside = zipfile.ZipFile(wheel).namelist()
    for name in INSIDE:
        assert name in inside and (name in names or name.replace("selfexec_jax/configs", "configs") in names)
    assert {"README.md", "LICENSE", "CHANGELOG.md"} <= set(names)
    assert not any(name.startswith("tests/") for name in inside)


def test_an_installed_wheel_works_without_the_sources(built, tmp_path):
    _, wheel = built
    run("-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path / "site", wheel, cwd=tmp_path)
    (tmp_path / "p.py").write_text("nums = [int(w) for w in input().split()]\nans = nums[0] + 1\nprint(ans)\n")
    (tmp_path / "in.txt").write_text("4 1\n")
    isolated = {"env": {"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu"}}
    where = run("-c", "import selfexec_jax; print(selfexec_jax.__file__)", cwd=tmp_path, **isolated)
    assert where.startswith(str(tmp_path / "site"))
    trace = ("-m", "selfexec_jax.tools.trace", "p.py", "--stdin", "in.txt", "--style", "compact")
    told = run(*trace, cwd=tmp_path, **isolated)
    assert "ans=4+1=5" in told
    loaded = run("-c", "from selfexec_jax.tools.asked import opened; from selfexec_jax.checkpoints import TINY;"
                 "print(opened(str(TINY)).config.name)", cwd=tmp_path, **isolated)  # fmt: skip
    assert loaded.strip() == "claims"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_it_installs_into_an_empty_environment(built, tmp_path):
    _, wheel = built
    run("-m", "venv", tmp_path / "empty", cwd=tmp_path)
    python = tmp_path / "empty" / "bin" / "python"
    for command in (["-m", "pip", "install", "-q", wheel], ["-m", "selfexec_jax.tools.demo"]):
        done = subprocess.run([python, *command], cwd=tmp_path, capture_output=True, text=True, timeout=1500)
        assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    assert "the truth, by execution" in done.stdout
