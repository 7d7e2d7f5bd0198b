"""From the texts of a time column to seconds since 1970 in UTC.

Puts the rows of a trace on regular times and fills its gaps.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from jaxtyping import Bool, Float

from slicing_rllib.inputs.tables import TextTable

TIME_NAMES = (
    "timestamp", "time", "datetime", "date_time", "date", "time_interval", "period_start",
    "start_time", "zeit", "zeitstempel", "datum",
)  # fmt: skip
"""Names, in lower case, by which a time column is recognised."""
EPOCH_UNITS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3), (1e8, 1.0))
"""Smallest count since 1970, and its unit in seconds: nano-, micro-, milliseconds, seconds."""
_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(.*)")
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(.*)")
_YEAR_FIRST = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})(.*)")

Seconds = Float[np.ndarray, " row"]
Parser = Callable[[str], datetime | float | None]


def parse_zone(name: str) -> tzinfo:
    """The time zone of that name, such as Europe/Berlin. Raises: ValueError for an unknown one."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"mask: timezone: expected a name such as Europe/Berlin or UTC, got {name!r}"
        ) from error


def read_times(
    table: TextTable,
    column: str,
    *,
    time_format: str | None,
    zone: tzinfo,
    group_by: Sequence[str] = (),
) -> Seconds:
    """Seconds since 1970 of each row.

    Times without an offset are in `zone`. Where clocks go back, a local time that does not come
    after the one before it, among rows that are equal in the columns `group_by`, is taken for the
    later of its two meanings. `time_format` is a format of `strptime`; None recognises ISO 8601,
    day.month.year, day/month/year where it is unambiguous, and counts since 1970.
    Raises: ValueError with the line of a text that is no time.
    """
    texts = table.read_column(column)
    parse = _choose_parser(table, column, texts, time_format)
    groups = list(zip(*map(table.read_column, group_by), strict=True)) or [()] * len(texts)
    last: dict[tuple[str, ...], float] = {}
    seconds = np.empty(len(texts))
    for row, text in enumerate(texts):
        value = parse(text)
        if value is None:
            expected = f"a time like {time_format}" if time_format else "a date and time"
            raise ValueError(
                f"{table.locate(row, column)}: expected {expected}, got {text!r}"
                + ("" if time_format else " (time_format says how to read it)")
            )
        if isinstance(value, datetime):
            value = _to_seconds(value, zone, last.get(groups[row]))
        seconds[row] = last[groups[row]] = value
    return seconds


def _choose_parser(
    table: TextTable, column: str, texts: Sequence[str], time_format: str | None
) -> Parser:
    if time_format is not None:
        return lambda text: _parse_with(time_format, text)
    if any(_SLASHED.fullmatch(text) for text in texts):
        day_first = _recognise_day_first(table, column, texts)
        return lambda text: _parse_parts(_SLASHED, (2, 1, 0) if day_first else (2, 0, 1), text)
    return _parse_any


def _recognise_day_first(table: TextTable, column: str, texts: Sequence[str]) -> bool:
    """Whether the first of two numbers is the day: one of them must be above 12 somewhere."""
    pairs = [(int(m[1]), int(m[2])) for m in map(_SLASHED.fullmatch, texts) if m]
    first, second = (max(pair[i] for pair in pairs) for i in (0, 1))
    if (first > 12) == (second > 12):
        raise ValueError(
            f"{table.locate(0, column)}: {texts[0]!r} may be day/month or month/day; "
            "time_format says which, such as %d/%m/%Y %H:%M"
        )
    return first > 12


def _parse_any(text: str) -> datetime | float | None:
    if re.fullmatch(r"\d{9,20}(\.\d+)?", text):
        count = float(text)
        return next((count * unit for least, unit in EPOCH_UNITS if count >= least), None)
    for pattern, order in ((_DOTTED, (2, 1, 0)), (_YEAR_FIRST, (0, 1, 2))):
        if pattern.fullmatch(text):
            return _parse_parts(pattern, order, text)
    if not re.match(r"\d{4}-?\d{2}", text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _parse_parts(
    pattern: re.Pattern[str], order: tuple[int, int, int], text: str
) -> datetime | None:
    """`order` says where year, month and day stand."""
    match = pattern.fullmatch(text)
    if match is None:
        return None
    year, month, day = (int(match[1 + place]) for place in order)
    clock = match[4].strip(" T,")
    try:
        return datetime.fromisoformat(f"{year:04}-{month:02}-{day:02}T{clock or '00:00'}")
    except ValueError:
        return None


def _parse_with(time_format: str, text: str) -> datetime | None:
    try:
        return datetime.strptime(text, time_format)
    except ValueError:
        return None


def _to_seconds(value: datetime, zone: tzinfo, last: float | None) -> float:
    if value.tzinfo is not None:
        return value.timestamp()
    first = value.replace(tzinfo=zone).timestamp()
    second = value.replace(tzinfo=zone, fold=1).timestamp()
    return second if last is not None and first <= last < second else first


def format_time(seconds: float, zone: tzinfo) -> str:
    """The local time, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M")


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
