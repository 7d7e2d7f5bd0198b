"""Reads a traffic file into shares of active UEs, and tells what was understood."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio.traces.columns import Found, Names, is_long, read_long, read_wide
from slicing_rllib.radio.traces.grid import Regular, fill_gaps, find_first_gap, make_regular
from slicing_rllib.radio.traces.table import TextTable, read_text_table
from slicing_rllib.radio.traces.times import TIME_NAMES, format_time, read_times
from slicing_rllib.radio.traces.units import (
    UNIT_WORDS,
    Unit,
    compute_share_per_unit,
    suggest_unit,
)
from slicing_rllib.radio.traffic import MaskTarget

ROUNDING = 1e-9
"""How far above 1 a share may come from rounding."""


@dataclass(frozen=True, kw_only=True)
class TraceFormat:
    """How a traffic file is to be read; `TraceMask` describes the fields."""

    columns: Mapping[str, str]
    unit: Unit
    scale: float
    zone: tzinfo
    time_format: str | None
    separator: str | None
    decimal: str | None
    gaps: str
    duplicates: str
    row_s: float | None


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The content of a traffic file, and what was understood of it."""

    shares: Float[np.ndarray, "row cell slice"]
    """Share of UEs that are active, at equal distances in time."""
    row_s: float | None
    """Time between two rows; None where a row is a step."""
    start_s: float | None
    """Time of the first row, seconds since 1970; None for a file without times."""
    zone: tzinfo
    time_column: str | None
    separator_name: str
    decimal: str
    form: str
    """What the file looks like, in words."""
    source: tuple[tuple[str, ...], ...]
    """By cell and slice: the column of its values."""
    ignored: tuple[str, ...]
    """Columns, cells and slices of the file that are left out."""
    missing_rows: int
    """Rows that the file has not, and that were filled."""
    missing_values: int
    """Blank values in rows that the file has, which were filled."""
    summed_values: int
    """Values that were added to another one of the same time, cell and slice."""

    def find_hour(self, row: float) -> int | None:
        """Local hour of the day at a row, counted from 0; None for a file without times.

        The trace repeats, so that rows beyond its end have the hours of its beginning.
        """
        if self.start_s is None or self.row_s is None:
            return None
        seconds = self.start_s + (row % len(self.shares)) * self.row_s
        return datetime.fromtimestamp(seconds, UTC).astimezone(self.zone).hour

    def describe_time(self, row: int) -> str:
        """The local time of a row; its number, from 1, in a file without times."""
        if self.start_s is None or self.row_s is None:
            return f"row {row + 1}"
        return format_time(self.start_s + row * self.row_s, self.zone)


class _Clock(NamedTuple):
    """The column that orders the rows."""

    column: str | None
    """None where every row is a step."""
    is_time: bool
    """Whether it has times; step numbers otherwise."""


def read_trace(path: Path, how: TraceFormat, target: MaskTarget) -> Trace:
    """What a file says about the slices of a network.

    Raises: ValueError, one line with file, line and column of what is wrong.
    """
    table = read_text_table(path, "mask trace", separator=how.separator, decimal=how.decimal)
    names = Names(how.columns, target, table.where)
    clock = _find_clock(table, names)
    times = _read_clock(table, names, how, clock)
    if is_long(table, names):
        found, times = read_long(table, names, target, times, how.duplicates)
    else:
        found = read_wide(table, names, target, clock.column)
    shares = _convert(table, found, how, target)
    regular = _make_regular(table, found, shares, times, clock, how)
    filled = _fill(table, found, regular, target, how)
    return Trace(
        shares=filled,
        row_s=(clock.is_time and regular.spacing) or how.row_s,
        start_s=float(times[0]) if clock.is_time else None,
        zone=how.zone,
        time_column=clock.column if clock.is_time else None,
        separator_name=table.separator_name,
        decimal=table.decimal,
        form=found.form,
        source=found.source,
        ignored=found.ignored,
        missing_rows=regular.n_missing,
        missing_values=found.n_missing,
        summed_values=found.n_summed,
    )


def _find_clock(table: TextTable, names: Names) -> _Clock:
    """The column of times, or else of steps. Raises: ValueError where the configured one lacks."""
    given = names.get("time")
    if given != "time" and given not in table.header:
        raise ValueError(
            f"{table.where}, line {table.header_line}: expected a column {given!r} of times"
        )
    by_name = {name.lower(): name for name in table.header}
    known = [given] if given != "time" else TIME_NAMES
    found = next((by_name[name.lower()] for name in known if name.lower() in by_name), None)
    if found is not None:
        return _Clock(found, is_time=True)
    step = names.get("step")
    return _Clock(step if step in table.header else None, is_time=False)


def _read_clock(
    table: TextTable, names: Names, how: TraceFormat, clock: _Clock
) -> Float[np.ndarray, " row"]:
    """The time or step of each row of the table."""
    if clock.column is None:
        if is_long(table, names):
            raise ValueError(
                f"{table.where}, line {table.header_line}: expected a column of times beside "
                f"{names.get('value')!r} (columns: {{time: NAME}} says which one it is)"
            )
        return np.arange(len(table.rows), dtype=float)
    if not clock.is_time:
        return _read_steps(table, clock.column)
    group_by = [names.get(r) for r in ("cell", "slice") if names.get(r) in table.header]
    return read_times(
        table,
        clock.column,
        time_format=how.time_format,
        zone=how.zone,
        group_by=group_by if is_long(table, names) else (),
    )


def _read_steps(table: TextTable, column: str) -> Float[np.ndarray, " row"]:
    texts = table.read_column(column)
    for row, text in enumerate(texts):
        if not text.isdecimal():
            raise ValueError(f"{table.locate(row, column)}: expected a step number, got {text!r}")
    return np.array([float(text) for text in texts])


def _convert(
    table: TextTable, found: Found, how: TraceFormat, target: MaskTarget
) -> Float[np.ndarray, "row cell slice"]:
    """Shares of active UEs. Raises: ValueError with the line of a value outside [0, 1]."""
    factor = how.scale * compute_share_per_unit(how.unit, target.slices, found.values)
    shares = found.values * factor
    outside = np.argwhere((shares < 0) | (shares > 1 + ROUNDING))
    if not len(outside):
        return np.minimum(shares, 1.0)
    row, cell, index = (int(i) for i in outside[0])
    where = table.locate(found.first_row[row], found.source[cell][index])
    value = found.values[row, cell, index]
    if value < 0 or how.unit == "share":
        wanted = f"expected a number in [0, 1], got '{value:g}'"
    else:
        times = shares[row, cell, index]
        name = target.slices[index].name
        wanted = (
            f"expected at most all UEs of {name}, got {value:g} ({UNIT_WORDS[how.unit]}), "
            f"{times:.3g} times as many"
        )
    largest, largest_share = float(np.nanmax(found.values)), float(np.nanmax(shares))
    advice = suggest_unit(how.unit, largest, largest_share) if value > 0 else ""
    raise ValueError(f"{where}: {wanted}{advice}")


def _make_regular(
    table: TextTable,
    found: Found,
    shares: Float[np.ndarray, "row cell slice"],
    times: Float[np.ndarray, " row"],
    clock: _Clock,
    how: TraceFormat,
) -> Regular:
    def locate(row: int) -> str:
        return table.locate(found.first_row[row], str(clock.column))

    def describe(time: float) -> str:
        return format_time(time, how.zone) if clock.is_time else f"step {time:g}"

    # Steps count by one: the usual distance would hide a file of every second step.
    return make_regular(shares, times, locate, describe, spacing=None if clock.is_time else 1.0)


def _fill(
    table: TextTable, found: Found, regular: Regular, target: MaskTarget, how: TraceFormat
) -> Float[np.ndarray, "row cell slice"]:
    """The rows with gaps filled. Raises: ValueError with the first gap where they are refused."""
    gap = find_first_gap(regular.rows)
    if gap is None:
        return regular.rows
    if how.gaps != "refuse":
        return fill_gaps(regular.rows, how.gaps)
    row, cell, index = gap
    offer = "gaps: hold, linear or zero fills them"
    if not regular.is_present[row]:
        line = table.lines[found.first_row[row - 1]]
        raise ValueError(
            f"{table.where}, line {line}: {regular.n_missing} of {len(regular.rows)} rows are "
            f"missing, the first one after this line ({offer})"
        )
    column, at = found.source[cell][index], found.first_row[row]
    name = f"{target.slices[index].name} in {target.cell_ids[cell]}"
    if found.is_long:
        raise ValueError(
            f"{table.where}, line {table.lines[at]}: this time has no value of {name} ({offer})"
        )
    text = table.read_column(column)[at]
    raise ValueError(
        f"{table.locate(at, column)}: expected a number for {name}, got {text!r} ({offer})"
    )
