"""Output prediction: a program and its input, never the problem or the expected answer."""

from __future__ import annotations

import dataclasses
import itertools
import re

from selfexec_jax.problems.answers import asserted, label_output
from selfexec_jax.problems.endings import ending, ending_name
from selfexec_jax.tasks import Messages, check_template, user

_PAPER_STDIO = """Simulate the program step by step and say what it writes to standard output.
The program may be buggy, whatever its names suggest: follow what it does, not what it is meant to do.
End with the output inside an <output> element, newlines written as \\n. If it does not end well, name the exception
that ends it, or timeout, inside an <outcome> element instead.

```python
{source}
```

Standard input:
```
{given}
```"""
_PAPER_STATE = """Simulate the program step by step from a state that its run has reached, and say what it writes to
standard output, what it has printed before included.
The program may be buggy, whatever its names suggest: follow what it does, not what it is meant to do.
End with the output inside an <output> element, newlines written as \\n, or with the state that you came to inside a
<state> element. If it does not end well, name the exception that ends it, or timeout, inside an <outcome> element
instead.

```python
{source}
```

State:
```
{state}
```"""
_PAPER_CALL = """Simulate the call step by step and complete the assertion.
The function may be buggy, whatever its name suggests: follow what it does, not what it is meant to do.
If it returns nothing, name the exception that ends it, or timeout, inside an <outcome> element instead.

```python
{source}
```

assert {given} == ??"""


@dataclasses.dataclass(frozen=True)
class Grade:
    """`label`: ok wrong not_literal no_answer truncated; `prediction`: what the answer claims, if anything."""

    label: str
    prediction: str | None = None


def render(source: str, stdin_or_call: str, template: str, kind: str = "stdio", state: str = "") -> Messages:
    """The question. It receives no Test and no Problem, so it cannot hold the expected output.

    state: from where the run is to go on (`traces.chunks`), instead of from its input.
    """
    check_template(template)
    source, given = source.rstrip("\n"), stdin_or_call.rstrip("\n")
    if state:
        form = f"run\n{source}\n@{state}" if template != "paper" else _PAPER_STATE.format(source=source, state=state)
        return user(form)
    if template == "numbered" and kind == "stdio":
        given = "\n".join(map(_places, given.split("\n")))
    if template != "paper":
        return user(f"run\n{source}\n{'<' if kind == 'stdio' else '?'}{given}")
    form = _PAPER_STDIO if kind == "stdio" else _PAPER_CALL
    return user(form.format(source=source, given=given))


def _places(line: str) -> str:
    """A line of an input whose words have their places before them."""
    count = itertools.count()
    return re.sub(r"\S+", lambda word: f"{next(count)}:{word[0]}", line)


def target(narration, template: str, kind: str = "stdio", call: str | None = None, carried: str = "") -> str:
    """The answer to learn: a Narration (its `text` may be empty: a direct answer), then the output, or how the run ends
    that has none (`problems.endings`); or, of a piece of a run, the state that is carried on."""
    check_template(template)
    name = ending_name(narration.output)
    if carried:
        return _join(narration.text, f"@{carried}" if template != "paper" else f"<state>{carried}</state>")
    if name:
        return _join(narration.text, f"!{name}" if template != "paper" else f"<outcome>{name}</outcome>")
    if template != "paper":
        return _join(narration.text, f"=>{escape(narration.output)}")
    if kind == "stdio":
        return _join(narration.text, f"<output>{escape(narration.output)}</output>")
    return _join(narration.text, f"assert {call} == {narration.output}")


_OPENING = re.compile(r"<(output|outcome)>")


def _join(text: str, answer: str) -> str:
    return f"{text.rstrip()}\n{answer}" if text.strip() else answer


def escape(output: str) -> str:
    """One line of text for an output; trailing newlines, which no comparison counts, are dropped."""
    return output.rstrip("\n").replace("\\", "\\\\").replace("\n", "\\n")


def unescape(text: str) -> str:
    return re.sub(r"\\(\\|n)", lambda m: "\n" if m[1] == "n" else "\\", text)


def extract(answer: str, kind: str = "stdio") -> str | None:
    """The output that an answer claims, or the ending, in either template, or None. The last claim counts."""
    lines = answer.rstrip().split("\n")  # not splitlines: an output may hold the other line breaks
    if lines[-1].startswith("=>"):
        return unescape(lines[-1][2:])
    if lines[-1].startswith("!"):
        return _ending(lines[-1][1:])
    found = _tagged(answer)
    if lines[-1].startswith("<output>") and lines[-1].endswith("</output>"):
        found = [("output", lines[-1][len("<output>") : -len("</output>")])]  # which may hold such tags itself
    if found and found[-1][0] == "outcome":
        return _ending(found[-1][1].strip())
    if kind == "stdio":
        return unescape(found[-1][1].strip("\n")) if found else None
    return asserted(lines[-1]) if lines[-1].startswith("assert ") and " == " in lines[-1] else None


def _tagged(answer: str) -> list[tuple[str, str]]:
    """What stands in `<output>` and `<outcome>`, with the name of the tag; one that is never closed is passed over."""
    found, names, at = [], {"output", "outcome"}, 0
    while opening := _OPENING.search(answer, at):
        name, at = opening[1], opening.end()
        end = answer.find(f"</{name}>", at) if name in names else -1
        if end < 0:
            names.discard(name)
            continue
        found.append((name, answer[at:end]))
        at = end + len(f"</{name}>")
    return found


def _ending(name: str) -> str | None:
    given = ending(name)
    return given if ending_name(given) else None


def narration_of(answer: str) -> str:
    """What an answer says before its last line, which is what comes of it."""
    return answer.rstrip().rpartition("\n")[0]


def carried(answer: str) -> str:
    """The state from which a simulation says that it goes on, in either template; "" where it does not."""
    last = answer.rstrip().rpartition("\n")[2]
    if last.startswith("@"):
        return last[1:]
    return last[len("<state>") : -len("</state>")] if last.startswith("<state>") and last.endswith("</state>") else ""


def grade(answer: str, expected: str, kind: str = "call", finish_reason: str = "stop") -> Grade:
    """Grades an answer by the output it claims; nothing of it is ever executed.

    expected: an output, or an ending (`problems.endings`). An answer that had no room, or not enough, is `truncated`,
    whatever it says. Raises ValueError when the expected value of a call is not a literal.
    """
    if finish_reason in ("length", "too_long"):
        return Grade("truncated")
    prediction = extract(answer, kind)
    if ending_name(expected) or ending_name(prediction):
        return Grade("ok" if prediction == expected else "no_answer" if prediction is None else "wrong", prediction)
    return Grade(label_output(prediction, expected, kind), prediction)
