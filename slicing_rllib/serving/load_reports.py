"""The last load that each cell has reported, from which neighbours' messages are formed.

Reports of load that all replicas of the service share.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

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


log = logging.getLogger(__name__)

TIMEOUT_S = 0.5
"""Without it, requests would wait until the deployment is replaced."""


class SharedReports:
    """Reports that all replicas share, in a deployment of their own.

    While that deployment is away, neighbours count as missing, so that base policies answer.
    """

    def __init__(self, handle: DeploymentHandle) -> None:
        """`handle` is that of a deployment with the methods of `LocalReports`."""
        self._handle = handle

    async def exchange(self, new: Reports, wanted: Iterable[str]) -> Reports:
        """Keep new reports; those of the wanted cells that are there."""
        try:
            plain = {cell: tuple(report) for cell, report in new.items()}
            response = self._handle.exchange_plain.remote(plain, list(wanted))
            found = await asyncio.wait_for(response, TIMEOUT_S)
        except (RayError, RayServeException, TimeoutError) as error:
            log.warning("reports of neighbours: not available (%s)", error)
            return {}
        return {cell: LoadReport(*report) for cell, report in found.items()}
