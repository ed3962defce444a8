"""Rewrites the statements of a program so that what they do is recorded.

Standard library only; runs inside the jailed child.
"""

from __future__ import annotations

import ast

from selfexec_jax.sandbox.events import Site
from selfexec_jax.sandbox.rewrite_expressions import Expressions
from selfexec_jax.sandbox.sites import BINARY, constant, names_of, parameters, source


class Statements:
    """Rewrites one module; `statement_at` tells for a source line the site of the innermost statement on it."""

    def __init__(self, helper: str, sites: list[Site], runs: dict[int, object]):
        self.ex = Expressions(helper, sites, runs)
        self.statement_at: dict[int, int] = {}

    def module(self, tree):
        head, body = _split_head(tree.body, futures=True)
        end = tree.body[-1] if tree.body else ast.copy_location(ast.Pass(lineno=1, col_offset=0), tree)
        start = tree.body[0] if tree.body else end
        ends = [self.ex.do(end, "finish", self.ex.site())]
        tree.body = head + [self.ex.do(start, "begin", self.ex.site())] + self.block(body) + ends
        return tree

    def block(self, statements):
        out = []
        for statement in statements:
            self.ex.count += 1
            self.ex.line, self.ex.stmt = statement.lineno, self.ex.count
            out += self.statement(statement)
        return out

    def statement(self, node):
        known = self.ex.site()
        last = node.body[0].lineno - 1 if _compound(node) else node.end_lineno
        for line in range(node.lineno, max(last, node.lineno) + 1):
            self.statement_at[line] = known
        method = _STATEMENTS.get(type(node))
        if method is None:
            return [node]
        done = method(self, node)
        return done if type(done) is list else [done]

    def inner(self, statements):
        """A nested block; the numbering of the enclosing statement is restored after it."""
        line, stmt = self.ex.line, self.ex.stmt
        out = self.block(statements)
        self.ex.line, self.ex.stmt = line, stmt
        return out

    def bound(self, at, target, how):
        """Statements that record the plain names bound by a target."""
        names = names_of(target)
        return [_does(at, self.ex.binding(at, names, how))] if names else []

    def s_assign(self, node):
        value = node.value
        node.value = self.ex.expr(value)
        if type(node.targets[0]) is ast.Name and len(node.targets) == 1 and self.ex.tells(value):
            self.ex.bind(node.value, node.targets[0].id)
            return node
        after = [one for target in node.targets for one in self.bound(node, target, "assign")]
        node.targets = [self.ex.target(target) for target in node.targets]
        return [node, *after]

    def s_annassign(self, node):
        if node.value is None:
            return node
        node.value = self.ex.expr(node.value)
        after = self.bound(node, node.target, "assign")
        node.target = self.ex.target(node.target)
        return [node, *after]

    def s_augassign(self, node):
        src = source(node.target)
        op, _, run = BINARY[type(node.op)]
        args = ((src, True), self.ex.part(node.value))
        target = node.target
        if type(target) is ast.Name:
            number = self.ex.site(run, op=op, args=args, src=f"{src}{op}{args[1][0]}")
            load = ast.copy_location(ast.Name(target.id, ast.Load()), node)
            value = self.ex.hook(node, "b", number, load, self.ex.expr(node.value))
            self.ex.bind(value, target.id)
            return ast.copy_location(ast.Assign([target], value), node)
        number = self.ex.site(run, op=op, args=args)
        if type(target) is ast.Subscript:
            base = (self.ex.part(target.value), self.ex.part(target.slice))
            load = self.ex.site(args=base, src=src)
            cell = self.ex.hook(node, "gi", load, self.ex.expr(target.value), self.ex.index(target.slice))
            store = self.ex.site(args=base)
        else:
            attr = self.ex.mangled(target.attr)
            cell = self.ex.hook(node, "ga", self.ex.site(attr=attr), self.ex.expr(target.value))
            store = self.ex.site(args=(self.ex.part(target.value),), attr=attr)
        self.ex.runs[store] = number
        return self.ex.do(node, "si", store, cell, self.ex.expr(node.value))

    def s_expr(self, node):
        node.value = self.ex.expr(node.value)
        return node

    def s_delete(self, node):
        after = []
        for target in node.targets:
            if type(target) is ast.Subscript:
                if type(target.value) is ast.Name:
                    after.append(_does(node, self.ex.binding(node, [target.value.id], "after")))
                target.value, target.slice = self.ex.expr(target.value), self.ex.index(target.slice)
        return [node, *after]

    def s_return(self, node):
        value = (
            ast.copy_location(ast.Constant(None), node) if node.value is None else self.ex.expr(node.value)
        )
        node.value = self.ex.hook(node, "ret", self.ex.site(), value)
        return node

    def s_raise(self, node):
        if node.exc is not None:
            node.exc = self.ex.hook(node, "rs", self.ex.site(), self.ex.expr(node.exc))
            if node.cause is not None:
                node.cause = self.ex.expr(node.cause)
        return node

    def s_assert(self, node):
        node.test = self.ex.condition(node.test, "assert")
        if node.msg is not None:
            node.msg = self.ex.expr(node.msg)
        return node

    def s_jump(self, node):
        word = "break" if type(node) is ast.Break else "continue"
        return [self.ex.do(node, "j", self.ex.site(src=word)), node]

    def s_if(self, node):
        node.test = self.ex.condition(node.test, "if")
        node.body = self.inner(node.body)
        node.orelse = self.inner(node.orelse)
        return node

    def s_while(self, node):
        # Of a condition that is a constant nothing else says that a round begins.
        begins = [self.ex.do(node, "j", self.ex.site(src="round"))] if constant(node.test) else []
        node.test = self.ex.condition(node.test, "while")
        node.body = begins + self.inner(node.body)
        node.orelse = self.inner(node.orelse)
        return node

    def s_for(self, node):
        ended = self.ex.do(node, "end", self.ex.site(src=_bare(node.target), op=source(node.iter)))
        node.iter = self.ex.expr(node.iter)
        bound = self.bound(node, node.target, "loop")
        node.target = self.ex.target(node.target)
        node.body = bound + self.inner(node.body)
        node.orelse = [ended, *self.inner(node.orelse)]
        return node

    def s_with(self, node):
        bound = []
        for item in node.items:
            item.context_expr = self.ex.expr(item.context_expr)
            if item.optional_vars is not None:
                bound += self.bound(node, item.optional_vars, "with")
                item.optional_vars = self.ex.target(item.optional_vars)
        node.body = bound + self.inner(node.body)
        return node

    def s_try(self, node):
        caught = type(node) is ast.Try
        node.body = self.inner(node.body)
        for handler in node.handlers:
            self.ex.line = handler.lineno
            start = [self.ex.do(handler, "x", self.ex.site())] if caught else []
            handler.body = start + self.inner(handler.body)
        node.orelse = self.inner(node.orelse)
        node.finalbody = self.inner(node.finalbody)
        return node

    def s_match(self, node):
        node.subject = self.ex.expr(node.subject)
        for case in node.cases:
            self.ex.line = case.pattern.lineno
            pattern = ast.unparse(case.pattern)
            start = [self.ex.do(case.pattern, "j", self.ex.site(src=f"case {pattern}"))]
            names = sorted({n.name for n in ast.walk(case.pattern) if getattr(n, "name", None)})
            if names:
                start.append(_does(case.pattern, self.ex.binding(case.pattern, names, "case")))
            if case.guard is not None:
                case.guard = self.ex.condition(case.guard, "if")
            case.body = start + self.inner(case.body)
        return node

    def s_class(self, node):
        node.decorator_list = [self.ex.expr(one) for one in node.decorator_list]
        self.ex.classes.append(node.name)
        line, stmt = self.ex.line, self.ex.stmt
        node.body = [one for part in node.body for one in self.member(part)]
        self.ex.line, self.ex.stmt = line, stmt
        self.ex.classes.pop()
        return node

    def member(self, node):
        """A class body is left alone, since it must not see new names; its methods and classes are not."""
        if type(node) not in (ast.FunctionDef, ast.ClassDef):
            return [node]
        self.ex.count += 1
        self.ex.line, self.ex.stmt = node.lineno, self.ex.count
        decorators, node.decorator_list = node.decorator_list, []
        done = self.statement(node)
        node.decorator_list = decorators
        return done

    def s_function(self, node):
        node.decorator_list = [self.ex.expr(one) for one in node.decorator_list]
        if not self.ex.classes:
            node.args.defaults = [self.ex.expr(one) for one in node.args.defaults]
            node.args.kw_defaults = [one and self.ex.expr(one) for one in node.args.kw_defaults]
        names = parameters(node.args)
        loads = [ast.copy_location(ast.Name(name, ast.Load()), node) for name in names]
        number = self.ex.site(op=node.name, names=tuple(names))
        head, body = _split_head(node.body)
        end = node.body[-1]
        line, stmt = self.ex.line, self.ex.stmt
        inner = self.inner(body)
        if _is_generator(node):
            node.body = head + [self.ex.do(node, "gen", number, *loads)] + inner
            return node
        self.ex.line, self.ex.stmt = end.end_lineno, self.ex.count + 1
        self.ex.count += 1
        if type(end) not in (ast.Return, ast.Raise):
            none = self.ex.hook(end, "ret", self.ex.site(), ast.copy_location(ast.Constant(None), end))
            inner = [*inner, ast.copy_location(ast.Return(none), end)]
        self.ex.line, self.ex.stmt = line, stmt
        enter, leave = self.ex.do(node, "enter", number, *loads), self.ex.do(node, "leave", number)
        guarded = ast.Try(body=inner or [ast.Pass()], handlers=[], orelse=[], finalbody=[leave])
        node.body = head + [enter, ast.fix_missing_locations(ast.copy_location(guarded, node))]
        return node


_STATEMENTS = {
    ast.Assign: Statements.s_assign,
    ast.AnnAssign: Statements.s_annassign,
    ast.AugAssign: Statements.s_augassign,
    ast.Expr: Statements.s_expr,
    ast.Delete: Statements.s_delete,
    ast.Return: Statements.s_return,
    ast.Raise: Statements.s_raise,
    ast.Assert: Statements.s_assert,
    ast.Break: Statements.s_jump,
    ast.Continue: Statements.s_jump,
    ast.If: Statements.s_if,
    ast.While: Statements.s_while,
    ast.For: Statements.s_for,
    ast.With: Statements.s_with,
    ast.Try: Statements.s_try,
    ast.TryStar: Statements.s_try,
    ast.Match: Statements.s_match,
    ast.ClassDef: Statements.s_class,
    ast.FunctionDef: Statements.s_function,
}


def _does(at, expression):
    return ast.copy_location(ast.Expr(expression), at)


def _compound(node):
    return isinstance(node, (ast.If, ast.While, ast.For, ast.With, ast.Try, ast.FunctionDef, ast.ClassDef))


def _bare(target):
    text = ast.unparse(target).replace(" ", "")
    return text[1:-1] if text.startswith("(") and text.endswith(")") else text


def _split_head(body, futures=False):
    """The docstring and `from __future__` lines, which must stay first, and the rest."""
    at = 0
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        at = 1 if type(body[0].value.value) is str else 0
    while (
        futures
        and at < len(body)
        and isinstance(body[at], ast.ImportFrom)
        and body[at].module == "__future__"
    ):
        at += 1
    return body[:at], body[at:]


def _is_generator(function):
    """Whether the function itself, not one inside it, yields."""
    todo = list(function.body)
    while todo:
        node = todo.pop()
        if type(node) in (ast.Yield, ast.YieldFrom):
            return True
        if type(node) not in (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef):
            todo += ast.iter_child_nodes(node)
    return False
