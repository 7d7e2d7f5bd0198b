"""Makes values from a run directory finite, small and plain before they go to a browser."""

import math
from typing import Any

MAX_TEXT = 2_000
MAX_KEY = 200
MAX_ITEMS = 4_096
MAX_DEPTH = 6


def to_number(value: Any) -> float | None:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def to_text(value: Any, *, max_length: int = MAX_TEXT) -> str:
    """The first `max_length` characters if the value is text, else an empty string."""
    return value[:max_length] if isinstance(value, str) else ""


def to_mapping(value: Any) -> dict[str, Any]:
    """The value if it is a dictionary, else an empty one."""
    return value if isinstance(value, dict) else {}


def to_numbers(value: Any, count: int) -> list[float | None]:
    """Exactly `count` entries: the finite numbers of a list, None in all other places."""
    items = value if isinstance(value, list) else []
    return [to_number(item) for item in items[:count]] + [None] * (count - len(items[:count]))


def to_plain(value: Any, depth: int = MAX_DEPTH) -> Any:
    """The value as JSON with finite numbers and bounded depth, number of items and text length."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return to_number(value)
    if depth == 0:
        return "…"
    if isinstance(value, dict):
        kept = list(value.items())[:MAX_ITEMS]
        return {
            to_text(str(key), max_length=MAX_KEY): to_plain(item, depth - 1) for key, item in kept
        }
    if isinstance(value, list):
        return [to_plain(item, depth - 1) for item in value[:MAX_ITEMS]]
    return None
