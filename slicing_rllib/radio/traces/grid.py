"""Puts the rows of a trace on regular times and fills its gaps."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

TOLERANCE = 0.01
"""How far a row may be from its regular time, as a share of the time between rows."""
MAX_ROWS = 2_000_000
"""Rows of a trace, missing ones included."""

Rows = Float[np.ndarray, "row cell slice"]
Locate = Callable[[int], str]
"""What messages call a row of the file: file and line."""


class Regular(NamedTuple):
    """Rows at equal distances in time."""

    rows: Rows
    """NaN where the file has no value."""
    spacing: float
    """Time between two rows."""
    is_present: Bool[np.ndarray, " row"]
    """Whether the file has the row."""

    @property
    def n_missing(self) -> int:
        """Rows that the file has not."""
        return int((~self.is_present).sum())


def make_regular(
    rows: Rows,
    times: Float[np.ndarray, " row"],
    locate: Locate,
    describe: Callable[[float], str],
    *,
    spacing: float | None = None,
) -> Regular:
    """Rows on regular times, NaN where one is missing; `times` in any unit.

    `describe` writes a time for messages. `spacing` is the time between two rows, by default the
    usual one. Raises: ValueError with the line where time stands still,
    goes back, or is not a multiple of the usual distance from the first row.
    """
    if len(times) == 1:
        return Regular(rows, 0.0, np.ones(1, bool))
    distance = np.diff(times)
    for index in np.flatnonzero(distance <= 0).tolist():
        what = "stands twice" if distance[index] == 0 else "goes back in time"
        raise ValueError(f"{locate(index + 1)}: {describe(times[index + 1])} {what}")
    if spacing is None:
        lengths, counts = np.unique(distance, return_counts=True)
        spacing = float(lengths[counts.argmax()])
    place = (times - times[0]) / spacing
    number = np.rint(place).astype(np.int64)
    astray = np.flatnonzero(
        (np.abs(place - number) > TOLERANCE) | (np.diff(number, prepend=-1) < 1)
    )
    if len(astray):
        index = int(astray[0])
        raise ValueError(
            f"{locate(index)}: {describe(times[index])} is not a multiple of {spacing:g} after "
            "the first row, the usual distance of rows"
        )
    if number[-1] >= MAX_ROWS:
        raise ValueError(f"{locate(len(times) - 1)}: expected at most {MAX_ROWS} rows in all")
    regular = np.full((int(number[-1]) + 1, *rows.shape[1:]), np.nan)
    regular[number] = rows
    return Regular(regular, spacing, np.isin(np.arange(len(regular)), number))


def fill_gaps(rows: Rows, how: str) -> Rows:
    """Rows without NaN. `hold` repeats the last value before a gap, `linear` joins the values
    around it, `zero` assumes no traffic. At the ends, the nearest value is repeated.
    """
    if how == "zero":
        return np.nan_to_num(rows, nan=0.0)
    filled = rows.copy()
    every = np.arange(len(rows))
    for column in filled.reshape(len(rows), -1).T:
        known = np.flatnonzero(~np.isnan(column))
        if len(known) == len(column) or len(known) == 0:
            continue
        if how == "linear":
            column[:] = np.interp(every, known, column[known])
        else:
            last = np.searchsorted(known, every, side="right") - 1
            column[:] = column[known[np.maximum(last, 0)]]
    return filled


def find_first_gap(rows: Rows) -> tuple[int, int, int] | None:
    """Row, cell and slice of the first value that is missing."""
    places = np.argwhere(np.isnan(rows))
    return (int(places[0][0]), int(places[0][1]), int(places[0][2])) if len(places) else None
