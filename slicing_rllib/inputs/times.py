"""From the texts of a time column to seconds since 1970 in UTC, and to rows at regular times."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from slicing_rllib.inputs.text_tables import TextTable

TIME_NAMES = (
    "timestamp", "time", "datetime", "date_time", "date", "time_interval", "period_start",
    "start_time", "zeit", "zeitstempel", "datum",
)  # fmt: skip
"""Names, in lower case, by which a time column is recognised."""
EPOCH_UNITS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3), (1e8, 1.0))
"""Smallest count since 1970, and its unit in seconds: nano-, micro-, milliseconds, seconds."""
DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(.*)")
SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(.*)")
YEAR_FIRST = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})(.*)")
TOLERANCE = 0.01
"""How far a row may be from its regular time, as a share of the time between rows."""
MAX_ROWS = 2_000_000
"""Rows of a trace, missing ones included."""

Rows = Float[np.ndarray, "row cell slice"]
Seconds = Float[np.ndarray, " row"]
Parser = Callable[[str], datetime | float | None]


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
    codes, texts = pd.factorize(table.frame[column])
    parse = _choose_parser(table, column, list(texts), time_format)
    meanings = np.empty((len(texts), 2))
    for index, text in enumerate(texts):
        value = parse(text)
        if value is None:
            row = int(np.flatnonzero(codes == index)[0])
            expected = f"a time like {time_format}" if time_format else "a date and time"
            hint = "" if time_format else " (time_format says how to read it)"
            raise ValueError(
                f"{table.locate(row, column)}: expected {expected}, got {text!r}{hint}"
            )
        if isinstance(value, datetime):
            local = value if value.tzinfo else value.replace(tzinfo=zone)
            meanings[index] = local.timestamp(), local.replace(fold=1).timestamp()
        else:
            meanings[index] = value
    first, second = meanings[codes].T
    if not (second > first).any():
        return first
    seconds = first.copy()
    groups = table.frame.groupby(list(group_by), sort=False).indices if group_by else {}
    for rows in groups.values() or [np.arange(len(codes))]:
        last = -np.inf
        for row in rows:
            if first[row] <= last < second[row]:
                seconds[row] = second[row]
            last = seconds[row]
    return seconds


def _choose_parser(
    table: TextTable, column: str, texts: Sequence[str], time_format: str | None
) -> Parser:
    if time_format is not None:
        return lambda text: _try(lambda: datetime.strptime(text, time_format))
    slashed = [match for match in map(SLASHED.fullmatch, texts) if match]
    if not slashed:
        return _parse_any
    # One of the first two numbers must be above 12 somewhere: it is the day.
    is_day = [max(int(match[i]) for match in slashed) > 12 for i in (1, 2)]
    if is_day[0] == is_day[1]:
        raise ValueError(
            f"{table.locate(0, column)}: {texts[0]!r} may be day/month or month/day; "
            "time_format says which, such as %d/%m/%Y %H:%M"
        )
    return lambda text: _parse_parts(SLASHED, (3, 2, 1) if is_day[0] else (3, 1, 2), text)


def _parse_any(text: str) -> datetime | float | None:
    if re.fullmatch(r"\d{9,20}(\.\d+)?", text):
        count = float(text)
        return next((count * unit for least, unit in EPOCH_UNITS if count >= least), None)
    for pattern, order in ((DOTTED, (3, 2, 1)), (YEAR_FIRST, (1, 2, 3))):
        if pattern.fullmatch(text):
            return _parse_parts(pattern, order, text)
    if not re.match(r"\d{4}-?\d{2}", text):
        return None
    return _try(lambda: datetime.fromisoformat(text))


def _parse_parts(
    pattern: re.Pattern[str], order: tuple[int, int, int], text: str
) -> datetime | None:
    """`order` says which groups of the pattern are year, month and day."""
    match = pattern.fullmatch(text)
    if match is None:
        return None
    year, month, day = (int(match[group]) for group in order)
    clock = match[4].strip(" T,") or "00:00"
    return _try(lambda: datetime.fromisoformat(f"{year:04}-{month:02}-{day:02}T{clock}"))


def _try(parse: Callable[[], datetime]) -> datetime | None:
    try:
        return parse()
    except ValueError:
        return None


def format_time(seconds: float, zone: tzinfo) -> str:
    """The local time, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M")


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
    locate: Callable[[int], str],
    describe: Callable[[float], str],
    *,
    spacing: float | None = None,
) -> Regular:
    """Rows on regular times, NaN where one is missing; `times` in any unit.

    `locate` is what messages call a row of the file, `describe` what they call a time. `spacing` is
    the time between two rows, by default the usual one. Raises: ValueError with the line where time
    stands still, goes back, or is not a multiple of the usual distance from the first row.
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
    frame = pd.DataFrame(rows.reshape(len(rows), -1))
    match how:
        case "zero":
            frame = frame.fillna(0.0)
        case "linear":
            frame = frame.interpolate("linear", limit_direction="both")
        case _:
            frame = frame.ffill().bfill()
    return np.ascontiguousarray(frame.to_numpy()).reshape(rows.shape)
