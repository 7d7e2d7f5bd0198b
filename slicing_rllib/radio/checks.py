"""Validation of settings. Every error is one line: where, what is wrong, what was expected."""

import math
from collections.abc import Sequence

FORBID_UNKNOWN = {"extra": "forbid"}
"""Pydantic configuration of the settings dataclasses: an unknown key is an error."""


def require_positive(where: str, **values: float) -> None:
    """Raises ValueError for the first value that is not a positive, finite number."""
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{where}: {name} must be positive, got {value}")


def require_finite(where: str, **values: float) -> None:
    """Raises ValueError for the first value that is not a finite number."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{where}: {name} must be a finite number, got {value}")


def require_distinct(where: str, names: Sequence[str]) -> None:
    """Raises ValueError for the first name that appears more than once."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{where}: {name!r} appears more than once")
