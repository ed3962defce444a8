"""The style `full`: one English sentence a statement, with its line number, operands and results.

    Line 5: 7 % 3 is 1, and 1 == 1 is true, so the branch is taken.
    Line 6: 7 * 2 is 14 and 0 + 14 is 14, so t becomes 14.

Facts (operations, comparisons, reads) come first and are joined by " and " or ", and "; what follows from
them comes after ", so ". What is printed, raised or matched takes the rest of its sentence as it is.
"""

from __future__ import annotations

import ast
import functools
import re
import warnings

from selfexec_jax.problems import syntax
from selfexec_jax.problems.compare import read_literal
from selfexec_jax.traces import scan
from selfexec_jax.traces.steps import (
    Bind,
    Branch,
    Call,
    Catch,
    Compare,
    Jump,
    Limit,
    LoopEnd,
    Op,
    Print,
    Raise,
    Read,
    Return,
    Rounds,
    Spell,
    Step,
    Unreadable,
    Yield,
)

_OUTCOMES = {
    ("if", True): "the branch is taken",
    ("if", False): "the branch is not taken",
    ("while", True): "the loop goes on",
    ("while", False): "the loop stops",
    ("ternary", True): "the first choice is used",
    ("ternary", False): "the second choice is used",
    ("comp", True): "the element is kept",
    ("comp", False): "the element is left out",
    ("assert", True): "the assertion holds",
    ("assert", False): "the assertion fails",
}
_JUMPS = {"break": "the loop is left", "continue": "the rest of this round is skipped"}
_FACTS = (Op, Compare, Read)
_ALONE = (Call, Return, Yield, Raise, Jump, Limit, Print, Rounds, Spell)
_JOINS = (", so ", ", and ", ", then ", " and ")
_LINE = re.compile(r"Line (\d+): (.*)\.$")


def said(steps: list[Step]) -> list[Step]:
    """The steps that this style says: all of them. Which loop ended is said by its line."""
    return list(steps)


def key(step: Step) -> tuple:
    """What two equal claims share: all their fields but the line; spaces outside strings do not matter.

    That a name has a value reads the same whether it got it or had it, "is True" the same as "is true", and that a
    loop ends the same as that its condition fails.
    """
    if isinstance(step, LoopEnd):
        return ("Branch", False)
    if isinstance(step, (Bind, Op)):
        text = _tight(step.target if isinstance(step, Bind) else step.text)
        if step.value in ("True", "False"):
            return ("Compare", text, step.value == "True")
        return ("Op", text, _tight(step.value))
    return (type(step).__name__, *(_tight(getattr(step, name)) for name in _SAID[type(step)]))


def _tight(value):
    if type(value) is tuple:
        return tuple(map(_tight, value))
    return scan.squeeze(value) if type(value) is str else value


def render(steps: list[Step]) -> str:
    """The narration of steps that went through `said`."""
    return "\n".join(sentence for sentence, _ in sentences(steps))


def sentences(steps: list[Step]) -> list[tuple[str, int]]:
    """The sentences of a narration, each with the number of its last step."""
    out: list[tuple[str, int]] = []
    last = None
    for i, step in enumerate(steps):
        clause = _CLAUSES[type(step)](step)
        if last is None or _new_sentence(last, step):
            out.append((f"Line {step.line}: {clause}", i))
        else:
            out[-1] = (out[-1][0] + _join(last, step) + clause, i)
        last = step
    return [(sentence + ".", i) for sentence, i in out]


def _new_sentence(last: Step, step: Step) -> bool:
    if isinstance(last, _ALONE) or isinstance(step, (Call, Limit, Rounds, Spell)):
        return True
    if isinstance(step, Bind) and step.how in ("loop", "comp"):
        return True
    return last.stmt != step.stmt or last.line != step.line


def _join(last: Step, step: Step) -> str:
    if isinstance(step, Bind) and step.how in ("loop+", "comp+"):
        return ", and "
    if isinstance(step, _FACTS):
        if not isinstance(last, _FACTS):
            return ", then "
        return ", and " if isinstance(step, Compare) else " and "
    if isinstance(step, Bind) and isinstance(last, Op) and last.value != step.value and not step.target.isidentifier():
        return ", then "  # "m[1] is [3, 4]" is no reason for m[1][0]
    return ", so " if isinstance(last, _FACTS) else " and "


def _bind(step):
    if step.how in ("loop", "loop+", "comp", "comp+"):
        return f"next {step.target} is {step.value}"
    return f"{step.target} becomes {step.value}"


def _op(step):
    bare = step.value == "None" and step.text.endswith(")")
    return f"it calls {step.text}" if bare else f"{step.text} is {step.value}"


def _call(step):
    args = ", ".join(f"{name} = {value}" for name, value in step.args)
    name = "the lambda" if step.name == "lambda" else step.name
    return f"{name} is called with {args}" if args else f"{name} is called"


def _print(step):
    text = step.text[:-1]
    if not (step.text.endswith("\n") and text.isprintable() and text == text.strip()):
        return f"it writes {step.text!r}"
    return f"it prints {text}" if text else "it prints an empty line"


def _spell(step):
    return f"{step.target} by position: " + ", ".join(f"{i} {item}" for i, item in enumerate(step.items))


def _rounds(step):
    left = ", ".join(f"{name} = {value}" for name, value in step.values)
    same = [f"line {line} {'always' if holds else 'never'} holds" for line, holds in step.same]
    return "; ".join([f"{step.n} more rounds" + (f" leave {left}" if left else " pass"), *same])


_CLAUSES = {
    Rounds: _rounds,
    Bind: _bind,
    Op: _op,
    Spell: _spell,
    Compare: lambda step: f"{step.text} is {'true' if step.holds else 'false'}",
    Branch: lambda step: _OUTCOMES[step.of, step.taken],
    LoopEnd: lambda step: "the loop ends",
    Call: _call,
    Return: lambda step: f"it returns {step.value}",
    Yield: lambda step: f"it yields {step.value}",
    Raise: lambda step: f"it raises {step.type}" + (f": {step.message}" if step.message else ""),
    Catch: lambda step: f"the {step.type} is caught",
    Jump: lambda step: _JUMPS.get(step.word, f"it matches {step.word}"),
    Limit: lambda step: f"it takes more than {step.n} rounds",
    Print: _print,
    Read: lambda step: f"it reads {step.value}",
    Unreadable: lambda step: step.text,
}
_SAID = {
    Bind: ("target", "value"),
    Op: ("text", "value"),
    Spell: ("target", "items"),
    Compare: ("text", "holds"),
    Branch: ("taken",),
    Call: ("name", "args"),
    Return: ("value",),
    Yield: ("value",),
    Raise: ("type", "message"),
    Catch: ("type",),
    Jump: ("word",),
    Limit: ("n",),
    Print: ("text",),
    Read: ("value",),
    Rounds: ("n", "values", "same"),
    Unreadable: ("text",),
}


def parse(text: str) -> list[Step]:
    """The claims of a narration, one after the other; a sentence in other words becomes `Unreadable`, whole."""
    claims: list[Step] = []
    for sentence in text.split("\n"):
        sentence = sentence.strip("\r")
        if sentence.strip():
            read = _parse_sentence(sentence)
            claims += read if all(map(_is_sound, read)) else [Unreadable(0, sentence, reading=tuple(read))]
    return claims


def _is_sound(claim: Step) -> bool:
    """Whether a claim was read, what it is about may be code, and what it gives as a value may be one."""
    if isinstance(claim, Call):
        return all(_may_be_value(value) for _, value in claim.args)
    about = "x"
    if isinstance(claim, (Print, Raise, Jump)) and _SWALLOWED.search(" ".join(map(str, vars(claim).values()))):
        return False
    if isinstance(claim, Bind):
        about = claim.target
    elif isinstance(claim, Spell):
        return _may_be_code(claim.target) and all(map(_may_be_value, claim.items))
    elif isinstance(claim, (Op, Compare)):
        about = claim.text if isinstance(claim, Compare) or not claim.text.isidentifier() else "no operation"
    elif isinstance(claim, (Raise, Catch)):
        about = claim.type
    return not isinstance(claim, Unreadable) and _may_be_code(about) and _may_be_value(getattr(claim, "value", "0"))


@functools.lru_cache(maxsize=1 << 12)
def _may_be_code(text: str) -> bool:
    if text.isidentifier() or "<" in text or "..." in text:
        return True
    if ". " in scan.STRING.sub("", text):  # "f is called. x" is code, of a kind
        return False
    try:
        with warnings.catch_warnings(action="ignore"):
            syntax.parse(f"({text.strip()}\n)", mode="eval")
    except syntax.UNREADABLE:
        return False
    return True


@functools.lru_cache(maxsize=1 << 12)
def _may_be_value(text: str) -> bool:
    if text.startswith("<") or "..." in text or _PLAIN.fullmatch(text):
        return True
    try:
        with warnings.catch_warnings(action="ignore"):
            body = syntax.parse(text.strip(), mode="eval").body
    except syntax.UNREADABLE:
        return "<" in text and bool(re.match(r"[\[{(]|\w+\(", text))  # the display of a container of objects
    if isinstance(body, (ast.Name, ast.Subscript, ast.Attribute, ast.Compare, ast.BoolOp)):
        return False
    return not isinstance(body, ast.BinOp) or text.endswith(("j", "j)"))


_SWALLOWED = re.compile(r"\bline \d+: |`|, (?:because|since) ", re.IGNORECASE)  # more than the text itself
_PLAIN = re.compile(r"-?\d+(\.\d+)?|'[^'\\]*'|True|False|None|inf|nan|-inf")


def _parse_sentence(sentence: str) -> list[Step]:
    match = _LINE.match(sentence)
    if match is None or len(match.group(1)) > 9:
        return [Unreadable(0, sentence)]
    line, rest = int(match.group(1)), match.group(2)
    claims: list[Step] = []
    while rest:
        claim = _rest_of_sentence(line, rest)
        if claim is not None:
            return [*claims, claim]
        try:
            if " by position: " in rest:
                target, found, items = scan.cut(rest, (" by position: ",))
                if found:
                    return [*claims, _parse_spelled(line, target, items)]
            if _MORE.match(rest):
                return [*claims, _parse_rounds(line, rest)]
            if " is called" in rest:
                claim = _parse_call(line, rest)
                if claim is not None:
                    return [*claims, claim]
            clause, _, after = scan.cut(rest, _JOINS)
            claims.append(_parse_clause(line, clause))
        except ValueError:
            return [*claims, Unreadable(line, rest)]
        rest = after
    return claims


def _rest_of_sentence(line: int, rest: str) -> Step | None:
    if rest == "it prints an empty line":
        return Print(line, "\n")
    if rest.startswith("it prints "):
        return Print(line, rest[10:] + "\n")
    if rest.startswith("it raises "):
        kind, _, message = rest[10:].partition(": ")
        return Raise(line, kind, message)
    if rest.startswith("it matches "):
        return Jump(line, rest[11:])
    if rest.startswith("it writes "):
        try:
            text = read_literal(rest[10:])
        except ValueError:
            return Unreadable(line, rest)
        return Print(line, text) if type(text) is str else Unreadable(line, rest)
    return None


def _parse_call(line: int, rest: str) -> Step | None:
    match = re.match(r"(the lambda|[A-Za-z_]\w*) is called(?: with (.*))?$", rest)
    if match is None:
        return None
    args = []
    for part in scan.split(match.group(2), ", ") if match.group(2) else []:
        name, equals, value = part.partition(" = ")
        if not equals:
            return Unreadable(line, rest)
        args.append((name, value))
    return Call(line, "lambda" if match.group(1) == "the lambda" else match.group(1), tuple(args))


def _parse_spelled(line: int, target: str, said: str) -> Step:
    parts = [part.partition(" ") for part in scan.split(said, ", ")]
    if [number for number, _, _ in parts] != [*map(str, range(len(parts)))]:
        return Unreadable(line, said)
    return Spell(line, target, tuple(item for _, _, item in parts))


_MORE = re.compile(r"(\d{1,9}) more rounds (leave |pass)")
_SAME = re.compile(r"line (\d{1,9}) (always|never) holds$")


def _parse_rounds(line: int, rest: str) -> Step:
    match = _MORE.match(rest)
    left, *same = scan.split(rest[match.end() :], "; ")
    values = [tuple(part.split(" = ", 1)) for part in scan.split(left, ", ")] if left else []
    found = [_SAME.match(part) for part in same]
    if not all(found) or not all(len(pair) == 2 for pair in values):
        return Unreadable(line, rest)
    conditions = tuple((int(one.group(1)), one.group(2) == "always") for one in found)
    return Rounds(line, int(match.group(1)), tuple(values), conditions)


_OUTCOME_OF = {words: outcome for outcome, words in _OUTCOMES.items()}
_JUMP_OF = {words: word for word, words in _JUMPS.items()}
_OVER = re.compile(r"it takes more than (\d{1,9}) rounds$")
_CAUGHT = re.compile(r"the (\w+) is caught$")
_FIRST = (
    ("it calls ", lambda n, t: Op(n, t, "None")),
    ("it returns ", Return),
    ("it yields ", Yield),
    ("it reads ", Read),
)


def _parse_clause(line: int, clause: str) -> Step:
    if clause in _OUTCOME_OF:
        of, taken = _OUTCOME_OF[clause]
        return Branch(line, taken, of=of)
    if clause in _JUMP_OF:
        return Jump(line, _JUMP_OF[clause])
    for start, make in _FIRST:
        if clause.startswith(start):
            return make(line, clause[len(start) :])
    if clause == "the loop ends":
        return LoopEnd(line, "")
    if over := _OVER.match(clause):
        return Limit(line, int(over.group(1)))
    match = _CAUGHT.match(clause)
    if match:
        return Catch(line, match.group(1))
    for start, word in (("next ", " is "), ("", " becomes ")):
        left, found, right = scan.cut(clause.removeprefix(start), (word,))
        if clause.startswith(start) and found:
            return Bind(line, left, right)
    for ending, holds in ((" is true", True), (" is false", False)):
        if clause.endswith(ending):
            return Compare(line, clause[: -len(ending)], holds)
    left, found, right = _last(clause, " is ")
    return Op(line, left, right) if found else Unreadable(line, clause)


def _last(clause: str, words: str) -> tuple[str, bool, str]:
    """The clause cut at the last top-level occurrence of `words`: a value never holds them, a text may."""
    found = [at for at, _ in scan.places(clause, (words,))]
    if not found:
        return clause, False, ""
    return clause[: found[-1]], True, clause[found[-1] + len(words) :]
