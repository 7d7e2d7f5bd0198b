"""The number of sites that a layout describes, counted before they are built."""

from collections.abc import Mapping
from typing import Any

MAX_SITES = 10_000


def check_layout_size(scenario: Any) -> None:
    """Does nothing for a description of another form: pydantic says what is wrong with that.

    Raises: ValueError for a grid or cluster of more than `MAX_SITES` sites.
    """
    layout = scenario.get("layout") if isinstance(scenario, Mapping) else None
    if not isinstance(layout, Mapping):
        return
    rows, columns, rings = (_read_number(layout.get(key)) for key in ("rows", "columns", "rings"))
    sites = max(rows * columns, 3 * rings * (rings + 1) + 1)
    if max(rows, columns, sites) > MAX_SITES:
        raise ValueError(f"layout: expected at most {MAX_SITES} sites, got {sites:.0f}")


def _read_number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
