"""The rows that benchmarks yield: one measured value each, with what it is compared to."""

from collections.abc import Mapping
from typing import Any

Row = dict[str, float | str | int]
"""Keys of every row: `name`, `value`, `unit`, `reference`, `ratio`. Some rows have more."""


def make_row(
    name: str,
    value: float,
    unit: str,
    *,
    reference: str = "",
    ratio: float = 1.0,
    **more: float | str | int,
) -> Row:
    """Returns a row without an expected value.

    Args:
        name: Dotted name of the measured quantity, for example `learning.steps_per_s`.
        value: The measured value.
        unit: Unit of `value`; "1" for a dimensionless one.
        reference: Name of what `value` is compared to; empty if there is no reference.
        ratio: The measured value divided by that of the reference (for `transfer.kl_pairs`, the
            speed-up over it); 1 or NaN without a reference.
        more: Further columns, for example the number of cells.
    """
    row: Row = {"name": name, "value": value, "unit": unit, "reference": reference, "ratio": ratio}
    return row | more


def compare_with_expected(
    name: str, value: float, unit: str, expected: float, tolerance: float, reference: str
) -> Row:
    """Returns a row with an expected value.

    Args:
        name: Dotted name of the measured quantity.
        value: The measured value.
        unit: Unit of `value`, `expected` and `tolerance`.
        expected: The value that the reference gives.
        tolerance: Largest accepted absolute difference between `value` and `expected`.
        reference: Publication or method that `expected` comes from.
    """
    ratio = float(value / expected) if expected else float("nan")
    row = make_row(name, float(value), unit, reference=reference, ratio=ratio)
    return row | {"expected": float(expected), "tolerance": float(tolerance)}


def is_within_tolerance(row: Mapping[str, Any]) -> bool:
    """Whether the value of a row with an expected value is close enough to it."""
    return abs(float(row["value"]) - float(row["expected"])) <= float(row["tolerance"])
