"""The network that a traffic file is read for, and what was understood of the file."""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from jaxtyping import Float

Unit = Literal["share", "percent", "users", "mbps", "relative"]


class TracedNetwork(NamedTuple):
    """The network whose traffic a mask or a file describes."""

    cells: tuple[str, ...]
    """Names of the cells."""
    cell_ids: tuple[str, ...]
    """The operator's names of the same cells."""
    slices: tuple[str, ...]
    """Names of the slices."""
    users: tuple[int, ...]
    """Number of UEs of each slice in a cell."""
    rate_kbps: tuple[float, ...]
    """Traffic of an active UE of each slice."""
    step_s: float
    """Length of a step."""


def parse_zone(name: str) -> tzinfo:
    """The time zone of that name, such as Europe/Berlin. Raises: ValueError for an unknown one."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"mask: timezone: expected a name such as Europe/Berlin or UTC, got {name!r}"
        ) from error


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

    def read_local_time(self, row: float) -> datetime | None:
        """The local time at a row, counted from 0; None for a file without times."""
        if self.start_s is None or self.row_s is None:
            return None
        return datetime.fromtimestamp(self.start_s + row * self.row_s, UTC).astimezone(self.zone)

    def find_hour(self, row: float) -> int | None:
        """Local hour of the day at a row, counted from 0; None for a file without times.

        The trace repeats, so that rows beyond its end have the hours of its beginning.
        """
        time = self.read_local_time(row % len(self.shares))
        return None if time is None else time.hour

    def describe_time(self, row: int) -> str:
        """The local time of a row, to the minute; its number, from 1, in a file without times."""
        time = self.read_local_time(row)
        return f"row {row + 1}" if time is None else f"{time:%Y-%m-%d %H:%M}"
