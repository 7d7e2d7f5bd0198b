"""Traffic masks: what share of each slice's UEs is active, step by step."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from slicing_rllib.radio.random_streams import Stream, generator

PerSlice = Float[np.ndarray, "cell slice"]

BLOCK_STEPS = 64
"""Steps whose masks are computed together: one call for many small arrays."""


@runtime_checkable
class Mask(Protocol):
    """Share of UEs that are active, per cell and slice, in [0, 1]."""

    def at(self, step: int) -> PerSlice: ...


@dataclass(frozen=True, kw_only=True)
class SyntheticMask:
    """One diurnal wave that all slices share, and a ripple of each slice's own.

    Raises: ValueError unless 0 <= low <= high <= 1 and the rest is not negative.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    kind: Literal["synthetic"] = "synthetic"
    low: float = 0.15
    high: float = 0.74
    period_steps: float = 200.0
    ripple: float = 0.0
    """Amplitude of each slice's own wave, in mask units."""
    ripple_period_steps: float = 40.0
    cell_spread: float = 0.0
    """How far, in periods, cells' common waves are apart at most; 0: one wave for all cells."""
    cells_ripple_apart: bool = False
    """Whether a slice's ripple differs from cell to cell."""
    cell_levels: tuple[float, ...] = (1.0,)
    """Factors on the mask, given to cells in turn: some places are busier than others."""
    cell_turns: tuple[float, ...] = (0.0,)
    """How far, in periods, cells' common waves come early, given to cells in turn."""

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError(
                f"mask: expected 0 <= low <= high <= 1, got {self.low} and {self.high}"
            )
        for name in ("period_steps", "ripple_period_steps"):
            if getattr(self, name) <= 0:
                raise ValueError(f"mask: {name} must be positive, got {getattr(self, name)}")
        for name in ("ripple", "cell_spread"):
            if getattr(self, name) < 0:
                raise ValueError(f"mask: {name} must not be negative, got {getattr(self, name)}")
        if not self.cell_levels or not self.cell_turns:
            raise ValueError("mask: expected at least one number in cell_levels and cell_turns")
        if min(self.cell_levels) < 0:
            raise ValueError(f"mask: cell_levels must not be negative, got {self.cell_levels}")

    def bound(self, cells: Sequence[str], slices: Sequence[str], seed: int) -> Mask:
        """The mask of a network; phases are drawn once per seed."""
        draws = np.stack(
            [generator(seed, Stream.MASK, k).random((4, len(slices))) for k in range(len(cells))]
        )
        ripples = draws if self.cells_ripple_apart else np.broadcast_to(draws[0], draws.shape)
        wave_turns = draws[0, 3, 0] + self.cell_spread * draws[:, 2, :1]
        wave_turns += np.resize(self.cell_turns, (len(cells), 1))
        levels = np.resize(self.cell_levels, (len(cells), 1))
        return _Waves(self, wave_turns, ripples[:, :2], levels)


class _Waves:
    def __init__(
        self,
        spec: SyntheticMask,
        wave_turns: Float[np.ndarray, "cell 1"],
        ripple_turns: Float[np.ndarray, "cell 2 slice"],
        level: Float[np.ndarray, "cell 1"],
    ) -> None:
        self._spec = spec
        self._level = level
        self._wave_rad = 2 * np.pi * wave_turns
        self._ripple_rad = 2 * np.pi * ripple_turns[:, 0]
        # Slices' ripples drift apart, so that no combination of them comes back every period.
        self._ripple_pace = 2 * np.pi * (0.75 + 0.5 * ripple_turns[:, 1]) / spec.ripple_period_steps
        self._block: tuple[int, Float[np.ndarray, "step cell slice"]] = (-1, np.zeros((0, 0, 0)))

    def at(self, step: int) -> PerSlice:
        number, row = divmod(step, BLOCK_STEPS)
        if self._block[0] != number:
            steps = np.arange(number * BLOCK_STEPS, (number + 1) * BLOCK_STEPS)
            self._block = number, self._shares(steps[:, None, None])
        return self._block[1][row]

    def _shares(self, step: Int[np.ndarray, "step 1 1"]) -> Float[np.ndarray, "step cell slice"]:
        spec = self._spec
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * step / spec.period_steps + self._wave_rad)
        ripple = spec.ripple * np.sin(self._ripple_pace * step + self._ripple_rad)
        common = spec.low + (spec.high - spec.low) * wave
        return np.clip(self._level * (common + ripple), 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class TraceMask:
    """A CSV file: a column per slice (all cells alike) or per cell and slice (`cell_1.voice`).

    A row is a step; after the last row comes the first. A column `step` is not read.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    kind: Literal["csv"] = "csv"
    path: str

    def bound(self, cells: Sequence[str], slices: Sequence[str], seed: int) -> Mask:
        """The mask of a network; a trace draws nothing.

        Raises: ValueError naming file, line and column of what cannot be used.
        """
        header, rows = _table(Path(self.path))
        columns = _columns(self.path, header, cells, slices)
        return _Trace(rows[:, columns])


class _Trace:
    def __init__(self, rows: Float[np.ndarray, "step cell slice"]) -> None:
        self._rows = rows

    def at(self, step: int) -> PerSlice:
        return self._rows[step % len(self._rows)]


def _table(path: Path) -> tuple[list[str], Float[np.ndarray, "step column"]]:
    """Header and values of a trace; a `step` column reads as zero."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"mask trace {path}: expected a readable CSV file ({error})") from error
    if len(lines) < 2:
        raise ValueError(f"mask trace {path}: expected a header and at least one row")
    header = [name.strip() for name in lines[0]]
    rows = [
        _row(path, number, header, line) for number, line in enumerate(lines[1:], start=2) if line
    ]
    return header, np.array(rows)


def _row(path: Path, number: int, header: Sequence[str], line: Sequence[str]) -> list[float]:
    if len(line) != len(header):
        raise ValueError(
            f"mask trace {path}, line {number}: expected {len(header)} values, got {len(line)}"
        )
    return [
        0.0 if name == "step" else _share(f"{path}, line {number}, column {name}", text)
        for name, text in zip(header, line, strict=True)
    ]


def _share(where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ValueError(f"mask trace {where}: expected a number in [0, 1], got {text.strip()!r}")
    return value


def _columns(
    path: str, header: Sequence[str], cells: Sequence[str], slices: Sequence[str]
) -> list[list[int]]:
    """Which column holds each cell's slices: by cell if any column names a cell, else shared."""
    by_cell = any("." in name for name in header)
    place = {name: column for column, name in enumerate(header)}
    names = [[f"{cell}.{name}" if by_cell else name for name in slices] for cell in cells]
    known = {name for row in names for name in row} | {"step"}
    for name in header:
        if name not in known:
            raise ValueError(f"mask trace {path}, line 1: unknown column {name!r}")
    for name in (name for row in names for name in row):
        if name not in place:
            raise ValueError(f"mask trace {path}, line 1: expected a column {name!r}")
    return [[place[name] for name in row] for row in names]
