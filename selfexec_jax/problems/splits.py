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
        self._parameters: set[str] = set()
        self._keeps_constants = keeps_constants

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return node if self._keeps_constants else ast.copy_location(ast.Constant(type(node.value).__name__), node)

    def _new(self, name: str) -> str:
        return name if name in _BUILTINS else self.names.setdefault(name, f"v{len(self.names)}")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.copy_location(ast.Name(self._new(node.id), node.ctx), node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        new = self._new(node.arg)
        if new != node.arg:
            self._parameters.add(node.arg)
        return ast.arg(new)

    def _named(self, node: ast.AST) -> ast.AST:
        node.name = node.name and self._new(node.name)
        return self.generic_visit(node)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_ExceptHandler = _named

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        if node.arg in self._parameters:  # of a function of its own, which stands above
            node.arg = self.names[node.arg]
        return self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> ast.AST:
        node.asname = node.asname and self._new(node.asname)
        return node

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> ast.AST:
        node.names = list(map(self._new, node.names))
        return node

    visit_Nonlocal = visit_Global


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
