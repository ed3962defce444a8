"""The questions we ask a model: predict an output, solve a problem, fix or submit a program.

Messages are lists of {"role", "content"}. Three template sets: `paper`, the paper's formats, `compact`, few tokens for
small models, and `numbered`, the same with the places of the words of an input that a run is asked about.
"""

Messages = list[dict[str, str]]
TEMPLATES = ("paper", "compact", "numbered")


def user(content: str) -> Messages:
    return [{"role": "user", "content": content}]


def check_template(template: str) -> None:
    if template not in TEMPLATES:
        raise ValueError(f"template {template!r} is not one of {', '.join(TEMPLATES)}")
