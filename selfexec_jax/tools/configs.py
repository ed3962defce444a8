"""Config files by their paths, and fields changed on the command line, for tools that are not run by flags."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path


def config_file(path: str):
    """(get_config, own rows) of a config file. Raises ValueError for one that is none."""
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such config file")
    spec = importlib.util.spec_from_file_location("config_of_a_tool", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ValueError(f"{path}: not a config file: it has no get_config")
    return module.get_config, getattr(module, "ROWS", {})


def changed(config, changes: list[str]):
    """The config with each FIELD=VALUE of `changes` put in. Raises ValueError, KeyError or AttributeError."""
    for change in changes:
        field, _, value = change.partition("=")
        try:
            config.update_from_flattened_dict({field: _parsed(value, config, field)})
        except TypeError as error:  # a field of a field that has none, a value of another kind
            raise ValueError(f"--set {change}: {error}") from None
    return config


def _parsed(value: str, config, field: str):
    before = config
    for part in field.split("."):
        before = before[part]
    try:
        return value if isinstance(before, str) else ast.literal_eval(value)
    except (SyntaxError, ValueError):
        raise ValueError(f"--set {field}={value}: not a value of the kind of {before!r}") from None
