"""The blocks that a report is made of, as one self-contained HTML page and as Markdown.

What models and programs wrote is shown, never obeyed: it is cleaned of control codes and escaped here, and
the page forbids network access and scripts but the viewer's on top.
"""

import html
import re
from typing import NamedTuple

from selfexec_jax.traces import view
from selfexec_jax.traces.clean import clean


class Heading(NamedTuple):
    text: str


class Table(NamedTuple):
    """`header` and `rows` of strings: the first column is text, the others are aligned to the right."""

    header: list
    rows: list
    note: str = ""
    title: str = ""


class Figure(NamedTuple):
    """One drawing: `name` is its file stem, `alt` says in a sentence what it shows."""

    name: str
    title: str
    alt: str
    png: bytes
    svg: str


class Examples(NamedTuple):
    """`examples` to read, and `views` (of `traces.view.seen`) to step through, which a page prefers."""

    examples: list
    views: list


class Example(NamedTuple):
    """One program whose run was foretold. `parts`: (title, lines), a line being (text, marked)."""

    title: str
    parts: list


def escape(text):
    """`text`, cleaned, as HTML that can only be text, also inside a quoted attribute."""
    return html.escape(clean(text), quote=True)


def example(number, parts):
    """An Example of the dict `parts` (see `report.write_report`), with the first wrong line marked."""
    said = [(line, False) for line in clean(parts["said"]).split("\n")]
    error = parts.get("first_error")
    if isinstance(error, int) and 0 <= error < len(said):
        said[error] = (said[error][0], True)
    elif error not in (None, ""):
        words = clean(error)
        at = next((i for i, (line, _) in enumerate(said) if words in line), None)
        if at is None:
            said.append((f"First divergence: {words}", True))
        else:
            said[at] = (said[at][0], True)

    def part(title, key):
        text = clean(parts[key]) if parts.get(key) is not None else ""
        return [(title, [(line, False) for line in text.split("\n")])] if text else []

    return Example(f"Example {number}: {clean(parts['verdict'])}", [
        *part("Statement", "statement"), *part("Program", "program"), *part("Input", "input"),
        ("What the model said would happen", said), *part("The model's answer", "answer"),
        *part("What happened", "truth"),
    ])


def page(title, subtitle, blocks):
    """One HTML page that needs no other file and no network, from `blocks` (Heading, Table, Figure, Examples).

    A figure's `svg` is inserted as it is and must come from `figures.py`; everything else is escaped. There is one
    viewer at most.
    """
    body = "\n".join(_BLOCKS[type(block)](block) for block in blocks)
    policy = view.POLICY
    for block in blocks:
        if isinstance(block, Examples) and block.views:
            policy = view.policy_of(view.viewer(block.views))
    return _PAGE.format(title=escape(title), subtitle=escape(subtitle), style=_STYLE, policy=policy, body=body)


def _heading(block):
    return f"<h2>{escape(block.text)}</h2>"


def _table(block):
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in block.header)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(map(_cell, cells))}</tr>'
        for name, *cells in block.rows
    )
    title = f"<h3>{escape(block.title)}</h3>" if block.title else ""
    note = f'<p class="note">{escape(block.note)}</p>' if block.note else ""
    table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>"
    named = escape(block.title or block.header[0] or "table")
    return f'{title}{note}<div class="wide" tabindex="0" role="region" aria-label="{named}">{table}</div>'


def _cell(cell):
    # "value · n · tokens": the value is read first, the rest small and below it.
    value, *rest = escape(cell).split(" · ")
    kind = "" if re.match(r"[-+≥]?\d", value) else ' class="words"'
    strong = f"<b>{value}</b>" if value.endswith(" *") else value
    return f"<td{kind}>{strong}" + (f"<small>{' · '.join(rest)}</small>" if rest else "") + "</td>"


def _figure(block):
    return f'<figure role="img" tabindex="0" aria-label="{escape(block.title)}. {escape(block.alt)}">{block.svg}\n' \
           f"<figcaption>{escape(block.alt)}</figcaption></figure>"


def _examples(block):
    if block.views:
        return f"<p class=\"note\">{_VIEWER_NOTE}</p>{view.viewer(block.views)}"
    return "\n".join(map(_example, block.examples))


def _example(block):
    parts = []
    for title, lines in block.parts:
        text = "\n".join(f"<mark>{escape(line)}</mark>" if marked else escape(line) for line, marked in lines)
        parts.append(f"<h4>{escape(title)}</h4><pre>{text}</pre>")
    return f"<article><h3>{escape(block.title)}</h3>{''.join(parts)}</article>"


_BLOCKS = {Heading: _heading, Table: _table, Figure: _figure, Examples: _examples}
_VIEWER_NOTE = (
    "What the model said that each program does, beside what it does. In the viewer: arrow keys step, D leads to the "
    "first divergence, N and P turn to the next and the previous example."
)


def markdown(title, subtitle, blocks):
    """The same `blocks` as Markdown, with figures taken from the folder figures/ beside it."""
    parts = [f"# {title}", _inline(subtitle), *(_MARKDOWN[type(block)](block) for block in blocks)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(block):
    lines = [block.header, ["---"] + ["---:"] * (len(block.header) - 1), *block.rows]
    table = "\n".join("| " + " | ".join(_inline(cell) for cell in line) + " |" for line in lines)
    title = f"### {block.title}" if block.title else ""
    return "\n\n".join(part for part in (title, block.note, table) if part)


def _markdown_example(block):
    parts = [f"### {_inline(block.title)}"]
    for title, lines in block.parts:
        text = clean("\n".join(line + "    <-- first divergence" * marked for line, marked in lines))
        # A fence longer than any run of backticks inside cannot be closed from inside.
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
        parts.append(f"{title}:\n\n{fence}text\n{text}\n{fence}")
    return "\n\n".join(parts)


def _inline(text):
    text = clean(text).replace("\n", " ")
    return re.sub(r"([|<>\[\]`\\])", r"\\\1", text) if not _CELL.fullmatch(text) else text


# The report's own cells keep their brackets bare: "71.2 % [68.0, 74.3] · n 240 · 1.2 M tokens".
_CELL = re.compile(r"[-+]?[\d.]+( %)? \[[-+\d., ]+\]( \*)?( · [\w. ,]+)*")

_MARKDOWN = {
    Heading: lambda block: f"## {block.text}", Table: _markdown_table,
    Examples: lambda block: "\n\n".join(map(_markdown_example, block.examples)),
    Figure: lambda block: f"![{block.title}](figures/{block.name}.png)",
}


_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6470; --line: #d9dde3; --paper: #ffffff;
  --well: #f5f6f8; --mark: #ffe2c7; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --soft: #9aa4b1; --line: #343b45; --paper: #15181c; --well: #1d2127;
    --mark: #6b3d12; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.25rem 5rem; color: var(--ink);
  background: var(--paper); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.3rem; margin: 3rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .25rem; }
h4 { font-size: .85rem; color: var(--soft); font-weight: 600; margin: 1rem 0 .25rem; }
.note, .sub, figcaption { color: var(--soft); font-size: .9rem; margin: .25rem 0 .75rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .4rem .9rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--soft); font-weight: 600; }
tbody th { font-weight: 500; }
td { white-space: nowrap; }
td.words { white-space: normal; text-align: left; }
td small { display: block; color: var(--soft); font-size: .78rem; }
figure { margin: 1.5rem 0; overflow-x: auto; }
figure svg { width: 100%; min-width: 32rem; height: auto; }
figcaption { position: sticky; left: 0; }
article { border: 1px solid var(--line); border-radius: 8px; padding: 0 1.1rem 1.1rem; margin: 1.25rem 0; }
pre { background: var(--well); border-radius: 6px; padding: .7rem .9rem; margin: 0; max-height: 26rem;
  overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere;
  font: .82rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.viewer { height: min(88vh, 52rem); border: 1px solid var(--line); border-radius: 8px; }
mark { background: var(--mark); color: inherit; border-radius: 3px; padding: .1rem .25rem; }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p class="sub">{subtitle}</p>
{body}
</body>
</html>
"""
