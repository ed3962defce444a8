"""What the rewriter can say of an expression before it runs, and the operations that can be recorded.

Standard library only; runs inside the jailed child.
"""

from __future__ import annotations

import ast
import operator

BINARY = {
    ast.Add: ("+", operator.add, operator.iadd),
    ast.Sub: ("-", operator.sub, operator.isub),
    ast.Mult: ("*", operator.mul, operator.imul),
    ast.Div: ("/", operator.truediv, operator.itruediv),
    ast.FloorDiv: ("//", operator.floordiv, operator.ifloordiv),
    ast.Mod: ("%", operator.mod, operator.imod),
    ast.Pow: ("**", operator.pow, operator.ipow),
    ast.LShift: ("<<", operator.lshift, operator.ilshift),
    ast.RShift: (">>", operator.rshift, operator.irshift),
    ast.BitOr: ("|", operator.or_, operator.ior),
    ast.BitAnd: ("&", operator.and_, operator.iand),
    ast.BitXor: ("^", operator.xor, operator.ixor),
    ast.MatMult: ("@", operator.matmul, operator.imatmul),
}
UNARY = {ast.USub: ("-", operator.neg), ast.Invert: ("~", operator.invert)}
COMPARE = {
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.In: ("in", lambda a, b: operator.contains(b, a)),
    ast.NotIn: ("not in", lambda a, b: not operator.contains(b, a)),
    ast.Is: ("is", operator.is_),
    ast.IsNot: ("is not", operator.is_not),
}
# Reading and converting is not an operation of its own: only what it is bound to is said.
_READING = "input readline read readlines open"
_CONVERTING = "int float str list tuple set dict bool map range enumerate zip reversed iter items keys values"
_SPLITTING = "split rsplit splitlines strip rstrip lstrip copy deepcopy type"
_SILENT = "print write writelines flush exit quit super"
QUIET = frozenset(f"{_READING} {_CONVERTING} {_SPLITTING} {_SILENT}".split())
SOURCE_CHARS = 60  # a longer source is not shown


def source(node: ast.expr) -> str:
    """The source of an expression on one line, in brackets where it would not hold together."""
    text = ast.unparse(node)
    if "\n" in text or len(text) > SOURCE_CHARS:
        return "(...)"
    if isinstance(node, (ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Compare, ast.Yield, ast.Await)):
        return f"({text})"
    return f"({text})" if isinstance(node, (ast.NamedExpr, ast.YieldFrom, ast.Starred)) else text


def names_of(target):
    """The plain names that a target binds, in order."""
    if type(target) is ast.Name:
        return [target.id]
    if type(target) is ast.Starred:
        return names_of(target.value)
    if type(target) in (ast.Tuple, ast.List):
        return [name for one in target.elts for name in names_of(one)]
    return []


def parameters(args):
    plain = [one.arg for one in (*args.posonlyargs, *args.args)]
    star = [args.vararg.arg] if args.vararg else []
    return plain + star + [one.arg for one in args.kwonlyargs] + ([args.kwarg.arg] if args.kwarg else [])


def constant(node):
    """Whether an expression is built of numbers and strings alone (the compiler folds it)."""
    if type(node) is ast.Constant:
        return True
    if type(node) is ast.UnaryOp and type(node.op) in UNARY:
        return constant(node.operand)
    return type(node) is ast.BinOp and constant(node.left) and constant(node.right)
