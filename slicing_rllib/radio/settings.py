"""What the settings of a scenario have in common: how pydantic checks them, and ranges of numbers.

A field declares its default, its range and, in the docstring below it, its description. The YAML
layer, the JSON Schema and direct construction all use this one declaration.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from pydantic import ConfigDict, Field

SETTINGS = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
"""Configuration of settings dataclasses: unknown keys, NaN and infinity are errors."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole."""
Count = Annotated[int, Field(ge=1, le=2**31)]
"""A number of things, at least one."""
Steps = Annotated[int, Field(ge=0, le=2**53)]
"""A number of steps, perhaps none."""
Positive = Annotated[float, Field(gt=0, le=1e12)]
"""A rate, size, duration, frequency or factor."""
Metres = Annotated[float, Field(ge=-1e7, le=1e7)]
"""A coordinate."""
Distance = Annotated[float, Field(gt=0, le=1e7)]
"""A length in metres."""
Degrees = Annotated[float, Field(ge=-360, le=360)]
"""An angle."""
Beamwidth = Annotated[float, Field(gt=0, le=360)]
"""An angle between two directions, in degrees."""
Decibels = Annotated[float, Field(ge=-300, le=300)]
"""A gain in dB or dBi, or a power in dBm."""
Attenuation = Annotated[float, Field(ge=0, le=300)]
"""A loss or a threshold in dB."""


def require_order(where: str, settings: object, low: str, high: str) -> None:
    """Raises ValueError if the field `low` of some settings exceeds their field `high`."""
    if getattr(settings, low) > getattr(settings, high):
        got = f"{getattr(settings, low)} and {getattr(settings, high)}"
        raise ValueError(f"{where}: expected {low} <= {high}, got {got}")


def require_distinct(where: str, names: Sequence[str]) -> None:
    """Raises ValueError for the first name that appears more than once."""
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"{where}: {name!r} appears more than once")
