"""The network that a traffic file is read for, and what was understood of the file."""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

Unit = Literal[
    "share", "percent", "users", "kbps", "mbps", "gbps", "megabytes", "gigabytes", "relative"
]


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


@dataclass(frozen=True, kw_only=True)
class TraceForm:
    """How a traffic file says its values."""

    form: str
    """What the file looks like, in words."""
    source: tuple[tuple[str, ...], ...]
    """By cell and slice: the column of its values."""
    ignored: tuple[str, ...]
    """Columns, cells and slices of the file that are left out."""
    missing_values: int
    """Values that are blank or have no row, at times that the file has."""
    summed_values: int = 0
    """Values that were added to another one of the same time, cell and slice."""


@dataclass(frozen=True, kw_only=True)
class Trace(TraceForm):
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
    missing_rows: int
    """Rows that the file has not, and that were filled."""

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
