"""From the texts of a time column to seconds since 1970 in UTC, and to rows at regular times."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from slicing_rllib.inputs.text_tables import TextTable

TIME_NAMES = (
    "timestamp", "time", "datetime", "date_time", "date", "time_interval", "period_start",
    "start_time", "zeit", "zeitstempel", "datum",
)  # fmt: skip
"""Names, in lower case, by which a time column is recognised."""
EPOCH_UNITS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3), (1e8, 1.0))
"""Smallest count since 1970, and its unit in seconds: nano-, micro-, milliseconds, seconds."""
YEAR_FIRST = r"(?P<year>\d{4})/(?P<month>\d{1,2})/(?P<day>\d{1,2})(?P<clock>.*)"
DAY_FIRST = r"(?P<day>\d{1,2})(?P<sign>[./])(?P<month>\d{1,2})(?P=sign)(?P<year>\d{4})(?P<clock>.*)"
MONTH_FIRST = r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})(?P<clock>.*)"
COMPACT = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""By number of digits, dates and times without signs."""
INTERVAL = r"(?P<date>.*[ T])(?P<start>\d{1,2}:\d{2})\s*[-\u2013]\s*(?P<end>\d{1,2}:\d{2})"
TWO_DATES = r"(?P<start>\d{4}-\d\d-\d\d[ T].*?)\s*( - |\u2013|/| to )\s*\d{4}-\d\d-\d\d[ T].*"
"""Times from and to; the row stands for the earlier one."""
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LARGEST_OFFSET_H = 14
TOLERANCE = 0.01
"""How far a row may be from its regular time, as a share of the time between rows."""
MAX_ROWS = 2_000_000
"""Rows of a trace, missing ones included."""

Rows = Float[np.ndarray, "row cell slice"]
Seconds = Float[np.ndarray, " row"]


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
    Raises: ConfigError with the line of a text that is no time.
    """
    codes, originals = pd.factorize(table.frame[column])
    texts = list(originals) if time_format else _take_starts(list(originals))
    patterns = () if time_format else _choose_patterns(table, column, texts)
    meanings = np.empty((len(texts), 2))
    for index, text in enumerate(texts):
        value = _parse(text, time_format, patterns)
        if value is None:
            expected = f"a time like {time_format}" if time_format else "a date and time"
            hint = "" if time_format else " (time_format says how to read it)"
            table.refuse_texts(column, codes == index, expected, hint)
        elif isinstance(value, datetime):
            local = value if value.tzinfo else value.replace(tzinfo=zone)
            meanings[index] = local.timestamp(), local.replace(fold=1).timestamp()
        else:
            meanings[index] = value
        _check_time(table, column, codes == index, value, float(meanings[index, 0]))
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


def _check_time(
    table: TextTable, column: str, rows: np.ndarray, value: datetime | float | None, seconds: float
) -> None:
    """Raises: ConfigError for years in which nobody measured, and offsets that no place has."""
    if isinstance(value, datetime) and (offset := value.utcoffset()) is not None:
        minutes = offset.total_seconds() / 60
        if minutes % 15 or abs(minutes) > 60 * LARGEST_OFFSET_H:
            table.refuse_texts(column, rows, "an offset from UTC in quarter hours, up to 14 h")
    next_year = datetime.now(UTC).year + 1
    latest = datetime(next_year + 1, 1, 1, tzinfo=UTC)
    if not EARLIEST.timestamp() - 86_400 <= seconds < latest.timestamp() + 86_400:
        expected = f"a time from {EARLIEST.year} to {next_year}"
        table.refuse_texts(column, rows, expected, " (time_format says how to read it)")


def _take_starts(texts: list[str]) -> list[str]:
    """The beginnings of intervals, `10:00-10:15`; other texts as they are.

    A clock followed by a negative offset looks the same. It is an interval where all rows have
    one and the same positive length, and starts differ.
    """
    matches = [re.fullmatch(TWO_DATES, text) for text in texts]
    if matches and all(matches):
        return [match["start"] for match in matches if match]
    matches = [re.fullmatch(INTERVAL, text) for text in texts]
    found = [match for match in matches if match]
    lengths = {_count_minutes(m["end"], 24 * 60) - _count_minutes(m["start"]) for m in found}
    lengths = {length % (24 * 60) for length in lengths}
    ends = {match["end"] for match in found}
    if len(found) < len(texts) or len(lengths) != 1 or (len(ends) == 1 and len(texts) > 1):
        return texts
    if len(texts) == 1 and not found[0]["end"].endswith((":15", ":45")):
        return texts
    return [match["date"] + match["start"] for match in found]


def _count_minutes(clock: str, at_midnight: int = 0) -> int:
    hours, minutes = map(int, clock.split(":"))
    return 60 * hours + minutes or at_midnight


def _choose_patterns(table: TextTable, column: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Forms of dates that are written in numbers. Raises: ConfigError for ambiguous ones."""
    slashed = [match for match in (re.fullmatch(MONTH_FIRST, text) for text in texts) if match]
    if not slashed:
        return YEAR_FIRST, DAY_FIRST
    # One of the first two numbers must be above 12 somewhere: it is the day.
    first, second = (max(int(match[i]) for match in slashed) > 12 for i in (1, 2))
    if first == second:
        table.refuse(
            0,
            f"{texts[0]!r} may be day/month or month/day; time_format says which, such as "
            "%d/%m/%Y %H:%M",
            column,
        )
    return YEAR_FIRST, DAY_FIRST if first else MONTH_FIRST


def _parse(text: str, time_format: str | None, patterns: Sequence[str]) -> datetime | float | None:
    """A date and time, or seconds since 1970; None for other texts."""
    try:
        if time_format is not None:
            return datetime.strptime(text, time_format)
        if text.isdecimal() and len(text) in COMPACT and text.startswith("20"):
            return datetime.strptime(text, COMPACT[len(text)])
        if re.fullmatch(r"\d{9,20}(\.\d+)?", text):
            count = float(text)
            return next((count * unit for least, unit in EPOCH_UNITS if count >= least), None)
        matches = [match for pattern in patterns if (match := re.fullmatch(pattern, text))]
        for match in matches[:1]:
            clock = match["clock"].strip(" T,") or "00:00"
            text = f"{match['year']}-{match['month']:0>2}-{match['day']:0>2}T{clock}"
        return datetime.fromisoformat(text) if re.match(r"\d{4}-?\d{2}", text) else None
    except ValueError:
        return None


def format_time(seconds: float, zone: tzinfo) -> str:
    """The local time, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M")


def number_rows(
    times: Seconds, refuse: Callable[[int, str], object], *, spacing: float | None = None
) -> tuple[Int[np.ndarray, " row"], float]:
    """The number of each row among regular rows, from 0, and the time between two of them.

    `times` are in any unit. `refuse` raises an error about a row. `spacing` is the time between two
    rows, by default the usual one; a time must be a multiple of it after the first row.
    """
    if len(times) == 1:
        return np.zeros(1, np.int64), 0.0
    distance = np.diff(times)
    for index in np.flatnonzero(distance <= 0).tolist():
        refuse(index + 1, "stands twice" if distance[index] == 0 else "goes back in time")
    if spacing is None:
        lengths, counts = np.unique(distance, return_counts=True)
        spacing = float(lengths[counts.argmax()])
    place = (times - times[0]) / spacing
    numbers = np.rint(place).astype(np.int64)
    is_astray = (np.abs(place - numbers) > TOLERANCE) | (np.diff(numbers, prepend=-1) < 1)
    for index in np.flatnonzero(is_astray).tolist():
        refuse(
            index,
            f"is not a multiple of {spacing:g} after the first row, the usual distance of rows",
        )
    if numbers[-1] >= MAX_ROWS:
        refuse(len(times) - 1, f"is too late; expected at most {MAX_ROWS} rows in all")
    return numbers, spacing


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
