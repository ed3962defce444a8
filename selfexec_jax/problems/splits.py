"""Keeping training and evaluation apart: programs are compared by their normalised syntax tree."""

from __future__ import annotations

import ast
import builtins

from selfexec_jax.problems import syntax

_BUILTINS = frozenset(dir(builtins))


class _Rename(ast.NodeTransformer):
    """Renames every name of the program's own to v0, v1, ... in order of appearance; constants to their types if asked.
    """

    def __init__(self, keeps_constants: bool) -> None:
        self.names: dict[str, str] = {}
        self._keeps_constants = keeps_constants

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return node if self._keeps_constants else ast.copy_location(ast.Constant(type(node.value).__name__), node)

    def _new(self, name: str) -> str:
        return name if name in _BUILTINS else self.names.setdefault(name, f"v{len(self.names)}")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.copy_location(ast.Name(self._new(node.id), node.ctx), node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self._new(node.arg))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self._new(node.name)
        return self.generic_visit(node)


def normalised_ast(source: str, keeps_constants: bool = True) -> str:
    """The program's syntax tree with its own names renamed, and its constants kept or told by their types, as text.

    Raises SyntaxError for text that is not Python.
    """
    return ast.dump(_Rename(keeps_constants).visit(syntax.parse(source)))


def program_key(source: str) -> str:
    """The same for programs that differ in names and layout alone; a text that cannot be read stands for itself."""
    try:
        return normalised_ast(source)
    except syntax.UNREADABLE:
        return source
