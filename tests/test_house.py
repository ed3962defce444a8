"""The house: rooms import only what is listed below them, and the host half starts without jax."""

import importlib
import pathlib
import pkgutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
HOST_ROOMS = ("sandbox", "problems", "traces", "tasks", "text", "evals")
DEVICE_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax")


def run(program, folder=ROOT):
    return subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300)


def lint(folder):
    program = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    return run(program, folder)


def test_rooms_import_only_what_they_may():
    pytest.importorskip("importlinter", reason="import-linter comes with the extra [dev]")
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("rollout/sampling.py", "import selfexec_jax.train.losses", "rollout is not allowed to import"),
        ("traces/scan.py", "import jax.numpy", "traces is not allowed to import jax"),
        ("self_execution/verify.py", "import selfexec_jax.problems.judge", "self_execution is not allowed to import"),
        ("self_execution/verify.py", "import selfexec_jax.traces", "self_execution is not allowed to import"),
        ("sandbox/types.py", "import selfexec_jax.problems.types", "sandbox is not allowed to import"),
        ("newroom.py", "", "not listed as layers"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path, file, line, broken):
    pytest.importorskip("importlinter", reason="import-linter comes with the extra [dev]")
    (tmp_path / ".importlinter").write_text((ROOT / ".importlinter").read_text())
    for path in (ROOT / "selfexec_jax").rglob("*.py"):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    with open(tmp_path / "selfexec_jax" / file, "a") as changed:
        changed.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert broken in " ".join(done.stdout.split())


@pytest.mark.parametrize("room", HOST_ROOMS)
def test_the_host_half_leaves_jax_alone(room):
    package = importlib.import_module(f"selfexec_jax.{room}")
    names = [package.__name__, *(m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))]
    done = run(
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        f"print(*[name for name in {DEVICE_LIBRARIES!r} if name in sys.modules])"
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr
