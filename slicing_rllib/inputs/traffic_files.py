"""Reads a traffic file into shares of active UEs: finds times, cells, slices and values in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple, Never

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from slicing_rllib.inputs.text_tables import TextTable, name_separator, read_text_table
from slicing_rllib.inputs.times import TIME_NAMES, fill_gaps, format_time, number_rows, read_times
from slicing_rllib.inputs.traces import Trace, TracedNetwork, TraceForm, Unit
from slicing_rllib.storage.errors import ConfigError

HOUR_S = 3600.0
ROLES = ("time", "step", "cell", "slice", "value")
"""Columns with a meaning of their own, by the names that `columns` may give them."""
UNIT_WORDS = {
    "share": "share of active UEs, 0 to 1",
    "percent": "percentage of active UEs, 0 to 100",
    "users": "number of active UEs",
    "kbps": "traffic of a slice in a cell, kbit/s",
    "mbps": "traffic of a slice in a cell, Mbit/s",
    "gbps": "traffic of a slice in a cell, Gbit/s",
    "megabytes": "traffic of a slice in a cell between two rows, MB",
    "gigabytes": "traffic of a slice in a cell between two rows, GB",
    "relative": "any quantity, divided by its largest value in the file",
}
KBPS = {"kbps": 1.0, "mbps": 1e3, "gbps": 1e6}
KBIT = {"megabytes": 8e3, "gigabytes": 8e6}
"""kbit/s of rates, and kbit of volumes."""
GROUPED = r"[+-]?[1-9]\d{0,2}([.,]\d{3})+%?"
"""Numbers whose sign may separate thousands; `0.125` may not."""
ROUNDING = 1e-9
"""How far above 1 a share may come from rounding."""
SHOWN_COLUMNS, SHOWN_NAMES = 8, 6


def read_trace(
    path: Path,
    network: TracedNetwork,
    *,
    columns: Mapping[str, str],
    unit: Unit,
    scale: float,
    zone: tzinfo,
    time_format: str | None,
    separator: str | None,
    decimal: str | None,
    thousands: str | None,
    gaps: str,
    duplicates: str,
    row_s: float | None,
) -> Trace:
    """What a file says about the slices of a network. `TraceMask` describes the settings.

    Raises: ConfigError, one line with file, line and column of what is wrong.
    """
    table = read_text_table(
        path, "mask trace", separator=separator, decimal=decimal, thousands=thousands
    )
    names = _Names(table, columns, network)
    if names.has_cell_rows:
        table = _unfold_slices(table, names)
        names = _Names(table, {**columns, "slice": SLICE, "value": VALUE}, network)
    clock = _find_clock(table, names, zone, time_format)
    if names.is_long:
        found = _read_long(table, names, clock, duplicates)
    else:
        found = _read_wide(table, names, clock)
    if decimal is None and thousands is None:
        _refuse_ambiguous_numbers(table, found)

    def refuse(index: int, what: str) -> Never:
        time = clock.times[index]
        shown = format_time(time, zone) if clock.is_time else f"step {time:g}"
        table.refuse(int(clock.first_row[index]), f"{shown} {what}", clock.column)

    # Steps count by one: the usual distance would hide a file of every second step.
    numbers, spacing = number_rows(clock.times, refuse, spacing=None if clock.is_time else 1.0)
    if clock.is_time and 0 < spacing < network.step_s:
        table.refuse(
            int(clock.first_row[1]),
            f"expected rows at least a step of {network.step_s:g} s apart, got {spacing:g} s "
            "(time_format says how to read the times)",
            clock.column,
        )
    shares = _convert(
        table, clock, found, unit, scale, network, (clock.is_time and spacing) or row_s
    )
    if gaps == "refuse":
        _refuse_gaps(table, names, clock, found, numbers)
    rows = np.full((numbers[-1] + 1, *shares.shape[1:]), np.nan)
    rows[numbers] = shares
    return Trace(
        shares=rows if gaps == "refuse" else fill_gaps(rows, gaps),
        row_s=(clock.is_time and spacing) or row_s,
        start_s=float(clock.times[0]) if clock.is_time else None,
        zone=zone,
        time_column=clock.column if clock.is_time else None,
        separator_name=name_separator(table.separator),
        decimal=table.decimal,
        missing_rows=len(rows) - len(numbers),
        **{field.name: getattr(found, field.name) for field in fields(TraceForm)},
    )


class _Names:
    """What a file calls our cells, slices and roles."""

    def __init__(
        self, table: TextTable, columns: Mapping[str, str], network: TracedNetwork
    ) -> None:
        """Raises: ConfigError for a key of `columns` that is none of ours."""
        self.network = network
        self._columns = columns
        pairs = [f"{cell}.{name}" for cell in network.cells for name in network.slices]
        known = {*ROLES, *network.slices, *network.cells, *network.cell_ids, *pairs}
        for key in columns:
            if key not in known:
                raise ConfigError(
                    f"{table.where}: columns: expected a slice ({', '.join(network.slices)}), a "
                    f"cell ({network.cells[0]} ...) or one of {', '.join(ROLES)}, got {key!r}"
                )
        self.maps_slices = not {*network.slices, *pairs}.isdisjoint(columns)
        self.maps_cells = not {*network.cells, *network.cell_ids}.isdisjoint(columns)
        has = {role: self[role] in table.header for role in ROLES}
        self.keys = [role for role in ("cell", "slice") if has[role]]
        """Roles of the columns that say what a row's value is about."""
        self.has_cell_rows = has["cell"] and not (has["value"] or has["slice"])
        """Whether the table has a row per time and cell, and a column per slice."""
        self.is_long = has["value"] and bool(self.keys)
        """Whether the table has a row per value, rather than a row per time."""

    def __getitem__(self, name: str) -> str:
        """What the file calls one of our names."""
        return self._columns.get(name, name)

    def list_cell_names(self, index: int) -> tuple[str, ...]:
        """Names under which a file may list a cell: as configured, else the operator's or ours."""
        own, operators = self.network.cells[index], self.network.cell_ids[index]
        given = self._columns.get(own) or self._columns.get(operators)
        return (given,) if given else tuple(dict.fromkeys((operators, own)))


SLICE, VALUE = "its slice", "its value"
"""Columns of an unfolded table."""


def _unfold_slices(table: TextTable, names: _Names) -> TextTable:
    """A table with a row per value, of one with a row per time and cell and a column per slice."""
    own = [names[name] for name in names.network.slices]
    for column in own:
        if column not in table.header:
            known = _list_some(table.header, SHOWN_COLUMNS)
            table.refuse_header(f"expected a column {column!r} beside the cells, got {known}")
    kept = [name for name in table.header if name not in own]
    frame = table.frame.reset_index().melt(["index", *kept], own, SLICE, VALUE)
    frame = frame.sort_values("index", kind="stable")
    rows = np.array(table.row_numbers)[frame["index"].to_numpy()].tolist()
    frame = frame.drop(columns="index").reset_index(drop=True).astype(str)
    return replace(table, frame=frame, row_numbers=rows)


def _refuse_ambiguous_numbers(table: TextTable, found: TraceForm) -> None:
    """Raises: ConfigError where each number with a separator may have thousands or decimals."""
    columns = list(dict.fromkeys(name for row in found.source for name in row))
    texts = table.frame[columns].stack()
    signed = texts[texts.str.contains(r"\d[.,]\d|^[.,]\d", regex=True)]
    if len(signed) and signed.str.fullmatch(GROUPED).all():
        (row, column), text = signed.index[0], signed.iloc[0]
        sign = next(sign for sign in text if sign in ".,")
        table.refuse(
            row,
            f"{text!r} may have thousands or decimals; decimal: '{sign}' or thousands: '{sign}' "
            "says which",
            column,
        )


class _Clock(NamedTuple):
    """The times of a file and the rows of the table that belong to each."""

    column: str | None
    """Orders the rows; None where every row is a step."""
    is_time: bool
    """Whether `times` are seconds since 1970; step numbers otherwise."""
    times: Float[np.ndarray, " time"]
    first_row: Int[np.ndarray, " time"]
    """Row of the table at which each time begins."""
    place: Int[np.ndarray, " row"]
    """Index in `times` of each row of the table."""


@dataclass(frozen=True, kw_only=True)
class _Found(TraceForm):
    """The values of a table by time, cell and slice."""

    values: Float[np.ndarray, "time cell slice"]
    """In the file's unit; NaN where the file has none."""


def _find_clock(table: TextTable, names: _Names, zone: tzinfo, time_format: str | None) -> _Clock:
    """From a column of times, or else of steps, or else the order of the rows."""
    given = names["time"]
    if given != "time" and given not in table.header:
        table.refuse_header(f"expected a column {given!r} of times")
    by_name = {name.lower(): name for name in table.header}
    known = [given.lower()] if given != "time" else TIME_NAMES
    column = next((by_name[name] for name in known if name in by_name), None)
    is_time = column is not None
    rows = np.arange(len(table.frame))
    if column is not None:
        group_by = [names[role] for role in names.keys] if names.is_long else []
        times = read_times(table, column, time_format=time_format, zone=zone, group_by=group_by)
    elif names["step"] in table.header:
        column = names["step"]
        texts = table.frame[column]
        table.refuse_texts(column, ~texts.str.isdecimal(), "a step number")
        times = texts.to_numpy(object).astype(float)
    elif names.is_long:
        table.refuse_header(
            f"expected a column of times beside {names['value']!r} (columns: {{time: NAME}} says "
            "which one it is)"
        )
    else:
        times = rows.astype(float)
    if names.is_long:
        return _Clock(column, is_time, *np.unique(times, return_index=True, return_inverse=True))
    return _Clock(column, is_time, times, rows, rows)


def _read_wide(table: TextTable, names: _Names, clock: _Clock) -> _Found:
    """Values of a table with a column per slice, or per cell and slice, and a row per time."""
    source = _match_columns(table, names)
    used = {name for row in source for name in row}
    ignored = tuple(n for n in table.header if n not in {*used, clock.column, names["step"]})
    if ignored and not names.maps_slices:
        table.refuse_header(
            f"unknown column {ignored[0]!r} (the slices are {', '.join(names.network.slices)}; "
            "columns: says which column is which)"
        )
    numbers = {name: table.read_numbers(name) for name in table.header if name in used}
    by_cell = len(set(source)) > 1 or len(source) == 1
    return _Found(
        values=np.array([[numbers[name] for name in row] for row in source]).transpose(2, 0, 1),
        source=source,
        form="a column per cell and slice" if by_cell else "a column per slice, for all cells",
        ignored=ignored,
        missing_values=sum(int(np.isnan(column).sum()) for column in numbers.values()),
    )


def _match_columns(table: TextTable, names: _Names) -> tuple[tuple[str, ...], ...]:
    """Column of each slice in each cell; columns per slice serve all cells."""
    network, header = names.network, set(table.header)
    by_cell: list[tuple[str, ...]] = []
    for index, cell in enumerate(network.cells):
        own: list[str] = []
        for name in network.slices:
            given = names[f"{cell}.{name}"]
            options = [f"{known}.{names[name]}" for known in names.list_cell_names(index)]
            candidates = options if given == f"{cell}.{name}" else [given, *options]
            own.append(next((c for c in candidates if c in header), candidates[-1]))
        by_cell.append(tuple(own))
    if header.isdisjoint(name for row in by_cell for name in row):
        by_cell = [tuple(names[name] for name in network.slices)] * len(network.cells)
    for row in by_cell:
        for name, ours in zip(row, network.slices, strict=True):
            if name not in header:
                known = _list_some(table.header, SHOWN_COLUMNS)
                table.refuse_header(
                    f"expected a column {name!r}, got {known} (columns: {{{ours}: NAME}} says "
                    "which one it is)"
                )
    return tuple(by_cell)


def _read_long(table: TextTable, names: _Names, clock: _Clock, duplicates: str) -> _Found:
    """Values of a table with a row per time, cell and slice, which may stand in any order."""
    network, column = names.network, names["value"]
    n_cells, n_slices = len(network.cells), len(network.slices)
    cells = [(name, i) for i in range(n_cells) for name in names.list_cell_names(i)]
    slices = [(names[name], i) for i, name in enumerate(network.slices)]
    rows = pd.DataFrame({"time": clock.place, "value": table.read_numbers(column)})
    rows["row"] = rows.index
    ignored: list[str] = []
    for role, known, leaves_out in (
        ("cell", cells, names.maps_cells),
        ("slice", slices, names.maps_slices),
    ):
        if role not in names.keys:
            # Rows without a cell or slice are about all of them.
            every = pd.DataFrame({role: range(n_cells if role == "cell" else n_slices)})
            rows = rows.merge(every, how="cross")
            continue
        texts, options = table.frame[names[role]], list(dict.fromkeys(name for name, _ in known))
        is_unknown = ~texts.isin(options)
        if not leaves_out:
            expected = f"one of {_list_some(options, SHOWN_NAMES)}"
            hint = " (columns: says which is which)"
            table.refuse_texts(names[role], is_unknown, expected, hint)
        ignored += [f"{role} {name}" for name in texts[is_unknown].unique()]
        rows["name"] = texts.to_numpy()[rows["row"]]
        rows = rows.merge(pd.DataFrame(known, columns=pd.Index(["name", role])), on="name")
        rows = rows.drop(columns="name")
    rows["first"] = rows.groupby(["time", "cell", "slice"])["row"].transform("min")
    repeated = rows[rows["row"] != rows["first"]].sort_values("row", kind="stable")
    if len(repeated) and duplicates == "refuse":
        row, earlier = (int(repeated[name].iloc[0]) for name in ("row", "first"))
        times = clock.times[repeated["time"]]
        is_one_hour = clock.is_time and np.ptp(times) < HOUR_S <= np.ptp(clock.times) / 12
        hint = (
            "one hour alone stands twice, as where clocks go back: timezone: Europe/Berlin, for "
            "example, says where"
            if is_one_hour
            else "duplicates: sum adds rows that are parts of one value"
        )
        table.refuse(
            row,
            f"time, cell and slice of line {table.row_numbers[earlier]} stand here again ({hint})",
        )
    values = np.full((len(clock.times), n_cells, n_slices), np.nan)
    rows = rows.dropna(subset="value").sort_values("row")
    at = tuple(rows[key].to_numpy() for key in ("time", "cell", "slice"))
    values[at] = 0.0
    np.add.at(values, at, rows["value"].to_numpy())
    for cell, index in np.argwhere(np.isnan(values).all(axis=0))[:1]:
        raise ConfigError(
            f"{table.where}: expected rows of {network.slices[index]} in "
            f"{network.cell_ids[cell]}, found none"
        )
    # Rows without a cell or slice count once.
    once = values[:, : None if "cell" in names.keys else 1, : None if "slice" in names.keys else 1]
    return _Found(
        values=values,
        source=((column,) * n_slices,) * n_cells,
        form=" and ".join(["a row per time", *names.keys]),
        ignored=tuple(ignored),
        missing_values=int(np.isnan(once).sum()),
        summed_values=repeated["row"].nunique(),
    )


def _list_some(names: Sequence[str], n_shown: int) -> str:
    return ", ".join(names[:n_shown]) + (" ..." if len(names) > n_shown else "")


def _convert(
    table: TextTable,
    clock: _Clock,
    found: _Found,
    unit: Unit,
    scale: float,
    network: TracedNetwork,
    row_s: float | None,
) -> Float[np.ndarray, "time cell slice"]:
    """Shares of active UEs. Raises: ConfigError with the line of a value outside [0, 1]."""
    values = found.values
    per_unit = _compute_share_per_unit(unit, values, network, row_s or network.step_s)
    shares = values * (scale * per_unit)
    outside: list[list[int]] = np.argwhere((shares < 0) | (shares > 1 + ROUNDING))[:1].tolist()
    for at, cell, index in outside:
        value, largest = float(values[at, cell, index]), float(np.nanmax(values))
        if value < 0 or unit == "share":
            what = f"expected a number in [0, 1], got '{value:g}'"
            if value > 0 and largest > 1:
                others = "percent, users" if largest <= 100 else "users"
                what += f"; unit: {others}, mbps or relative says what values above 1 mean"
        else:
            what = (
                f"expected at most all UEs of {network.slices[index]}, got {value:g} "
                f"({UNIT_WORDS[unit]}), {shares[at, cell, index]:.3g} times as many; "
            )
            what += "raise its users, or name another unit"
        table.refuse(int(clock.first_row[at]), what, found.source[cell][index])
    return np.minimum(shares, 1.0)


def _compute_share_per_unit(
    unit: Unit, values: Float[np.ndarray, "time cell slice"], network: TracedNetwork, row_s: float
) -> Float[np.ndarray, " slice"]:
    """The share of active UEs that one unit of a value means, for each slice."""
    users = np.array(network.users, float)
    match unit:
        case "share":
            return np.ones(len(users))
        case "percent":
            return np.full(len(users), 0.01)
        case "users":
            return 1 / users
        case "kbps" | "mbps" | "gbps":
            return KBPS[unit] / (users * np.array(network.rate_kbps))
        case "megabytes" | "gigabytes":
            return KBIT[unit] / row_s / (users * np.array(network.rate_kbps))
        case "relative":
            largest = float(np.nanmax(values, initial=0.0))
            return np.full(len(users), 1 / largest if largest > 0 else 1.0)


def _refuse_gaps(
    table: TextTable,
    names: _Names,
    clock: _Clock,
    found: _Found,
    numbers: Int[np.ndarray, " time"],
) -> None:
    """Raises: ConfigError with the first gap, in a row or between two."""
    offer = "gaps: hold, linear or zero fills them"
    jumps = np.flatnonzero(np.diff(numbers) > 1)
    blank: list[list[int]] = np.argwhere(np.isnan(found.values))[:1].tolist()
    for at, cell, index in blank:
        if len(jumps) and jumps[0] < at:
            break
        row, column = int(clock.first_row[at]), found.source[cell][index]
        name = f"{names.network.slices[index]} in {names.network.cell_ids[cell]}"
        if names.is_long:
            table.refuse(row, f"this time has no value of {name} ({offer})")
        got = table.frame[column].iloc[row]
        table.refuse(row, f"expected a number for {name}, got {got!r} ({offer})", column)
    if len(jumps):
        n_rows = int(numbers[-1]) + 1
        table.refuse(
            int(clock.first_row[jumps[0]]),
            f"{n_rows - len(numbers)} of {n_rows} rows are missing, the first one after this line "
            f"({offer})",
        )
