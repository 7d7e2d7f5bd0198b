"""From the texts of a time column to seconds since 1970 in UTC."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio.traces.table import TextTable

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
