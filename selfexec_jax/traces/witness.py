"""Sentences in other words than the style's own, read with the run at hand: which steps do they tell?

A model or a teacher may say "total goes from 3 to 7" for "total becomes 7". Such a sentence counts for a step if what
the step is about stands in it, with the step's value as the next value after that, and if it holds no value that
belongs to none of the steps it tells. So other words are accepted, and other values are not.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from selfexec_jax.traces import scan
from selfexec_jax.traces.steps import (
    Bind,
    Branch,
    Call,
    Catch,
    Compare,
    Jump,
    LoopEnd,
    Op,
    Print,
    Raise,
    Read,
    Return,
    Spell,
    Step,
    Yield,
)

_LONGEST = 4_000  # characters of a text that are read: what a model writes must not hold up who reads it
_MOST = 60  # steps that one segment may tell
_NUMBER = re.compile(
    r"(?:\b(?:on|at|in|back on|back at)\s+)?\b(?:line|ln)\s*#?\s*(\d{1,9})\b\s*[:.,–—-]*\s*"
    r"|(?:^|(?<=[\s(]))L(\d{1,9})\b\s*[:.,–—-]*\s*",
    re.IGNORECASE,
)  # fmt: skip
_BARE = re.compile(r"^\s*(?:[-*•]\s*)?[(\[]?(\d{1,9})(?:[:.)\]]| \|)\s+")
# Signs and short forms that would read as operators and quotes, and words that are operators; none in double quotes.
_SPOKEN = re.compile(
    r""""[^"\n]*"|(?P<arrow>\s?(?:->|=>|→)\s?)|(?P<into>\s?(?:<-|←|:=)\s?)|(?P<no>(?<=\w)n't\b)|"""
    r"""(?P<short>(?<=[A-Za-z])'(?:s|re|ve|ll|d|m)\b(?!'))|(?P<step>\bstep \d+(?= \())|(?P<length>\bthe length of )|"""
    r"""(?<=[\d)\]}'"]) (?P<word>plus|minus|times|divided by|mod|modulo) (?=[\d(\[{'"-])""",
    re.IGNORECASE,
)
_SIGNS = {"plus": "+", "minus": "-", "times": "*", "divided by": "/", "mod": "%", "modulo": "%"}
_VALUE = re.compile(
    scan.STRING.pattern
    + r"|b?'[^']*'|(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w])|\b(?:True|False|None|inf|nan)\b|<(?=[A-Za-z])|[\[{(]"
)
_DENIAL = re.compile(r"\b(?:not|never|cannot|nothing|neither|nor|no longer|instead of|rather than)\b", re.IGNORECASE)
# What makes another value of one: "negative 7", "twice 7", "7 thousand", "7 %", "becomes eight".
_BENT = re.compile(
    r"\b(?:negative|minus|twice|half|double|triple|thrice|fails? to|failed to|hardly|barely|almost|nearly)\b"
    r"|(?<=[\d)\]}'\"])[ -]?(?:thousand|million|billion|hundred|dozen|squared|cubed|percent|backwards|reversed)\b"
    r"|(?<=\d) ?%(?=\s+[a-z]{3}|\s*[.,;)]|\s*$)"
    r"|\b(?:becomes?|is|equals?|returns?|prints?|gives?|to) (?:now )?(?:zero|two|three|four|five|six|seven|eight|nine|"
    r"ten|eleven|twelve)\b",
    re.IGNORECASE,
)
_TEXTS = ("text", "value", "target", "message", "word", "type")  # fields of steps that are said as they are
_NO = r"\b(?:not|false|no|fails?|failed|skip\w*|isn't|doesn't|don't|won't|never|wrong|untrue)\b"
_YES = r"\b(?:true|yes|holds?|succeeds?|pass(?:es)?|satisfied|met|right|correct|indeed)\b"


def told_by(text: str, required: list[Step], start: int) -> int | None:
    """How many of the required steps from `start` on a text tells, None if it says anything else."""
    at, segments = start, _segments(text) if len(text) <= _LONGEST else []
    if not segments and start > 0 and len(text) <= _LONGEST:  # more of the line that was told last
        segments = [(required[start - 1].line, _plain(text))]
    if not segments:
        return None
    for line, said in segments:
        end = at
        while end < min(len(required), at + _MOST) and required[end].line == line:
            end += 1
        n = next((n for n in range(end - at, 0, -1) if _tells(said, required[at : at + n])), 0)
        if n == 0 and not _says_again(said, line, required[max(0, at - 2) : at]):
            return None
        at += n
    return at - start


def _says_again(said: str, line: int, before: list[Step]) -> bool:
    """Whether a text repeats the outcome that was just told, in a sentence of its own."""
    if not before or before[-1].line != line or not isinstance(before[-1], Branch):
        return False
    step = dataclasses.replace(before[-1], implied=False)
    return _branch(step, said, said) and _has_no_other_value(_tight(said), before)


def _segments(text: str) -> list[tuple[int, str]]:
    """The parts of a text that begin with a line number each."""
    text = _plain(text)
    found = list(_NUMBER.finditer(text))
    if not found:
        match = _BARE.match(text)
        return [(int(match.group(1)), text[match.end() :])] if match else []
    starts = [0, *(_start_of(text, match) for match in found[1:])]
    parts: list[tuple[int, str]] = []
    for match, start, end in zip(found, starts, [*starts[1:], len(text)], strict=True):
        number, said = int(match.group(1) or match.group(2)), f"{text[start : match.start()]} {text[match.end() : end]}"
        if parts and parts[-1][0] == number:  # one step in two sentences
            said = f"{parts.pop()[1]} {said}"
        parts.append((number, said))
    return parts


def _plain(text: str) -> str:
    """The text without marks of layout, and with what is spoken where it would read as an operator or a quote."""
    text = re.sub(r"\*\*(line \d+:?)\*\*", r"\1", text.replace("`", ""), flags=re.IGNORECASE)
    return _SPOKEN.sub(_said_plainly, text.replace("’", "'").replace("“", '"').replace("”", '"'))


def _said_plainly(match: re.Match) -> str:
    kind = match.lastgroup
    if kind == "word":
        return _SIGNS[match["word"].lower()]
    return {"arrow": " is ", "into": " becomes ", "no": " not", "short": "", "step": "", "length": "length "}.get(
        kind, match.group()
    )


def _start_of(text: str, number: re.Match) -> int:
    """Where the clause begins that a line number belongs to: at the number, or before it if it is in parentheses."""
    if text[number.start() - 1 : number.start()] != "(":
        return number.start()
    return max(text.rfind(mark, 0, number.start()) for mark in (". ", "; ", "\n")) + 1


def _tells(said: str, steps: list[Step]) -> bool:
    whole = _tight(said)
    bare = whole
    for text in sorted((scan.squeeze(step.text) for step in steps if isinstance(step, Op)), key=len, reverse=True):
        bare = bare.replace(text, " ")  # "x = 3 + 4 = 7"
    if isinstance(steps[0], Branch):  # nothing beside it implies it
        steps = [dataclasses.replace(steps[0], implied=False), *steps[1:]]
    for step in steps:
        witness = _WITNESS.get(type(step))
        if witness is None or not (
            witness(step, whole, said) or (isinstance(step, Bind) and witness(step, bare, said))
        ):
            return False
    return _has_no_other_value(whole, steps) and not _denies_more(said, steps) and not _bends_a_value(said, steps)


def _denies_more(said: str, steps: list[Step]) -> bool:
    """Whether a text says no to more than the steps do, remarks apart: "3 + 4 isn't 7" names what is right."""
    spoken = len(_DENIAL.findall(re.sub(r"\([^()]*\)", "", scan.STRING.sub("", said))))
    for step in steps:
        fields = (str(getattr(step, name, "")) for name in _TEXTS)
        spoken -= len(_DENIAL.findall(" ".join(scan.STRING.sub("", field) for field in fields)))
        fails = isinstance(step, Compare) and not step.holds
        spoken -= fails or isinstance(step, (Branch, LoopEnd, Jump)) and not getattr(step, "taken", False)
    return spoken > 0


def _bends_a_value(said: str, steps: list[Step]) -> bool:
    """Whether a text has words beside a value that make it another one, and that no step has."""
    own = " ".join(str(getattr(step, name, "")) for step in steps for name in _TEXTS)
    return len(_BENT.findall(scan.STRING.sub("", said))) > len(_BENT.findall(own))


def _tight(said: str) -> str:
    """The text without spaces round operators; a sign stays apart from the word before it."""
    said = re.sub(r"(?<=[(\[{]) +| +(?=[)\]}])", "", said)
    return scan.squeeze(re.sub(r"(?<=[A-Za-z:=,] )-(?=\d)", "\x02", said)).replace("\x02", "-")


def _has_no_other_value(whole: str, steps: list[Step]) -> bool:
    """Whether every value in a text is said by one of the steps."""
    known = " ".join(str(getattr(step, name, "")) for step in steps for name in _TEXTS)
    known += " ".join(f" {i} {item}" for step in steps if isinstance(step, Spell) for i, item in enumerate(step.items))
    known += " ".join(f" {value}" for step in steps if isinstance(step, Call) for _, value in step.args)
    mine = set(_values(scan.squeeze(known))) | set(re.findall(r"-?\d+(?:\.\d+)?", known)) | {"True", "False", "None"}
    mine |= {repr(step.text.strip()) for step in steps if isinstance(step, Print)}  # a text in quotes
    mine |= {repr(step.message) for step in steps if isinstance(step, Raise)}
    return all(value in mine for value in _values(whole))


def _values(text: str) -> list[str]:
    """The values in a text, those in brackets one by one."""
    found = []
    for match in _VALUE.finditer(text):
        if match.group() == "<":
            found.append(_value_at(text, match.start()))
        elif match.group() not in ("(", "[", "{"):
            found.append(match.group())
    return found


def _value_at(text: str, at: int) -> str:
    """The value that begins at a place: up to its closing bracket, if it begins with one."""
    opening = text[at]
    if opening not in "([{<":
        return _VALUE.match(text, at).group()
    closing = {"(": ")", "[": "]", "{": "}", "<": ">"}[opening]
    depth = 0
    for match in re.compile(rf"{scan.STRING.pattern}|[{re.escape(opening + closing)}]").finditer(text, at):
        depth += (match.group() == opening) - (match.group() == closing)
        if depth == 0:
            return text[at : match.end()]
    return text[at:]


def _after(subject: str, whole: str) -> list[str]:
    """What follows each place where a text names a subject."""
    subject = scan.squeeze(subject)
    if not subject:
        return [whole]
    edge = r"(?<![\w.])" if re.match(r"\w", subject) else ""
    tail = r"(?![\w(\[])" if re.search(r"\w$", subject) else ""
    return [whole[match.end() :] for match in re.finditer(edge + re.escape(subject) + tail, whole)]


def _is_followed_by(rest: str, value: str) -> bool:
    """Whether the next value in a text is this one."""
    value = scan.squeeze(value)
    rest = re.sub(r"^(.{0,40}?)\bfrom (\S+) to\b", r"\1to", rest)
    for match in _VALUE.finditer(rest):
        if match.group() == "(" and not value.startswith("("):
            continue  # a remark
        return rest.startswith(value, match.start()) and _value_at(rest, match.start()) == value
    return False


def _says(subject: str, value: str, whole: str) -> bool:
    return any(_is_followed_by(rest, value) for rest in _after(subject, whole))


def _says_backwards(value: str, subject: str, whole: str) -> bool:
    """ "3 is stored in x"."""
    value, subject = re.escape(scan.squeeze(value)), re.escape(scan.squeeze(subject))
    where = r"(?:to|in|into|under|as|at|for) (?:the |its )?(?:variable |name |attribute |argument |parameter )?"
    return re.search(rf"(?<![\w.]){value}[A-Za-z ,]{{0,30}}? {where}{subject}(?![\w(])", whole) is not None


def _bind(step: Bind, whole: str, said: str) -> bool:
    return _says(step.target, step.value, whole) or _says_backwards(step.value, step.target, whole)


def _op(step: Op, whole: str, said: str) -> bool:
    if step.value == "None" and step.text.endswith(")"):
        return bool(_after(step.text, whole))
    if step.text.startswith("len(") and _says(f"length {step.text[4:-1]}", step.value, whole):
        return True
    if _says(step.text, step.value, whole):
        return True
    return any(  # the reason after the result: "x goes up to 5 (4 + 1)"
        not _VALUE.search(rest) and _says("", step.value, whole) for rest in _after(step.text, whole)
    )


def _compare(step: Compare, whole: str, said: str) -> bool:
    if any(_first_of(_YES, _NO, rest) is step.holds for rest in _after(step.text, whole)):
        return True
    word = "true" if step.holds else "false"
    return re.search(rf"\b{word} that {re.escape(scan.squeeze(step.text))}(?![\w(\[])", whole) is not None


def _first_of(yes: str, no: str, text: str) -> bool | None:
    """Which of two patterns a text has first."""
    found = [re.search(pattern, text, re.IGNORECASE) for pattern in (yes, no)]
    if not any(found):
        return None
    starts = [match.start() if match else len(text) for match in found]
    return starts[0] < starts[1]


_TAKEN = {
    "ternary": (r"\bfirst\b|\bbefore (?:the )?if\b", r"\bsecond\b|\belse\b|\bother\b"),
    "while": (
        r"\bgoes on\b|continu|keep|again|enter|into|another|\bruns?\b|\bbody\b",
        r"stop|\bend|exit|finish|over\b|done|leave|\bout\b|skip",
    ),
}  # fmt: skip
_USUALLY = (
    r"\btaken?\b|\btakes\b|enter|\binto\b|\bin\b|inside|\bruns?\b|follow|execut|kept|holds|\bbody\b|chosen|fires|\bpass",
    r"\bnot?\b|n't\b|skip|ignor|avoid|bypass|\belse\b|past\b|left out|fails|\bover\b|nothing|drop",
)


def _branch(step: Branch, whole: str, said: str) -> bool:
    """An outcome of its own has to be told; one that repeats its comparison must not be contradicted."""
    yes, no = _TAKEN.get(step.of, _USUALLY)
    tail = re.split(r"\b(?:true|false|holds?|yes|fails|no|not hold)\b", said, flags=re.IGNORECASE)[-1]
    found = [bool(re.search(pattern, tail, re.IGNORECASE)) for pattern in (yes, no)]
    if step.of in ("if", "assert", "comp") and found[1]:
        found[0] = False  # "is not taken"
    if not any(found):
        return step.implied
    return found[0] if step.taken else found[1]


def _call(step: Call, whole: str, said: str) -> bool:
    name = "lambda" if step.name == "lambda" else step.name
    if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", whole) is None:
        return False
    return all(_says(arg, value, whole) or _says_backwards(value, arg, whole) for arg, value in step.args)


def _worded(words: str, value: Callable[[Step], str] | None = None) -> Callable:
    """A witness that needs one of some words, and the step's value as the next one after it, or the last before it."""
    pattern = re.compile(words, re.IGNORECASE)

    def witness(step: Step, whole: str, said: str) -> bool:
        match = pattern.search(whole)
        if match is None or value is None:
            return match is not None
        wanted = scan.squeeze(value(step))
        after = whole[match.end() :]
        if _VALUE.search(after):
            return _is_followed_by(after, wanted)
        last = rf"(?<![\w.]){re.escape(wanted)}\W*(?:[A-Za-z_]+\W+){{0,5}}$"
        return re.search(last, whole[: match.start()]) is not None

    return witness


def _spell(step: Spell, whole: str, said: str) -> bool:
    ends = None  # where the items so far may end; one pattern of all would try every way to divide what lies between
    for i, item in enumerate(step.items):
        one = re.compile(rf"(?<!\w){i}\W{{0,4}}?{re.escape(scan.squeeze(item))}")
        if ends is None:
            found = one.finditer(whole)
        else:
            starts = {end + n for end in ends for n in range(1, 5) if re.fullmatch(r"\W+", whole[end : end + n])}
            found = filter(None, (one.match(whole, start) for start in starts))
        ends = {match.end() for match in found}
    return ends is None or bool(ends)


def _print(step: Print, whole: str, said: str) -> bool:
    text = step.text.rstrip("\n")
    spoken = re.search(
        r"\b(?:prints?|printed|printing|outputs?|writes?|written|displays?|displayed|shows?|shown|emits?|print)\b",
        said,
        re.IGNORECASE,
    )
    if spoken is None:
        return False
    if not text:
        return re.search(r"\b(?:empty|blank)\b", said, re.IGNORECASE) is not None
    return (
        re.search(rf"(?<![\w.]){re.escape(text)}(?![\w])", said) is not None if re.search(r"\w", text) else text in said
    )


def _raise(step: Raise, whole: str, said: str) -> bool:
    spoken = re.search(r"rais|throw|error|exception|fail", said, re.IGNORECASE)
    return spoken is not None and step.type in said and step.message in said


def _jump(step: Jump, whole: str, said: str) -> bool:
    words = {
        "break": r"break|\bleft\b|\bleave|exit|\bout\b|stop|end",
        "continue": r"skip|continue|next (?:round|iteration|value)",
    }
    if step.word in words:
        return re.search(words[step.word], said, re.IGNORECASE) is not None
    return scan.squeeze(step.word) in whole or scan.squeeze(step.word.removeprefix("case ")) in whole


_WITNESS = {
    Bind: _bind,
    Op: _op,
    Compare: _compare,
    Branch: _branch,
    Call: _call,
    Print: _print,
    Spell: _spell,
    Raise: _raise,
    Jump: _jump,
    LoopEnd: _worded(
        r"\bend|finish|\bover\b|\bdone\b|exhaust|\bno (?:more|further|other|next)\b|nothing|used up|complet|stop|"
        r"\bleft\b|\blast\b"
    ),
    Return: _worded(r"return|back\b|result|answer", lambda step: step.value),
    Yield: _worded(r"yield|produc|give|hand|deliver", lambda step: step.value),
    Read: _worded(r"\bread|input|get", lambda step: step.value),
    Catch: _worded(r"catch|caught|handle|match|except"),
}  # fmt: skip
