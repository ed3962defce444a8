"""Rewrites expressions so that their values pass through the recorder, each computed once.

Standard library only; runs inside the jailed child.
"""

from __future__ import annotations

import ast

from selfexec_jax.sandbox.events import NO_PART, Site
from selfexec_jax.sandbox.sites import (
    BINARY,
    COMPARE,
    QUIET,
    UNARY,
    constant,
    names_of,
    parameters,
    source,
)

# These look at their caller's frame, so their calls stay as they are.
IN_FRAME = frozenset("super locals globals vars dir eval exec print __import__ breakpoint".split())
_NAMED = (ast.Name, ast.Attribute)
_INERT = (ast.Name, ast.Constant, ast.Load, ast.Store, ast.comprehension, ast.Attribute, ast.Tuple)
_UNTOUCHED = (ast.Name, ast.Constant, ast.Slice)


class Expressions:
    """Rewrites the expressions of one module; every hook call carries the number of its `Site`.

    `line` and `stmt` say which statement is being rewritten; `classes` which classes it is in.
    """

    def __init__(self, helper: str, sites: list[Site], runs: dict[int, object]):
        self.helper, self.sites, self.runs = helper, sites, runs
        self.line, self.stmt, self.count = 1, 0, 0
        self.classes: list[str] = []

    def site(self, run=None, **known):
        """The number of a new site; `run` is what its hook needs to do the program's work."""
        self.sites.append(Site(self.line, self.stmt, **known))
        number = len(self.sites) - 1
        if run is not None:
            self.runs[number] = run
        return number

    def hook(self, at, name, number, *args):
        function = ast.Attribute(ast.Name(self.helper, ast.Load()), name, ast.Load())
        call = ast.Call(function, [ast.Constant(number), *args], [])
        return ast.fix_missing_locations(ast.copy_location(call, at))

    def do(self, at, name, number, *args):
        return ast.copy_location(ast.Expr(self.hook(at, name, number, *args)), at)

    def mangled(self, name):
        if self.classes and name.startswith("__") and not name.endswith("__"):
            owner = self.classes[-1].lstrip("_")
            return f"_{owner}{name}" if owner else name
        return name

    def binding(self, at, names, how):
        """A hook that records what these names are bound to."""
        loads = [ast.copy_location(ast.Name(name, ast.Load()), at) for name in names]
        number = self.site(names=tuple(names), how=how)
        return self.hook(at, "n" if len(names) == 1 else "ns", number, *loads)

    def tells(self, node):
        """Whether the event of an expression has its value for sure, so that one event can tell a binding too."""
        return type(node) in (ast.BinOp, ast.Subscript) and not constant(node)

    def bind(self, hooked, name):
        """Lets the event of a hooked expression tell as well what name it is bound to."""
        number = hooked.args[0].value
        self.sites[number] = self.sites[number]._replace(names=(name,), how="assign")

    def target(self, node):
        """The same target, with stores into containers and attributes recorded as they happen."""
        kind = type(node)
        if kind is ast.Subscript:
            number = self.site(args=(self.part(node.value), self.part(node.slice)))
            cell = self.hook(node, "cell", number, self.expr(node.value), self.index(node.slice))
        elif kind is ast.Attribute:
            number = self.site(args=(self.part(node.value),), attr=self.mangled(node.attr))
            cell = self.hook(node, "acell", number, self.expr(node.value))
        elif kind in (ast.Tuple, ast.List):
            node.elts = [self.target(one) for one in node.elts]
            return node
        elif kind is ast.Starred:
            node.value = self.target(node.value)
            return node
        else:
            return node
        return ast.copy_location(ast.Attribute(cell, "v", ast.Store()), node)

    def part(self, node):
        """(source, whether it is a name) of an operand."""
        if node is None:
            return NO_PART
        return (source(node), isinstance(node, _NAMED))

    def expr(self, node):
        if constant(node):
            return node
        method = _EXPRESSIONS.get(type(node))
        return self.generic(node) if method is None else method(self, node)

    def generic(self, node):
        if type(node) in _UNTOUCHED:
            return node
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                setattr(node, name, self.expr(value))
            elif type(value) is list:
                setattr(node, name, [self.expr(one) if isinstance(one, ast.expr) else one for one in value])
        return node

    def e_binary(self, node):
        op, run, _ = BINARY[type(node.op)]
        args = (self.part(node.left), self.part(node.right))
        number = self.site(run, op=op, args=args, src=source(node))
        return self.hook(node, "b", number, self.expr(node.left), self.expr(node.right))

    def e_unary(self, node):
        if type(node.op) is ast.Not:
            node.operand = self.test(node.operand)
            return node
        if type(node.op) not in UNARY:
            return self.generic(node)
        op, run = UNARY[type(node.op)]
        number = self.site(run, op=op, args=(self.part(node.operand),), src=source(node))
        return self.hook(node, "u", number, self.expr(node.operand))

    def e_subscript(self, node):
        number = self.site(args=(self.part(node.value), self.part(node.slice)), src=source(node))
        return self.hook(node, "g", number, self.expr(node.value), self.index(node.slice))

    def index(self, node):
        if type(node) is ast.Slice:
            none = ast.copy_location(ast.Constant(None), node)
            parts = [none if one is None else self.expr(one) for one in (node.lower, node.upper, node.step)]
            function = ast.Attribute(ast.Name(self.helper, ast.Load()), "slice", ast.Load())
            return ast.fix_missing_locations(ast.copy_location(ast.Call(function, parts, []), node))
        if type(node) is ast.Tuple:
            node.elts = [self.index(one) for one in node.elts]
            return node
        return self.expr(node)

    def e_compare(self, node, branch=None):
        """A comparison; a chain becomes `chain(a, b) and link(c)`, its middle value kept by the recorder."""
        operands = [node.left, *node.comparators]
        parts = [self.part(one) for one in operands]
        texts, runs = zip(*(COMPARE[type(op)] for op in node.ops), strict=True)
        if len(node.ops) == 1:
            number = self.site(runs[0], op=texts[0], args=tuple(parts), branch=branch)
            return self.hook(node, "cmp", number, self.expr(node.left), self.expr(node.comparators[0]))
        numbers = [
            self.site(op=texts[i], args=tuple(parts[i : i + 2]), branch=branch) for i in range(len(texts))
        ]
        for number, run, after in zip(numbers, runs, [*numbers[1:], None], strict=True):
            self.runs[number] = (run, after)
        links = [self.hook(node, "chain", numbers[0], self.expr(operands[0]), self.expr(operands[1]))]
        links += [
            self.hook(node, "link", number, self.expr(one))
            for number, one in zip(numbers[1:], operands[2:], strict=True)
        ]
        return ast.copy_location(ast.BoolOp(ast.And(), links), node)

    def test(self, node):
        """An operand whose truth alone matters, as part of a larger condition."""
        kind = type(node)
        if constant(node):
            return node
        if kind is ast.BoolOp:
            node.values = [self.test(one) for one in node.values]
            return node
        if kind is ast.UnaryOp and type(node.op) is ast.Not:
            node.operand = self.test(node.operand)
            return node
        if kind is ast.Compare:
            return self.e_compare(node, branch="")
        return self.hook(node, "t", self.site(args=(self.part(node),)), self.expr(node))

    def condition(self, node, of):
        """An expression that decides `of` (if, while, ternary, comp, assert)."""
        if constant(node):
            return node
        kind = type(node)
        if kind is ast.Compare and len(node.ops) == 1:
            return self.e_compare(node, branch=of)
        if kind in (ast.BoolOp, ast.Compare) or kind is ast.UnaryOp and type(node.op) is ast.Not:
            return self.hook(node, "w", self.site(branch=of), self.test(node))
        return self.hook(node, "t", self.site(args=(self.part(node),), branch=of), self.expr(node))

    def e_ternary(self, node):
        node.test = self.condition(node.test, "ternary")
        node.body, node.orelse = self.expr(node.body), self.expr(node.orelse)
        return node

    def e_call(self, node):
        function = node.func
        src = source(function)
        op = function.attr if type(function) is ast.Attribute else src
        starred = any(type(one) is ast.Starred for one in node.args)
        number = self.site(
            op=op,
            names=(src,),
            src=source(node),
            args=() if starred else tuple(self.part(one) for one in node.args),
            kw=tuple((one.arg, self.part(one.value)) for one in node.keywords),
            on=self.part(function.value) if type(function) is ast.Attribute else NO_PART,
        )
        node.args = [self.expr(one) for one in node.args]
        for one in node.keywords:
            one.value = self.expr(one.value)
        if type(function) is ast.Name and function.id in IN_FRAME:
            return node
        node.func = self.hook(node, "p", number, self.expr(function))
        return self.hook(node, "r", number, node)

    def e_walrus(self, node):
        node.value = self.expr(node.value)
        return self.hook(node, "ne", self.site(names=(node.target.id,), how="walrus"), node)

    def e_yield(self, node):
        none = ast.copy_location(ast.Constant(None), node)
        value = none if node.value is None else self.expr(node.value)
        node.value = self.hook(node, "yv", self.site(), value)
        return node

    def apart(self, method, node):
        """Rewrites code that runs many times within a statement, numbered as a statement of its own."""
        stmt = self.stmt
        self.count += 1
        self.stmt = self.count
        done = method(node)
        self.stmt = stmt
        return done

    def e_lambda(self, node):
        node.args.defaults = [self.expr(one) for one in node.args.defaults]
        node.args.kw_defaults = [one and self.expr(one) for one in node.args.kw_defaults]
        return self.apart(self.lambda_body, node)

    def lambda_body(self, node):
        names = parameters(node.args)
        number = self.site(op="<lambda>", names=tuple(names))
        loads = [ast.copy_location(ast.Name(name, ast.Load()), node) for name in names]
        if any(type(one) in (ast.Yield, ast.YieldFrom, ast.Await) for one in ast.walk(node.body)):
            return node
        entered = self.hook(node, "le", number, *loads)
        node.body = self.hook(node, "lr", number, entered, self.expr(node.body))
        return node

    def e_comprehension(self, node):
        if _converts_only(node):
            node.generators[0].iter = self.expr(node.generators[0].iter)
            if type(node) is ast.GeneratorExp:
                node.elt = self.hook(node, "e", self.site(), node.elt)
            return node
        if any(one.is_async for one in node.generators):
            return node
        node.generators[0].iter = self.expr(node.generators[0].iter)
        return self.apart(self.elements, node)

    def elements(self, node):
        for i, one in enumerate(node.generators):
            one.iter = self.expr(one.iter) if i else one.iter
            one.ifs = [self.condition(test, "comp") for test in one.ifs]
            names = names_of(one.target)
            if names:
                one.ifs.insert(0, self.binding(node, names, "comp"))
        if type(node) is ast.DictComp:
            node.key, node.value = self.expr(node.key), self.expr(node.value)
        else:
            node.elt = self.expr(node.elt)
            if type(node) is ast.GeneratorExp:
                node.elt = self.hook(node, "e", self.site(), node.elt)
        return node


_EXPRESSIONS = {
    ast.BinOp: Expressions.e_binary,
    ast.UnaryOp: Expressions.e_unary,
    ast.Subscript: Expressions.e_subscript,
    ast.Compare: Expressions.e_compare,
    ast.IfExp: Expressions.e_ternary,
    ast.Call: Expressions.e_call,
    ast.NamedExpr: Expressions.e_walrus,
    ast.Yield: Expressions.e_yield,
    ast.Lambda: Expressions.e_lambda,
    ast.ListComp: Expressions.e_comprehension,
    ast.SetComp: Expressions.e_comprehension,
    ast.DictComp: Expressions.e_comprehension,
    ast.GeneratorExp: Expressions.e_comprehension,
}


def _converts_only(node):
    """Whether a comprehension only reads or converts its elements, or repeats one that never changes."""
    if type(node) is ast.DictComp or any(one.ifs for one in node.generators):
        return False
    own = {name for one in node.generators for name in names_of(one.target)}
    used = {part.id for part in ast.walk(node.elt) if type(part) is ast.Name}
    return all(_converts(part, repeats=not own & used) for part in ast.walk(node.elt))


def _converts(part, repeats):
    """Whether one node of an element computes nothing worth telling."""
    kind = type(part)
    if kind is ast.Call:
        function = part.func
        return (function.attr if type(function) is ast.Attribute else ast.unparse(function)) in QUIET
    if kind is ast.ListComp:
        return not any(one.ifs for one in part.generators)
    if kind in (ast.List, ast.BinOp, ast.Mult):
        return repeats
    return kind in _INERT
