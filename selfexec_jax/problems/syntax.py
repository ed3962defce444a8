"""Python's parser, a thread at a time.

CPython 3.11 and 3.12 count how deep a syntax tree goes for all threads at once: where the collection of garbage, in the
middle of making one, lets another thread make its own, that ends in a SystemError. Rewards are computed in threads.
"""

from __future__ import annotations

import ast
import threading

# What parsing raises on texts that anybody may have written, and what unparsing or dumping raises on what was parsed:
# trees too deep to walk, integers too long to print.
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
NO_LITERAL = (*UNREADABLE, TypeError, OverflowError)  # what `literal_eval` raises: `{[1]}`, `10**400 + 1j`

_one = threading.RLock()  # a finalizer may parse as well


def parse(source: str, mode: str = "exec") -> ast.AST:
    """As `ast.parse`, errors included."""
    with _one:
        return ast.parse(source, mode=mode)


def literal_eval(source: str | ast.AST) -> object:
    """As `ast.literal_eval`, errors included."""
    with _one:
        return ast.literal_eval(source)
