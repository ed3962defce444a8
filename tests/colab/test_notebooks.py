"""The notebooks run from start to end at reduced sizes, and lie in the repository as they should."""

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="comes with the extra [dev]")
nbclient = pytest.importorskip("nbclient", reason="comes with the extra [dev]")
pytest.importorskip("ipykernel", reason="comes with the extra [dev]")

ROOT = Path(__file__).resolve().parents[2]
COLAB = ROOT / "colab"
NAMES = ["1_what_the_model_sees", "2_train_it_yourself", "3_ablate", "4_bring_a_checkpoint", "5_inside_one_rl_step"]

# A model that learns nothing, for runs that are to be over soon.
TINIEST = {
    "problems.real_data": "/nowhere", "text.vocab_size": 400, "model.d_model": 32, "model.n_layers": 1,
    "model.head_dim": 16, "model.d_ff": 32, "mesh.cpu_devices": 1, "sft.batch_rows": 4, "rl.group_size": 4,
    "rl.problems": 6, "rl.own_programs": 2, "rl.max_new_tokens": 48, "rl.validation_prompts": 4,
    "rl.validation_samples": 1, "rollout.slots": 8, "rollout.prompt_buckets": "(256,)", "eval.more_candidates": 2,
    "eval.max_new_tokens": 48, "eval.bootstrap": 200,
}  # fmt: skip
SMALL = {  # parameters, by notebook
    "1_what_the_model_sees": {},
    "2_train_it_yourself": {
        "N_TRAIN": 40, "N_HELDOUT": 6, "N_UNSEEN": 3, "SFT_STEPS": 12, "RL_STEPS": 2, "RL_PROMPTS": 4,
        "VALIDATE_EVERY": 1, "CANDIDATES": 2, "SECONDS_BETWEEN_DRAWINGS": 0.5,
        "MORE": TINIEST | {"sft.log_every": 1, "eval.max_fixes": 1},
    },
    "3_ablate": {
        "NAMES": ["fixes_0"], "N_TRAIN": 40, "N_HELDOUT": 6, "N_UNSEEN": 3, "SFT_STEPS": 4, "RL_STEPS": 0,
        "CANDIDATES": 2, "MORE": TINIEST | {"eval.max_fixes": 1},
    },
    "4_bring_a_checkpoint": {
        "N_PROBLEMS": 4, "N_UNSEEN": 2, "CANDIDATES": 2, "MAX_FIXES": 1, "MAX_NEW_TOKENS": 128, "PLAN_CONFIG": "tiny",
        "PLAN_TOPOLOGY": "v5e-1", "PLAN_SET": ["rl.steps=0", "model.n_layers=1"],
        "MORE": {"problems.real_data": "/nowhere", "problems.n_train": 20, "rollout.slots": 8, "eval.bootstrap": 200,
                 "eval.prediction_samples": 1, "mesh.cpu_devices": 1},
    },
    "5_inside_one_rl_step": {"PROBLEMS": 10, "PROMPTS": 10, "GROUP_SIZE": 6, "OWN_PROGRAMS": 1, "MICRO_ROWS": 1},
}  # fmt: skip
FIGURES = {"1_what_the_model_sees": 3, "2_train_it_yourself": 4, "3_ablate": 1, "4_bring_a_checkpoint": 3,
           "5_inside_one_rl_step": 8}  # at least  # fmt: skip


def read(name):
    return nbformat.read(COLAB / f"{name}.ipynb", as_version=4)


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parameters_of(notebook):
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    return cell


def executed(name, folder, more=""):
    """The notebook after it was run in a folder with other parameters, and with a cell more at its end."""
    notebook = read(name)
    lines = "\n".join(f"{key} = {value!r}" for key, value in SMALL[name].items())
    at = notebook.cells.index(parameters_of(notebook)) + 1
    notebook.cells.insert(at, nbformat.v4.new_code_cell(lines))
    notebook.cells.append(nbformat.v4.new_code_cell(more))
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = os.environ | {"PYTHONPATH": path, "SELFEXEC_DATA": "", "JAX_PLATFORMS": "cpu"}
    client = nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    return client.execute(env=environment)


def images_of(notebook):
    found = [output.get("data", {}) for cell in code_of(notebook) for output in cell.outputs]
    return [data["image/png"] for data in found if "image/png" in data]


def printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")


def test_all_notebooks_are_known():
    assert sorted(path.stem for path in COLAB.glob("*.ipynb")) == NAMES
    told = (COLAB / "README.md").read_text()
    assert all(f"`{name}.ipynb`" in told for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_lies_without_outputs(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_of(notebook))
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids) and all(re.fullmatch("[a-z][a-z-]*", i) for i in ids)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"/(work|root|home|Users|tmp)/", text)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_built_like_the_others(name):
    notebook = read(name)
    title, *_, last = notebook.cells
    install, sandbox, parameters = code_of(notebook)[:3]
    assert title.cell_type == "markdown" and title.source.startswith("# ")
    assert "**Run time on a Colab CPU:**" in title.source and "**Needs:**" in title.source
    assert 'find_spec("selfexec_jax") is None' in install.source and "%pip install -q " in install.source
    assert ".capabilities()" in sandbox.source and 'MIN_TIER = found["tier"]' in sandbox.source
    assert parameters == parameters_of(notebook)
    for statement in ast.parse(parameters.source).body:
        assert isinstance(statement, ast.Assign), ast.unparse(statement)
        ast.literal_eval(statement.value)
    known = {target.id for statement in ast.parse(parameters.source).body for target in statement.targets}
    assert known >= SMALL[name].keys()
    assert last.cell_type == "markdown" and last.source.startswith("## What to try next")
    assert re.findall(r"^(\d)\. ", last.source, re.MULTILINE) == ["1", "2", "3"]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name, tmp_path):
    done = executed(name, tmp_path, "import sys; print('jax' in sys.modules)")
    errors = [o for cell in code_of(done) for o in cell.outputs if o.output_type == "error"]
    assert not errors
    assert len(images_of(done)) >= FIGURES[name]
    assert all(len(image) > 4000 for image in images_of(done))
    assert "The sandbox reaches tier" in printed(code_of(done)[1])
    if name == NAMES[0]:
        assert printed(done.cells[-1]).strip() == "False"  # the host half does without jax
        frames = [o.data["text/html"] for c in code_of(done) for o in c.outputs if "text/html" in o.get("data", {})]
        assert sum("<iframe srcdoc=" in frame for frame in frames) == 3


def test_the_sandbox_is_named_where_it_is_weak(tmp_path, monkeypatch):
    """Without Landlock and system-call filter the notebook says so and goes on."""
    monkeypatch.setenv("SELFEXEC_SANDBOX_MASK", "landlock,seccomp,namespaces,uid_chroot")
    done = executed(NAMES[0], tmp_path)
    said = printed(code_of(done)[1])
    assert "'rlimits_only'" in said
    assert "no Landlock" in said and "no filter of system calls" in said and "open a socket" in said


def interpreter(version):
    """A Python of that version which starts; None without one."""
    found = [shutil.which(f"python{version}"), *sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]
    for path in filter(None, map(str, filter(None, found))):
        told = subprocess.run([path, "--version"], capture_output=True, text=True)
        if told.returncode == 0 and told.stdout.startswith(f"Python {version}."):
            return path
    return None


@pytest.mark.long
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_first_notebook_runs_on_other_pythons(version, tmp_path):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    needs = ["numpy", "matplotlib", "rich", "ipython", "sentencepiece>=0.2.3", "fsspec"]
    packages = tmp_path / "packages"
    got = subprocess.run(
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(packages), *needs],
        capture_output=True, text=True,
    )  # fmt: skip
    if got.returncode:
        pytest.skip(f"no packages for Python {version}: {got.stderr[-300:]}")
    cells = [re.sub(r"^(\s*)%.*$", r"\1pass", cell.source, flags=re.MULTILINE) for cell in code_of(read(NAMES[0]))]
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join([*cells, "import sys", "assert 'jax' not in sys.modules", "print('to the end')"]))
    environment = os.environ | {"PYTHONPATH": f"{packages}{os.pathsep}{ROOT}", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [python, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("to the end\n")
