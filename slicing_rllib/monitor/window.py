"""Means over the newest steps of a run: the numbers that the page leads with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from slicing_rllib.monitor.history import SCALARS, History, Point
from slicing_rllib.monitor.history import round_to_five_digits as round_five
from slicing_rllib.radio import Phase

DEFAULT_STEPS = 400
"""Whole periods of the built-in scenarios' traffic."""
MAX_STEPS = 10_000_000
SUSTAINED_MISS = 0.5
"""A cell misses its SLA if it does so in more than this share of the window's steps."""
CELL_FIELDS = ("satisfaction", "reward", "fail_rate_95")
RUN_FIELDS = ("reward_mean", "satisfaction_mean", "fail_rate_95")

PerCell = Float[np.ndarray, " cell"]


def compute_window(history: History, steps: int, exploration_steps: float) -> dict[str, Any]:
    """Means over the iterations that end within the last `steps` network steps, weighted by steps.

    `cells` has them for every cell, `missing` are the cells under their own policy that miss their
    SLA in most of the window's steps; a window that contains exploration has none.
    """
    points = select_points(history.points, steps)
    empty = {"steps": steps, "first_step": None, "last_step": None, "missing": []}
    if not points:
        return {**empty, **dict.fromkeys(RUN_FIELDS), "same_steps": {}, "cells": {}}
    weights = np.array([point.progress["steps"] or 0.0 for point in points])
    cells = {name: _average_cells(history, points, weights, name) for name in CELL_FIELDS}
    first_step = (points[0].progress["env_steps"] or 0.0) - weights[0]
    is_learned = first_step >= exploration_steps
    return {
        **empty,
        "first_step": first_step,
        "last_step": points[-1].progress["env_steps"],
        **{name: average_progress(points, weights, name) for name in RUN_FIELDS},
        "same_steps": _average_same_steps(points, weights),
        "cells": {name: [round_five(float(v)) for v in values] for name, values in cells.items()},
        "missing": _find_missing(history, cells["fail_rate_95"]) if is_learned else [],
    }


def select_points(points: Sequence[Point], steps: int) -> list[Point]:
    """The iterations that end within the last `steps` network steps; at least the newest one."""
    newest = points[-1].progress["env_steps"] if points else None
    if newest is None:
        return list(points[-1:])
    inside = [p for p in points if (p.progress["env_steps"] or 0.0) > newest - steps]
    return inside or list(points[-1:])


def average_progress(
    points: Sequence[Point], weights: Float[np.ndarray, " point"], name: str
) -> float | None:
    """Mean of a value of the whole run over network steps; None where no iteration has it."""
    return _average([point.progress.get(name) for point in points], weights)


def _average_same_steps(
    points: Sequence[Point], weights: Float[np.ndarray, " point"]
) -> dict[str, float | None]:
    """Rewards of other splits, where every iteration of the window has them."""
    names = points[-1].progress["same_steps"]
    known = [name for name in names if all(name in p.progress["same_steps"] for p in points)]
    return {
        name: _average([point.progress["same_steps"][name] for point in points], weights)
        for name in known
    }


def _average(values: Sequence[float | None], weights: Float[np.ndarray, " point"]) -> float | None:
    numbers = np.array([np.nan if value is None else value for value in values], float)
    known = ~np.isnan(numbers)
    total = weights[known].sum()
    if total <= 0:
        return None
    return round_five(float((numbers[known] * weights[known]).sum() / total))


def _average_cells(
    history: History, points: Sequence[Point], weights: Float[np.ndarray, " point"], name: str
) -> PerCell:
    """Mean over network steps in which the cell was on the air; NaN for a cell without any."""
    column, n_cells = SCALARS.index(name), len(history.cells)
    total, weight = np.zeros(n_cells), np.zeros(n_cells)
    for point, steps in zip(points, weights, strict=True):
        values = point.frame[:, column].astype(float)
        known = np.isfinite(values)
        total[: len(values)][known] += steps * values[known]
        weight[: len(values)][known] += steps
    return np.where(weight > 0, total / np.maximum(weight, 1e-9), np.nan)


def _find_missing(history: History, fail_rate: PerCell) -> list[str]:
    phases = history.read_latest("phase")
    return [
        cell
        for cell, index in history.cells.items()
        if phases[index] == Phase.CONTROLLED and fail_rate[index] > SUSTAINED_MISS
    ]
