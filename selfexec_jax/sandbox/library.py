"""Where programs find modules: named packages in their folders, and the standard library held in memory.

Standard library only: the zygote loads this file. The memory is for programs that will see no file: modules
written in Python are kept as code and run when a program imports them; extension modules, which only the
linker can load, are imported at once.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import marshal
import os
import sys
import sysconfig
import warnings

_LEFT_OUT = {
    "site-packages", "dist-packages", "__pycache__", "test", "tests", "idlelib", "lib2to3", "tkinter",
    "turtledemo", "ensurepip", "pydoc_data", "antigravity.py", "this.py",
}  # fmt: skip
_HEADER = 16  # bytes before the code in a .pyc


class Library(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of the standard library without touching a file after it was built."""

    def __init__(self):
        self._modules: dict[str, tuple[str, bytes, bool]] = {}  # name: path, code or source, whether a package
        _import_extensions()
        root = sysconfig.get_path("stdlib")
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
            parts = os.path.relpath(folder, root).split(os.sep)
            package = [] if parts == ["."] else parts
            for name in files:
                if name.endswith(".py") and name not in _LEFT_OUT:
                    is_package = name == "__init__.py"
                    dotted = ".".join(package if is_package else [*package, name[:-3]])
                    path = os.path.join(folder, name)
                    self._modules[dotted] = (path, _code_or_source(path), is_package)

    def find_spec(self, name, path=None, target=None):
        """The place of a module in here, None for any other."""
        if name not in self._modules:
            return None
        path, _, is_package = self._modules[name]
        spec = importlib.machinery.ModuleSpec(name, self, origin=path, is_package=is_package)
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(path)]
        return spec

    def exec_module(self, module):
        """Run the code of a module in its namespace."""
        path, content, _ = self._modules[module.__name__]
        module.__file__ = path
        code = marshal.loads(content[1:]) if content[:1] == b"c" else compile(content[1:], path, "exec")
        exec(code, module.__dict__)


class Packages(importlib.abc.MetaPathFinder):
    """Finds installed packages by name, without a look at what else is installed."""

    def __init__(self, packages: dict[str, list[str]]):
        self._packages = packages

    def find_spec(self, name, path=None, target=None):
        """The place of one of the packages, None for anything else."""
        if name not in self._packages:
            return None
        folder = self._packages[name][0]
        place = os.path.join(folder, "__init__.py")
        return importlib.util.spec_from_file_location(name, place, submodule_search_locations=[folder])


def import_whole(packages: dict[str, list[str]]) -> None:
    """Import packages with the parts that they would load when first asked for them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in packages:
            with contextlib.suppress(Exception):
                module = importlib.import_module(name)
                for attribute in dir(module):
                    getattr(module, attribute, None)


def _code_or_source(path: str) -> bytes:
    """The cached code of a module where there is any, else its text, told apart by the first byte."""
    with contextlib.suppress(OSError, NotImplementedError), open(importlib.util.cache_from_source(path), "rb") as file:
        cached = file.read()
        if cached[:4] == importlib.util.MAGIC_NUMBER:
            return b"c" + cached[_HEADER:]
    with open(path, "rb") as file:
        return b"s" + file.read()


def _import_extensions() -> None:
    folder = os.path.join(sysconfig.get_path("platstdlib"), "lib-dynload")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for name in names:
        module = name.partition(".")[0]
        if not module.startswith(("_test", "_xxtest", "xx", "_tkinter")) and module not in sys.modules:
            with contextlib.suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(module)
