"""Measurements in interleaved turns, so that a change of the machine's load affects all alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Measurement = Callable[[], float]
Value = TypeVar("Value")


def run_interleaved(
    measurements: Mapping[str, Callable[[], Value]], turns: int
) -> dict[str, list[Value]]:
    """Returns `turns` values of each measurement, by its name.

    A turn runs every measurement once. Every second turn runs them in reverse order: otherwise a
    machine that slows down steadily would favour the first measurement.
    """
    values: dict[str, list[Value]] = {name: [] for name in measurements}
    for turn in range(turns):
        names = list(measurements)
        for name in reversed(names) if turn % 2 else names:
            values[name].append(measurements[name]())
    return values


def measure_medians(measurements: Mapping[str, Measurement], turns: int) -> dict[str, float]:
    """Returns the median over `turns` interleaved turns of each measurement, by its name."""
    values = run_interleaved(measurements, turns)
    return {name: statistics.median(found) for name, found in values.items()}


def time_call(function: Callable[..., object], *arguments: object) -> float:
    """Returns the seconds by the clock that one call takes."""
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started
