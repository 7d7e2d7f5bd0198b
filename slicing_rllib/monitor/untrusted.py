"""Values out of a run directory, made small, finite and plain before they go to a browser."""

import math
from typing import Any

MAX_TEXT = 2_000
MAX_ITEMS = 4_096
MAX_DEPTH = 6


def number(value: Any) -> float | None:
    """The value if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def text(value: Any, *, at_most: int = MAX_TEXT) -> str:
    """The value if it is text, cut to length; else nothing."""
    return value[:at_most] if isinstance(value, str) else ""


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def numbers(value: Any, count: int) -> list[float | None]:
    """Exactly `count` numbers, None where there is none."""
    items = value if isinstance(value, list) else []
    return [number(item) for item in items[:count]] + [None] * (count - len(items[:count]))


def plain(value: Any, depth: int = MAX_DEPTH) -> Any:
    """The value as JSON that a browser can take: finite, of bounded depth, width and length."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return number(value)
    if depth == 0:
        return "…"
    if isinstance(value, dict):
        kept = list(value.items())[:MAX_ITEMS]
        return {text(str(key), at_most=200): plain(item, depth - 1) for key, item in kept}
    if isinstance(value, list):
        return [plain(item, depth - 1) for item in value[:MAX_ITEMS]]
    return None
