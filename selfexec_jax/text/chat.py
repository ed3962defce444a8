"""A checkpoint's chat template: messages into the text that the model was trained on."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence


class ChatTemplate:
    """A Jinja template as transformers runs it: sandboxed, with the names of the special tokens.

    It is not told the date (`strftime_now`), so that the same messages give the same text every day.
    """

    def __init__(self, source: str, names: dict[str, str]):
        try:
            import jinja2
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError:
            raise ValueError("chat templates need the extra: pip install 'selfexec_jax[hf]'") from None
        self.names = names
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = lambda value, **how: json.dumps(value, ensure_ascii=False, **how)
        environment.globals["raise_exception"] = _refuse
        try:
            # What an assistant says may be marked for training; here the marks mean nothing.
            source = re.sub(r"(\{%-?\s*)generation(\s*-?%\})", r"\1if true\2", source)
            source = re.sub(r"(\{%-?\s*)endgeneration(\s*-?%\})", r"\1endif\2", source)
            self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise ValueError(f"chat template: line {error.lineno}: {error.message}") from None

    def render(self, messages: Sequence[dict[str, str]], asks: bool) -> str:
        """asks: whether the mark after which the assistant answers comes last. Raises ValueError where it refuses."""
        import jinja2

        try:
            return self._template.render(messages=list(messages), add_generation_prompt=asks, **self.names)
        except jinja2.TemplateError as error:
            raise ValueError(f"chat template: {error}") from None


def _refuse(message: str) -> None:
    raise ValueError(f"chat template: {message}")
