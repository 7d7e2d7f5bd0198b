"""The last load that each cell has reported, from which neighbours' messages are formed."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

MAX_CELLS = 100_000


class LoadReport(NamedTuple):
    """The load of one cell in its last interval."""

    measured_at: float
    """End of the interval, as a POSIX time."""
    load: Mapping[str, float] | None
    """By slice; None for a cell that is off the air."""


Reports = Mapping[str, LoadReport]


@runtime_checkable
class ReportStore(Protocol):
    """Keeps the newest report of each cell."""

    async def exchange(self, new: Reports, wanted: Iterable[str]) -> Reports:
        """Keep new reports; those of the wanted cells that are there."""
        ...


class LocalReports:
    """Reports in this process."""

    def __init__(self) -> None:
        self._reports: dict[str, LoadReport] = {}

    async def exchange(self, new: Reports, wanted: Iterable[str]) -> Reports:
        """Keep new reports; those of the wanted cells that are there."""
        for cell, report in new.items():
            kept = self._reports.get(cell)
            is_newer = kept is None or report.measured_at >= kept.measured_at
            if is_newer and (kept is not None or len(self._reports) < MAX_CELLS):
                self._reports[cell] = report
        return {cell: self._reports[cell] for cell in wanted if cell in self._reports}
