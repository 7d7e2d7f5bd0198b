"""The rows of metrics.jsonl as arrays of bounded size, and means over a window of network steps.

If the arrays become too large, every second iteration of the older half is dropped.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from slicing_rllib.monitor.untrusted_values import to_mapping, to_number, to_numbers, to_text
from slicing_rllib.radio import Phase

SCALARS = (
    "reward", "satisfaction", "fail_rate_95", "phase", "exploring", "critic_loss", "actor_loss",
    "replay_size",
)  # fmt: skip
PER_SLICE = ("throughput_mbps", "delay_ms", "prb_ratio", "load")
RUN_SCALARS = (
    "iteration", "env_steps", "steps", "updates", "time_s", "reward_mean", "fail_rate_95",
    "evaluation_reward_mean", "evaluation_fail_rate_95",
)  # fmt: skip
RUN_LEVELS = ("references", "references_fail_rate_95", "same_steps")
"""Rewards or fail rates of other policies: on the traffic of evaluations, or in the same steps."""
PHASES = {phase.name.lower(): float(phase) for phase in Phase}
SATISFIED_RATIO = 0.95
MAX_CELLS = 20_000
MAX_SLICES = 16
MAX_NAME_LENGTH = 200
MAX_REFERENCES = 8
MAX_POINTS = 600
MAX_NUMBERS = 12_000_000
"""Numbers kept for all cells, fields and iterations together, which take 48 MB."""
DEFAULT_STEPS = 400
"""Whole periods of the built-in scenarios' traffic."""
MAX_STEPS = 10_000_000
SUSTAINED_MISS = 1 / 3
"""A cell keeps missing its SLA if it does so in more than this share of the window's steps.

The alert `SlicingCellMissesSla` of clusters/prometheus has the same limit."""
CELL_FIELDS = ("satisfaction", "reward", "fail_rate_95")
RUN_FIELDS = ("reward_mean", "satisfaction_mean", "fail_rate_95")

PerCell = Float[np.ndarray, " cell"]


class Point(NamedTuple):
    """One iteration."""

    serial: int
    """Number of the row among all rows read, from 1."""
    progress: dict[str, Any]
    """Values of the whole run and means over its cells."""
    frame: Float32[np.ndarray, "cell field"]
    """Values of each cell, NaN where the row has none."""


class History:
    """The iterations of a run.

    Attributes:
        cells: index of each cell in the frames, by its name.
        n_slices: number of slices of a cell.
        points: the iterations that are kept, oldest first.
        rows_seen: number of all rows added.
    """

    def __init__(self) -> None:
        self.cells: dict[str, int] = {}
        self.n_slices = 0
        self.points: list[Point] = []
        self.rows_seen = 0

    @property
    def fields(self) -> list[str]:
        """Names of the columns of a frame, such as `reward` and `delay_ms/0`."""
        per_slice = [f"{name}/{i}" for name in PER_SLICE for i in range(self.n_slices)]
        return [*SCALARS, *per_slice]

    def add_row(self, row: dict[str, Any]) -> None:
        """Adds a row of metrics.jsonl."""
        per_cell = to_mapping(row.get("cells"))
        self._register(per_cell)
        frame = self._make_frame(per_cell)
        self.rows_seen += 1
        before = self.points[-1].progress["env_steps"] if self.points else 0.0
        progress = _summarise(row, frame, before) | {"prbs_moved": self._compute_moved(frame)}
        self.points.append(Point(self.rows_seen, progress, frame))
        if len(self.points) > MAX_POINTS or len(self.points) * frame.size > MAX_NUMBERS:
            # The newer half stays complete: the page's means are over the newest steps.
            middle = len(self.points) // 2
            self.points = [*self.points[:middle:2], *self.points[middle:]]

    def read_series(self, field: str, index: int) -> list[float | None]:
        """One field of one cell over the iterations that are kept."""
        column = self.fields.index(field)
        return [_read_entry(point.frame, index, column) for point in self.points]

    def read_latest(self, field: str) -> list[float | None]:
        """One field of all cells in the newest iteration."""
        if not self.points:
            return [None] * len(self.cells)
        column, frame = self.fields.index(field), self.points[-1].frame
        return [_read_entry(frame, index, column) for index in range(len(self.cells))]

    def _register(self, per_cell: dict[str, Any]) -> None:
        for name in per_cell:
            if (
                name not in self.cells
                and len(self.cells) < MAX_CELLS
                and len(name) <= MAX_NAME_LENGTH
            ):
                self.cells[name] = len(self.cells)
        if self.n_slices == 0:
            lists = (to_mapping(kpis).get(n) for kpis in per_cell.values() for n in PER_SLICE)
            longest = max((len(x) for x in lists if isinstance(x, list)), default=0)
            self.n_slices = min(longest, MAX_SLICES)

    def _make_frame(self, per_cell: dict[str, Any]) -> Float32[np.ndarray, "cell field"]:
        frame = np.full((len(self.cells), len(self.fields)), np.nan, np.float32)
        for name, kpis in per_cell.items():
            if name in self.cells:
                frame[self.cells[name]] = self._read_values(to_mapping(kpis))
        return frame

    def _read_values(self, kpis: dict[str, Any]) -> Float32[np.ndarray, " field"]:
        known = {key: to_number(kpis.get(key)) for key in SCALARS}
        phase, exploring = kpis.get("phase"), kpis.get("exploring")
        if isinstance(phase, str):
            known["phase"] = PHASES.get(phase.lower())
        known["exploring"] = float(exploring) if isinstance(exploring, bool) else None
        if known["fail_rate_95"] is None and known["satisfaction"] is not None:
            # A row without a fail rate: 1 or 0, from the satisfaction of its only known step.
            known["fail_rate_95"] = float(known["satisfaction"] < SATISFIED_RATIO)
        values = list(known.values())
        for name in PER_SLICE:
            values += to_numbers(kpis.get(name), self.n_slices)
        with np.errstate(over="ignore"):
            return np.array(values, np.float32)

    def _compute_moved(self, frame: Float32[np.ndarray, "cell field"]) -> float | None:
        """Share of the PRBs that other slices got than in the iteration before, mean over cells."""
        if not self.points or self.points[-1].frame.shape[1] != frame.shape[1]:
            return None
        previous = self.points[-1].frame
        start = self.fields.index("prb_ratio/0") if self.n_slices else 0
        columns = slice(start, start + self.n_slices)
        moved = np.abs(frame[: len(previous), columns] - previous[:, columns]).sum(axis=1) / 2
        known = _select_finite(moved) if self.n_slices else moved[:0]
        return round_to_five_digits(float(known.mean())) if known.size else None


def _read_entry(frame: Float32[np.ndarray, "cell field"], cell: int, field: int) -> float | None:
    if cell >= frame.shape[0] or field >= frame.shape[1]:
        return None
    return round_to_five_digits(float(frame[cell, field]))


def round_to_five_digits(value: float) -> float | None:
    """The value with five significant digits, which keeps the messages small; None for NaN."""
    return float(f"{value:.5g}") if np.isfinite(value) else None


def _summarise(
    row: dict[str, Any], frame: Float32[np.ndarray, "cell field"], steps_before: float | None
) -> dict[str, Any]:
    """Values of the whole run. `steps_before` is the step at which the iteration began."""
    progress: dict[str, Any] = {name: to_number(row.get(name)) for name in RUN_SCALARS}
    if progress["steps"] is None and progress["env_steps"] is not None:
        progress["steps"] = max(0.0, progress["env_steps"] - (steps_before or 0.0))
    reward, satisfaction, fail_rate = (
        _select_finite(frame[:, SCALARS.index(name)])
        for name in ("reward", "satisfaction", "fail_rate_95")
    )
    if progress["reward_mean"] is None and reward.size:
        progress["reward_mean"] = round_to_five_digits(float(reward.mean()))
    if progress["fail_rate_95"] is None and fail_rate.size:
        progress["fail_rate_95"] = round_to_five_digits(float(fail_rate.mean()))
    if satisfaction.size:
        progress["satisfaction_mean"] = round_to_five_digits(float(satisfaction.mean()))
        progress["cells_live"] = int(satisfaction.size)
    return progress | {name: _read_levels(row.get(name)) for name in RUN_LEVELS}


def _read_levels(value: Any) -> dict[str, float]:
    """Finite numbers by the name of a policy."""
    levels = {
        to_text(key, max_length=60): to_number(level)
        for key, level in list(to_mapping(value).items())[:MAX_REFERENCES]
    }
    return {name: level for name, level in levels.items() if level is not None}


def _select_finite(values: Float32[np.ndarray, " cell"]) -> Float32[np.ndarray, " live"]:
    return values[np.isfinite(values)]


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
    points = _select_points(history.points, window)
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
        **{name: _average([p.progress.get(name) for p in points], weights) for name in RUN_FIELDS},
        "same_steps": _average_same_steps(points, weights),
        "cells": {
            name: [round_to_five_digits(float(v)) for v in values] for name, values in cells.items()
        },
        "missing": _find_missing(history, points, weights) if is_learned else [],
    }


def _select_points(points: Sequence[Point], window: Window) -> list[Point]:
    """The iterations that end within the window; at least the newest one before its end."""
    earlier = [p for p in points if (p.progress["env_steps"] or 0.0) <= window.until]
    newest = earlier[-1].progress["env_steps"] if earlier else None
    if newest is None:
        return earlier[-1:]
    inside = [p for p in earlier if (p.progress["env_steps"] or 0.0) > newest - window.steps]
    return inside or earlier[-1:]


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
    return round_to_five_digits(float((numbers[known] * weights[known]).sum() / total))


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
