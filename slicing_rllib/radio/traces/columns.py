"""Finds the values of each slice and cell in a table, whatever form the table has."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio.traces.table import TextTable, parse_number
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
