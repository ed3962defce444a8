"""The style `cwm`: the frames that the Code World Model is trained on, for comparison.

    <|line_sep|>{"total": "0", "i": "1"}<|action_sep|>        total += i<|frame_sep|>

A frame has the variables in sight before a line, as JSON with `".."` for those that did not change, and the line;
a frame of a return or an exception has the value instead. Format: PROMPTING_GUIDE.md of facebookresearch/cwm.
It tells traces of lines.
"""

from __future__ import annotations

import json
import re

from selfexec_jax.traces.steps import Frame, Step, Unreadable

_END = "<|frame_sep|>"
_FRAME = re.compile(
    r"<\|(call|line|return|exception)_sep\|>(.*)<\|action_sep\|>(.*?)(?:<\|arg_sep\|>(.*))?$", re.DOTALL
)


def said(steps: list[Step]) -> list[Step]:
    """The steps that this style says: the frames."""
    return [step for step in steps if isinstance(step, Frame)]


def key(step: Step) -> tuple:
    """What two equal claims share."""
    if isinstance(step, Unreadable):
        return ("Unreadable", step.text)
    return ("Frame", step.how, step.locals, step.source, step.value)


def render(steps: list[Step]) -> str:
    """The frames, one after the other."""
    return "".join(map(_frame, steps))


def _frame(step: Frame) -> str:
    head = f"<|{step.how}_sep|>"
    if step.value is not None:
        return f"{head}<|action_sep|>{_marked(step.source)}<|arg_sep|>{_json(step.value)}{_END}"
    return f"{head}{_json(dict(step.locals))}<|action_sep|>{_marked(step.source)}{_END}"


def _json(value) -> str:
    return json.dumps(value, ensure_ascii=False).replace("<|", "<\\u007c")


def _marked(source: str) -> str:
    """A line of source in which no marks of the format can stand."""
    return source.replace("<|", "<\\u007c")


def parse(text: str) -> list[Step]:
    """The claims of a text, one after the other; what cannot be read becomes `Unreadable`."""
    *frames, rest = text.split(_END)
    claims = [_parse_frame(frame.strip("\r\n")) for frame in frames]
    return claims + [Unreadable(0, rest)] if rest.strip() else claims


def _parse_frame(text: str) -> Step:
    match = _FRAME.match(text)
    if match is None:
        return Unreadable(0, text)
    how, variables, source, value = match.groups()
    try:
        found = json.loads(variables) if value is None else {}
        value = None if value is None else json.loads(value)
    except (ValueError, RecursionError):
        return Unreadable(0, text)
    texts = [*found.values(), value or ""] if isinstance(found, dict) else [None]
    if not all(type(one) is str for one in texts):
        return Unreadable(0, text)
    return Frame(0, how, tuple(found.items()), source.replace("<\\u007c", "<|"), value)
