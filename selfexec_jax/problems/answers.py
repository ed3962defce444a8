"""Whether a predicted output or input is right: text in, a label out; nothing of it is ever executed here."""

from __future__ import annotations

import ast
import re
import warnings

from selfexec_jax.problems import syntax
from selfexec_jax.problems.compare import is_literal, is_too_long, literals_match, outputs_match

LABELS = ("ok", "wrong", "not_literal", "no_answer", "truncated")
_OPENED, _CLOSED = re.compile(r"```[^`]*"), re.compile(r"```\s*")  # lines
_LONGEST_LINE = 1 << 20  # characters of an assertion that are read as syntax
_LONGEST_ARGUMENTS = 1 << 16  # of arguments, whose sets are made, which takes the square of what is made for that


def label_output(prediction: str | None, expected: str, kind: str = "call", rule: str | None = None) -> str:
    """One of LABELS for a predicted output: of kind "call" a literal, of kind "stdio" text.

    rule: see `literals_match` and `outputs_match`; by default True and 1 differ, and floats agree within 1e-5.
    Raises ValueError when the expected value of a call is not a literal.
    """
    if prediction is None or not (prediction.strip() or kind == "stdio"):
        return "no_answer"
    if kind == "stdio":
        return "ok" if outputs_match(expected, prediction, rule or "tokens") else "wrong"
    if prediction.strip() == expected.strip() and is_literal(expected.strip()):
        return "ok"
    if is_too_long(expected, prediction):
        return "wrong"
    if literals_match(expected, prediction, rule or "literal"):
        return "ok"
    return "wrong" if is_literal(prediction.strip()) else "not_literal"


def canonical(prediction: str) -> str:
    """One spelling for predictions that differ in layout alone, so that votes for them count together."""
    text = prediction.strip()
    try:
        return ast.unparse(syntax.parse(text, mode="eval")) if is_literal(text) else text
    except syntax.UNREADABLE:
        return text


def program_in(answer: str) -> str:
    """The program in an answer that may hold more: the last fenced block, where the whole is no program itself."""
    found = _fenced(answer)
    return found if found is not None and not _is_program(answer) else answer


def _fenced(answer: str) -> str | None:
    """What stands in the last fenced block that is closed."""
    found, inside = None, None
    for line in answer.split("\n"):
        if inside is None:
            inside = [] if _OPENED.fullmatch(line) else None
        elif _CLOSED.fullmatch(line):
            found, inside = "".join(f"{one}\n" for one in inside), None
        else:
            inside.append(line)
    return found


def _is_program(text: str) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):
            syntax.parse(text)
    except syntax.UNREADABLE:
        return False
    return True


def output_in(answer: str) -> str | None:
    """The output in an answer that may hold more: the last [ANSWER] element, the right side of a last line that is
    an assertion, else the whole answer. None where there is nothing."""
    text = _tagged(answer).strip()
    last = text.rsplit("\n", 1)[-1].strip()
    if last.startswith("assert ") and "==" in last:
        return asserted(last)
    return text or None


def _tagged(answer: str) -> str:
    """What the last [ANSWER] element holds, the whole answer where there is none."""
    end = answer.rfind("[/ANSWER]")
    start = answer.rfind("[ANSWER]", 0, max(end, 0))
    return answer[start + len("[ANSWER]") : end] if 0 <= start < end else answer


def asserted(line: str) -> str | None:
    """The right side of `assert call == value`, read as syntax since either side may hold "==" in a string."""
    if len(line) > _LONGEST_LINE:
        return None
    try:
        test = syntax.parse(line).body[0].test
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq):
            return ast.get_source_segment(line, test.comparators[0])
    except (*syntax.UNREADABLE, AttributeError, IndexError):
        pass
    return line.rsplit("==", 1)[1].strip()


def arguments_in(answer: str, function: str) -> str | None:
    """The argument list in an answer to "which input gives this output?", None unless it is made of literals.

    `f(1, x=2)`, `assert f(1, x=2) == 3` and `1, x=2` are all read.
    """
    text = _tagged(answer).strip().removeprefix("assert ")
    if len(text) > _LONGEST_ARGUMENTS:
        return None
    for source in (text, f"{function}({text})"):
        try:
            found = _literal_arguments(syntax.parse(source, mode="eval").body, function)
        except syntax.UNREADABLE:
            continue
        if found is not None:
            return found
    return None


def _literal_arguments(node: ast.expr, function: str) -> str | None:
    """Of a call of the function, compared with something or not, whose arguments are all literals."""
    node = node.left if isinstance(node, ast.Compare) else node
    if not isinstance(node, ast.Call) or ast.unparse(node.func) != function:
        return None
    values = [*node.args, *(keyword.value for keyword in node.keywords)]
    if not all(map(is_literal, values)) or not all(keyword.arg for keyword in node.keywords):
        return None
    return ", ".join([*map(ast.unparse, node.args), *map(ast.unparse, node.keywords)])
