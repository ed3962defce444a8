"""What programs and models wrote, made safe for people's eyes: on a terminal, in a report, in a page."""

import re

# Terminal sequences as a whole first (else their tails stay behind as litter), then every control character
# but tab and newline, the marks that reorder text for the reader (bidi), and halves of surrogate pairs.
_SEQUENCES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b[ -/]*[0-~]?"
)
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)


def clean(text):
    """`text` as a string without terminal sequences, control characters and marks that reorder it."""
    text = str(text).replace("\r\n", "\n")
    return _CONTROLS.sub("", _SEQUENCES.sub("", text))
