"""Finds the values of each slice and cell in a table, whatever form the table has.

From what a traffic file counts to the share of a slice's UEs that is active.

Reads a traffic file into shares of active UEs, and tells what was understood.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from slicing_rllib.inputs.tables import TextTable, parse_number, read_text_table
from slicing_rllib.inputs.times import (
    TIME_NAMES,
    Regular,
    fill_gaps,
    find_first_gap,
    format_time,
    make_regular,
    read_times,
)
from slicing_rllib.radio.specs import SliceSpec
from slicing_rllib.radio.traffic import MaskTarget

ROLES = ("time", "step", "cell", "slice", "value")
"""Columns with a meaning of their own, by the names that `columns` may give them."""


@dataclass(frozen=True)
class Found:
    """The values of a table on its own rows of time."""

    values: Float[np.ndarray, "row cell slice"]
    """In the file's unit; NaN where the file has none."""
    source: tuple[tuple[str, ...], ...]
    """By cell and slice: what the file calls them."""
    first_row: tuple[int, ...]
    """Row of the table at which each row of time begins."""
    form: str
    """What the table looks like, in words."""
    is_long: bool
    """Whether each value has a row of its own."""
    ignored: tuple[str, ...]
    """What the file has beyond the scenario's cells and slices."""
    n_missing: int
    """Values that are blank or have no row, at times that the file has."""
    n_summed: int
    """Values that were added to another one of the same time, cell and slice."""


class Names:
    """What a file calls our cells, slices and roles."""

    def __init__(self, columns: Mapping[str, str], target: MaskTarget, where: str) -> None:
        """Raises: ValueError for a key of `columns` that is none of ours."""
        self._columns = dict(columns)
        slices = [spec.name for spec in target.slices]
        pairs = [f"{cell}.{name}" for cell in target.cells for name in slices]
        known = {*ROLES, *slices, *target.cells, *target.cell_ids, *pairs}
        for key in columns:
            if key not in known:
                raise ValueError(
                    f"{where}: columns: expected a slice ({', '.join(slices)}), a cell "
                    f"({target.cells[0]} ...) or one of {', '.join(ROLES)}, got {key!r}"
                )
        self.maps_slices = bool({*slices, *pairs} & set(columns))
        self.maps_cells = bool({*target.cells, *target.cell_ids} & set(columns))

    def get(self, name: str) -> str:
        """What the file calls one of our names."""
        return self._columns.get(name, name)

    def list_cell_names(self, target: MaskTarget, index: int) -> tuple[str, ...]:
        """Names under which a file may list a cell: as configured, else the operator's or ours."""
        own, operators = target.cells[index], target.cell_ids[index]
        given = self._columns.get(own) or self._columns.get(operators)
        return (given,) if given else tuple(dict.fromkeys((operators, own)))


def is_long(table: TextTable, names: Names) -> bool:
    """Whether the table has a row per value: a column of values, and one of cells or slices."""
    has = {role: names.get(role) in table.header for role in ROLES}
    return has["value"] and (has["cell"] or has["slice"])


def read_wide(table: TextTable, names: Names, target: MaskTarget, clock: str | None) -> Found:
    """Values of a table with a column per slice, or per cell and slice, and a row per time.

    `clock` is the column of times or steps. Raises: ValueError with the column that is missing or
    unknown, or with line and column of a text that is no number.
    """
    source = _match_columns(table, names, target)
    used = {name for row in source for name in row} | {clock, names.get("step")}
    ignored = tuple(name for name in table.header if name not in used)
    if ignored and not names.maps_slices:
        slices = ", ".join(spec.name for spec in target.slices)
        raise ValueError(
            f"{table.where}, line {table.header_line}: unknown column {ignored[0]!r} (the slices "
            f"are {slices}; columns: says which column is which)"
        )
    by_name = {name: _read_numbers(table, name) for name in {n for row in source for n in row}}
    values = np.array([[by_name[name] for name in row] for row in source]).transpose(2, 0, 1)
    by_cell = len(set(source)) > 1 or len(target.cells) == 1
    form = "a column per cell and slice" if by_cell else "a column per slice, for all cells"
    return Found(
        values=values,
        source=source,
        first_row=tuple(range(len(table.rows))),
        form=form,
        is_long=False,
        ignored=ignored,
        n_missing=sum(int(np.isnan(column).sum()) for column in by_name.values()),
        n_summed=0,
    )


def read_long(
    table: TextTable,
    names: Names,
    target: MaskTarget,
    times: Float[np.ndarray, " row"],
    duplicates: str,
) -> tuple[Found, Float[np.ndarray, " time"]]:
    """Values of a table with a row per time, cell and slice; and the distinct times in order.

    Rows may stand in any order. `duplicates` is `refuse` or `sum`.
    Raises: ValueError with the line of an unknown or repeated cell or slice.
    """
    cells = _index_rows(table, names.get("cell"), _name_cells(names, target), names.maps_cells)
    slice_names = {names.get(s.name): (i,) for i, s in enumerate(target.slices)}
    slices = _index_rows(table, names.get("slice"), slice_names, names.maps_slices)
    every_cell, every_slice = range(len(target.cells)), range(len(target.slices))
    distinct, place = np.unique(times, return_inverse=True)
    values = np.full((len(distinct), len(every_cell), len(every_slice)), np.nan)
    first: dict[tuple[int, int, int], int] = {}
    n_summed = 0
    column = names.get("value")
    for row, number in enumerate(_read_numbers(table, column)):
        own_cells, own_slices = cells[row], slices[row]
        is_repeated = False
        for key in itertools.product(
            (int(place[row]),),
            every_cell if own_cells is None else own_cells,
            every_slice if own_slices is None else own_slices,
        ):
            is_repeated |= first.setdefault(key, row) != row
            if is_repeated and duplicates == "refuse":
                raise ValueError(
                    f"{table.where}, line {table.lines[row]}: time, cell and slice of line "
                    f"{table.lines[first[key]]} stand here again (duplicates: sum adds them)"
                )
            values[key] = np.nansum([values[key], number]) if is_repeated else number
        n_summed += is_repeated
    _require_all(table, values, target)
    roles = [role for role in ("cell", "slice") if names.get(role) in table.header]
    found = Found(
        values=values,
        source=((column,) * len(every_slice),) * len(every_cell),
        first_row=tuple(np.unique(place, return_index=True)[1].tolist()),
        form=" and ".join(["a row per time", *roles]),
        is_long=True,
        ignored=_list_left_out(table, names, cells, slices),
        n_missing=int(
            np.isnan(
                values[:, : None if "cell" in roles else 1, : None if "slice" in roles else 1]
            ).sum()
        ),
        n_summed=n_summed,
    )
    return found, distinct


def _match_columns(
    table: TextTable, names: Names, target: MaskTarget
) -> tuple[tuple[str, ...], ...]:
    """Column of each slice in each cell; columns per slice serve all cells."""
    slices = [spec.name for spec in target.slices]
    shared = tuple(names.get(name) for name in slices)
    by_cell = _match_cell_columns(table, names, target, slices)
    if by_cell and any(name in table.header for row in by_cell for name in row):
        for row in by_cell:
            _require_columns(table, row, slices)
        return by_cell
    _require_columns(table, shared, slices)
    return (shared,) * len(target.cells)


def _match_cell_columns(
    table: TextTable, names: Names, target: MaskTarget, slices: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    rows: list[tuple[str, ...]] = []
    for index, cell in enumerate(target.cells):
        known_as = names.list_cell_names(target, index)
        row: list[str] = []
        for name in slices:
            pair = names.get(f"{cell}.{name}")
            options = [f"{known}.{names.get(name)}" for known in known_as]
            candidates = [pair, *options] if pair != f"{cell}.{name}" else options
            row.append(next((c for c in candidates if c in table.header), candidates[-1]))
        rows.append(tuple(row))
    return tuple(rows)


def _require_columns(table: TextTable, wanted: Sequence[str], slices: Sequence[str]) -> None:
    for name, ours in zip(wanted, slices, strict=True):
        if name not in table.header:
            known = ", ".join(table.header[:8]) + (" ..." if len(table.header) > 8 else "")
            raise ValueError(
                f"{table.where}, line {table.header_line}: expected a column {name!r}, got {known} "
                f"(columns: {{{ours}: NAME}} says which one it is)"
            )


def _read_numbers(table: TextTable, column: str) -> Float[np.ndarray, " row"]:
    numbers = np.empty(len(table.rows))
    for row, text in enumerate(table.read_column(column)):
        value = parse_number(text, table.decimal)
        if value is None:
            raise ValueError(f"{table.locate(row, column)}: expected a number, got {text!r}")
        numbers[row] = value
    return numbers


def _name_cells(names: Names, target: MaskTarget) -> dict[str, tuple[int, ...]]:
    """Cells by the names that the file may use; one name may stand for several cells."""
    found: dict[str, tuple[int, ...]] = {}
    for index in range(len(target.cells)):
        for name in names.list_cell_names(target, index):
            found[name] = (*found.get(name, ()), index)
    return found


def _index_rows(
    table: TextTable, column: str, known: Mapping[str, tuple[int, ...]], leaves_out: bool
) -> list[tuple[int, ...] | None]:
    """Per row, the cells or slices it is about: None for all of them, () for none of ours.

    Raises: ValueError for an unknown name, unless `leaves_out`.
    """
    if column not in table.header:
        return [None] * len(table.rows)
    indices: list[tuple[int, ...] | None] = []
    for row, name in enumerate(table.read_column(column)):
        if name not in known and not leaves_out:
            some = ", ".join(list(known)[:6]) + (" ..." if len(known) > 6 else "")
            raise ValueError(
                f"{table.locate(row, column)}: expected one of {some}, got {name!r} "
                "(columns: says which is which)"
            )
        indices.append(known.get(name, ()))
    return indices


def _require_all(
    table: TextTable, values: Float[np.ndarray, "time cell slice"], target: MaskTarget
) -> None:
    """Raises: ValueError with the first cell and slice that no row is about."""
    empty = np.argwhere(np.isnan(values).all(axis=0))
    if len(empty):
        cell, index = (int(i) for i in empty[0])
        raise ValueError(
            f"{table.where}: expected rows of {target.slices[index].name} in "
            f"{target.cell_ids[cell]}, found none"
        )


def _list_left_out(
    table: TextTable,
    names: Names,
    cells: Sequence[tuple[int, ...] | None],
    slices: Sequence[tuple[int, ...] | None],
) -> tuple[str, ...]:
    left: dict[str, None] = {}
    for role, indices in (("cell", cells), ("slice", slices)):
        if names.get(role) in table.header:
            texts = table.read_column(names.get(role))
            left |= dict.fromkeys(
                f"{role} {text}" for text, index in zip(texts, indices, strict=True) if index == ()
            )
    return tuple(left)


Unit = Literal["share", "percent", "users", "mbps", "relative"]
UNIT_WORDS: dict[str, str] = {
    "share": "share of active UEs, 0 to 1",
    "percent": "percentage of active UEs, 0 to 100",
    "users": "number of active UEs",
    "mbps": "traffic of a slice in a cell, Mbit/s",
    "relative": "any quantity, divided by its largest value in the file",
}


def compute_share_per_unit(
    unit: Unit, slices: tuple[SliceSpec, ...], values: Float[np.ndarray, "row cell slice"]
) -> Float[np.ndarray, " slice"]:
    """The share of active UEs that one unit of a value means, for each slice."""
    users = np.array([spec.users for spec in slices], float)
    match unit:
        case "share":
            return np.ones(len(slices))
        case "percent":
            return np.full(len(slices), 0.01)
        case "users":
            return 1 / users
        case "mbps":
            return 1e3 / (users * np.array([spec.traffic.rate_kbps for spec in slices]))
        case "relative":
            largest = float(np.nanmax(values, initial=0.0))
            return np.full(len(slices), 1 / largest if largest > 0 else 1.0)


def suggest_unit(unit: Unit, largest: float, largest_share: float) -> str:
    """Advice, as the end of a message, for values that make shares above 1."""
    fits = f"scale: {0.99 / largest_share:.2g} fits all values"
    if unit == "share" and largest > 1:
        kinds = "percent, users, mbps or relative" if largest <= 100 else "users, mbps or relative"
        return f"; unit: {kinds} says what values above 1 mean"
    if unit in ("users", "mbps"):
        return f"; more than the slice's UEs: raise its users, or {fits}"
    return f"; {fits}"


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
