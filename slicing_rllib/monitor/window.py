"""Means over the newest steps of a run: the numbers that the page leads with."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from slicing_rllib.monitor.history import SCALARS, History, Point
from slicing_rllib.monitor.history import round_to_five_digits as round_five
from slicing_rllib.radio import Phase

DEFAULT_STEPS = 400
"""Whole periods of the built-in scenarios' traffic."""
MAX_STEPS = 10_000_000
SUSTAINED_MISS = 1 / 3
"""A cell keeps missing its SLA if it does so in more than this share of the window's steps.

The alert `SlicingCellMissesSla` of clusters/prometheus has the same limit."""
CELL_FIELDS = ("satisfaction", "reward", "fail_rate_95")
RUN_FIELDS = ("reward_mean", "satisfaction_mean", "fail_rate_95")

PerCell = Float[np.ndarray, " cell"]


class Window(NamedTuple):
    """What means are over: whole iterations, by the step at which they end."""

    steps: int = DEFAULT_STEPS
    """Number of network steps."""
    until: float = np.inf
    """Last network step."""


NEWEST = Window()


def compute_window(history: History, window: Window, exploration_steps: float) -> dict[str, Any]:
    """Means over the iterations that end within a window, weighted by their network steps.

    `cells` has them for every cell, `missing` are the cells under their own policy that miss their
    SLA in more than `SUSTAINED_MISS` of the window's steps; a window that contains exploration has
    none.
    """
    points = select_points(history.points, window)
    empty = {
        "steps": window.steps, "first_step": None, "last_step": None, "missing": [],
        "is_exploring": False,
    }  # fmt: skip
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
        "is_exploring": not is_learned,
        **{name: average_progress(points, weights, name) for name in RUN_FIELDS},
        "same_steps": _average_same_steps(points, weights),
        "cells": {name: [round_five(float(v)) for v in values] for name, values in cells.items()},
        "missing": _find_missing(history, points, weights) if is_learned else [],
    }


def select_points(points: Sequence[Point], window: Window) -> list[Point]:
    """The iterations that end within the window; at least the newest one before its end."""
    earlier = [p for p in points if (p.progress["env_steps"] or 0.0) <= window.until]
    newest = earlier[-1].progress["env_steps"] if earlier else None
    if newest is None:
        return earlier[-1:]
    inside = [p for p in earlier if (p.progress["env_steps"] or 0.0) > newest - window.steps]
    return inside or earlier[-1:]


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
    history: History,
    points: Sequence[Point],
    weights: Float[np.ndarray, " point"],
    name: str,
    *,
    with_exploration: bool = True,
) -> PerCell:
    """Mean over network steps in which the cell was on the air; NaN for a cell without any.

    `with_exploration`: steps in which the cell explores count too.
    """
    column, n_cells = SCALARS.index(name), len(history.cells)
    total, weight = np.zeros(n_cells), np.zeros(n_cells)
    for point, steps in zip(points, weights, strict=True):
        values = point.frame[:, column].astype(float)
        known = np.isfinite(values)
        if not with_exploration:
            known &= point.frame[:, SCALARS.index("exploring")] != 1.0
        total[: len(values)][known] += steps * values[known]
        weight[: len(values)][known] += steps
    return np.where(weight > 0, total / np.maximum(weight, 1e-9), np.nan)


def _find_missing(
    history: History, points: Sequence[Point], weights: Float[np.ndarray, " point"]
) -> list[str]:
    fail_rate = _average_cells(history, points, weights, "fail_rate_95", with_exploration=False)
    phases = points[-1].frame[:, SCALARS.index("phase")]
    return [
        cell
        for cell, index in history.cells.items()
        if index < len(phases)
        and phases[index] == Phase.CONTROLLED
        and fail_rate[index] > SUSTAINED_MISS
    ]
