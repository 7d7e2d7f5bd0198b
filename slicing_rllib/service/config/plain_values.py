"""What no setting may be, whichever it is: not a number, beyond every bound, or invisible."""

import math
from collections.abc import Iterator
from typing import Any

MAX_INTEGER = 2**53
"""Beyond it, a float no longer tells neighbouring integers apart."""
MAX_TEXT_CHARACTERS = 4096

Problem = tuple[tuple[str, ...], str]
"""Path of a key, and what is wrong with its value."""


def find_odd_values(content: Any, *, max_integer: float = MAX_INTEGER) -> Iterator[Problem]:
    """Values of a nested structure that no setting may have."""
    stack: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            stack += [((*path, str(key)), below) for key, below in value.items()]
        elif isinstance(value, list | tuple):
            stack += [((*path, str(index)), below) for index, below in enumerate(value)]
        elif problem := _describe_problem(value, max_integer):
            yield path, problem


def _describe_problem(value: Any, max_integer: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"expected a finite number, got {value}"
    if isinstance(value, int) and abs(value) > max_integer:
        return f"expected a number of at most {max_integer}, got {value:.3g}"
    if isinstance(value, str) and len(value) > MAX_TEXT_CHARACTERS:
        return f"expected at most {MAX_TEXT_CHARACTERS} characters, got {len(value)}"
    if isinstance(value, str) and not value.isprintable():
        return "expected printable characters only"
    return ""
