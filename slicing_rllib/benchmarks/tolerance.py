"""Rows of a benchmark that hold a figure against one that somebody else found."""

from collections.abc import Mapping
from typing import Any

Row = dict[str, float | str]


def checked(
    name: str, value: float, unit: str, expected: float, tolerance: float, reference: str
) -> Row:
    """A figure with what it should be, by whom, and how far off it may be."""
    return {
        "name": name,
        "value": float(value),
        "unit": unit,
        "reference": reference,
        "ratio": float(value / expected) if expected else float("nan"),
        "expected": float(expected),
        "tolerance": float(tolerance),
    }


def within(row: Mapping[str, Any]) -> bool:
    """Whether a checked figure is near enough."""
    return abs(float(row["value"]) - float(row["expected"])) <= float(row["tolerance"])
