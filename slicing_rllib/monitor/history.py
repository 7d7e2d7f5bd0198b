"""What a run reported so far, in bounded memory: old iterations thin out, the newest stays."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from slicing_rllib.monitor.untrusted import mapping, number, numbers, text

SCALARS = ("reward", "satisfaction", "phase", "critic_loss", "actor_loss", "replay_size")
PER_SLICE = ("throughput_mbps", "delay_ms", "prb_ratio", "load")
PROGRESS = ("iteration", "env_steps", "updates", "time_s", "reward_mean")
PHASES = {"off": 0.0, "default": 1.0, "controlled": 2.0}
SATISFIED = 0.95
MAX_CELLS = 20_000
MAX_SLICES = 16
MAX_POINTS = 600
MAX_NUMBERS = 12_000_000
"""Of all cells, fields and iterations together: 48 MB."""


class Point(NamedTuple):
    """One iteration."""

    serial: int
    progress: dict[str, Any]
    frame: Float32[np.ndarray, "cell field"]


class History:
    """Rows of metrics.jsonl as arrays, NaN where a row says nothing."""

    def __init__(self) -> None:
        self.cells: dict[str, int] = {}
        self.n_slices = 0
        self.points: list[Point] = []
        self.rows_seen = 0

    @property
    def fields(self) -> list[str]:
        per_slice = [f"{name}/{i}" for name in PER_SLICE for i in range(self.n_slices)]
        return [*SCALARS, *per_slice]

    def add(self, row: dict[str, Any]) -> None:
        """Takes one row of metrics.jsonl."""
        per_cell = mapping(row.get("cells"))
        self._meet(per_cell)
        frame = self._frame(per_cell)
        self.rows_seen += 1
        self.points.append(Point(self.rows_seen, _progress(row, frame), frame))
        if len(self.points) > MAX_POINTS or self._n_numbers() > MAX_NUMBERS:
            self.points = [*self.points[:-1:2], self.points[-1]]

    def column(self, field: str, index: int) -> list[float | None]:
        """One field of one cell over the iterations kept."""
        if field not in self.fields:
            return [None] * len(self.points)
        at = self.fields.index(field)
        return [_entry(point.frame, index, at) for point in self.points]

    def latest(self, field: str) -> list[float | None]:
        """One field of all cells, as last reported."""
        if not self.points or field not in self.fields:
            return [None] * len(self.cells)
        at, frame = self.fields.index(field), self.points[-1].frame
        return [_entry(frame, index, at) for index in range(len(self.cells))]

    def _meet(self, per_cell: dict[str, Any]) -> None:
        for name in per_cell:
            if name not in self.cells and len(self.cells) < MAX_CELLS and len(name) <= 200:
                self.cells[name] = len(self.cells)
        if self.n_slices == 0:
            self.n_slices = _slices_in(per_cell)

    def _frame(self, per_cell: dict[str, Any]) -> Float32[np.ndarray, "cell field"]:
        frame = np.full((len(self.cells), len(self.fields)), np.nan, np.float32)
        for name, kpis in per_cell.items():
            if name in self.cells:
                frame[self.cells[name]] = self._values(mapping(kpis))
        return frame

    def _values(self, kpis: dict[str, Any]) -> Float32[np.ndarray, " field"]:
        values = [_phase(kpis.get(key)) if key == "phase" else number(kpis.get(key))
                  for key in SCALARS]  # fmt: skip
        for name in PER_SLICE:
            values += numbers(kpis.get(name), self.n_slices)
        with np.errstate(over="ignore"):
            return np.array(values, np.float32)

    def _n_numbers(self) -> int:
        return len(self.points) * self.points[-1].frame.size


def _slices_in(per_cell: dict[str, Any]) -> int:
    lists = [mapping(kpis).get(name) for kpis in per_cell.values() for name in PER_SLICE]
    return min(max((len(x) for x in lists if isinstance(x, list)), default=0), MAX_SLICES)


def _phase(value: Any) -> float | None:
    return PHASES.get(value.lower()) if isinstance(value, str) else number(value)


def _entry(frame: Float32[np.ndarray, "cell field"], cell: int, field: int) -> float | None:
    if cell >= frame.shape[0] or field >= frame.shape[1]:
        return None
    return rounded(float(frame[cell, field]))


def rounded(value: float) -> float | None:
    """Five significant digits: a page needs no more, and a line is short."""
    return float(f"{value:.5g}") if np.isfinite(value) else None


def _progress(row: dict[str, Any], frame: Float32[np.ndarray, "cell field"]) -> dict[str, Any]:
    progress: dict[str, Any] = {name: number(row.get(name)) for name in PROGRESS}
    reward, satisfaction = (_finite(frame[:, SCALARS.index(name)]) for name in
                            ("reward", "satisfaction"))  # fmt: skip
    if progress["reward_mean"] is None and reward.size:
        progress["reward_mean"] = rounded(float(reward.mean()))
    if satisfaction.size:
        progress["satisfaction_mean"] = rounded(float(satisfaction.mean()))
        progress["cells_below"] = int((satisfaction < SATISFIED).sum())
        progress["cells_live"] = int(satisfaction.size)
    progress["references"] = _references(row.get("references"))
    return progress


def _references(value: Any) -> dict[str, float | None]:
    return {text(key, at_most=60): number(level) for key, level in list(mapping(value).items())[:8]}


def _finite(values: Float32[np.ndarray, " cell"]) -> Float32[np.ndarray, " live"]:
    return values[np.isfinite(values)]
