"""What the documents name is there: files, modules, fields of the config."""

import importlib.util
import re
from pathlib import Path

import pytest

from selfexec_jax.configs import base

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    p for pattern in ("*.md", "configs/*.md", "launch/*.md", "colab/*.md", "tests/benchmarks/*.md",
                      "selfexec_jax/checkpoints/*/*.md")
    for p in ROOT.glob(pattern)
)  # fmt: skip
MADE = ("report.", "ablations.md", "config.json", "metrics.jsonl", "run.json", "chat_template.jinja", "tokenizer.",
        "data/", "runs/", "my.py", "heartbeat/", "samples/", "compiled/")  # fmt: skip


def quoted(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return [word for found in re.findall(r"`([^`\n]+)`", text) for word in found.split()]


def test_there_are_documents():
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"} <= {p.name for p in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_a_document_names_are_there(page):
    missing = []
    for word in quoted(page):
        word = word.split("::")[0].rstrip(",;")
        is_file = re.fullmatch(r"(?:\w[\w.-]*/)*[\w.-]+\.(py|sh|md|json|jsonl|png|html|ini|toml)", word)
        is_path = is_file or re.fullmatch(r"(?:\w+/)+", word)
        places = (page.parent, ROOT, ROOT / "selfexec_jax", ROOT / "configs")
        if is_path and not word.startswith(MADE) and not any((place / word).exists() for place in places):
            missing.append(word)
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_fields_and_modules_that_a_document_names_are_there(page):
    config, missing = base.get_config(), []
    for word in quoted(page):
        name = word.removeprefix("--config.").removeprefix("--set").strip("=").split("=")[0]
        section, _, field = name.partition(".")
        is_file = field in ("py", "sh", "md", "json", "jsonl", "png", "html", "xla")
        if word.startswith("--config.") and section not in config:
            missing.append(word)
        if re.fullmatch(r"[a-z_]+\.[a-z_*0-9]+", name) and not is_file and hasattr(config.get(section), "keys"):
            known = config[section].keys()
            if field.endswith("*"):
                if not any(key.startswith(field[:-1]) for key in known):
                    missing.append(word)
            elif field not in known:
                missing.append(word)
        if re.fullmatch(r"(tools|tests\.benchmarks)\.\w+", word):
            module = f"selfexec_jax.{word}" if word.startswith("tools") else word
            if importlib.util.find_spec(module) is None:
                missing.append(word)
    assert not missing


def test_pictures_and_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#][^)]*)\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), (page.name, target)
