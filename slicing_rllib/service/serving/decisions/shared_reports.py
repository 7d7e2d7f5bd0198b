"""Reports of load that all replicas of the service share."""

import asyncio
import logging
from collections.abc import Iterable

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from slicing_rllib.service.serving.decisions.reports import LoadReport, Reports

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
