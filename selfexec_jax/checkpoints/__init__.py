"""The small trained model that comes with the package; its card is tiny/README.md."""

from pathlib import Path

TINY = Path(__file__).with_name("tiny")
