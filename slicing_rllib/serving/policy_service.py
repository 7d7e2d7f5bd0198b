"""Answers requests with the policies of one source, in a replica of Ray Serve or in any process.

`PolicyService.answer` turns an HTTP request into decisions. Around it: the loads that cells have
reported, which neighbours' messages are formed from; metrics per cell; and the comparison with a
shadow version.
"""

import asyncio
import json
import logging
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import Request
from ray.exceptions import RayError, TaskCancelledError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from slicing_rllib.serving.admission import Admission, read_token
from slicing_rllib.serving.answers import Decision, make_answer
from slicing_rllib.serving.decisions import (
    LoadReport,
    Reports,
    decide,
    join_reports,
    list_new_reports,
    list_wanted_reports,
    require_known_slices,
)
from slicing_rllib.serving.release import ServiceArguments
from slicing_rllib.serving.request_metrics import PROMETHEUS, RequestMetrics
from slicing_rllib.serving.requests import DecisionRequest, parse_request
from slicing_rllib.serving.served_release import PolicyHolder, ServedPolicies
from slicing_rllib.storage import append_line
from slicing_rllib.storage.errors import RunError

log = logging.getLogger(__name__)

FORMATS = ("shares", "o1")
WORKERS = 2
"""Threads that read requests and decide: a large request leaves one for the others."""
MAX_REPORTED_CELLS = 100_000
REPORTS_TIMEOUT_S = 0.5
"""Without it, requests would wait until the deployment of the reports is replaced."""


class PolicyService:
    """What the HTTP resources answer from.

    Args:
        arguments: settings, as `ServiceArguments` describes them.
        reports: the deployment that replicas share reports by; None keeps them in this process.
    """

    def __init__(self, arguments: dict[str, Any], reports: DeploymentHandle | None = None) -> None:
        self._name = secrets.token_hex(4)
        self._arguments = ServiceArguments(**arguments)
        token = read_token(self._arguments.token_file)
        if token is None and not self._arguments.without_token:
            raise RunError("serve: expected a token, or without_token: true")
        self._admission = Admission(token, self._arguments)
        # Not the loop's own threads, so that a queue of large requests delays nothing else.
        self._executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="decisions")
        self.holder = PolicyHolder()
        self._reports = LocalReports() if reports is None else reports
        self._metrics = RequestMetrics()
        self.comparison = ShadowComparison(self._arguments.shadow_log)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Serves another release without a new process; Ray Serve also calls it at the start.

        `user_config` are new values of the arguments in `RELEASE_FIELDS`.
        """
        is_first = self.holder.served is None
        changed = ServiceArguments(**self._arguments.model_dump() | user_config)
        await asyncio.to_thread(self.holder.load, changed)
        if is_first:
            self.holder.watch(self._arguments.poll_s)

    def check_health(self) -> None:
        """Called by Ray Serve. Raises: RuntimeError if the replica cannot do its work."""
        if self.holder.served is None or not self.holder.watch(self._arguments.poll_s):
            raise RuntimeError("no policies are loaded, or releases are not followed")

    def describe_health(self, request: Request) -> dict[str, Any]:
        """Which release this process serves; for callers with the token, also what is wrong with it
        and where it lies."""
        self._admission.require_host(request)
        served, holder = self.holder.served, self.holder
        is_watched = served is not None and holder.watch(self._arguments.poll_s)
        is_well = is_watched and not holder.problem and not holder.changed_files
        public = {
            "status": "ok" if is_well else "degraded",
            "replica": self._name,
            "min_replicas": self._arguments.min_replicas,
            "version": served and served.release.version,
            "revision": served and served.revision,
            "failed_revision": holder.failed_revision,
            "cells": len(served.live.policies) if served else 0,
        }
        if not self._admission.is_known(request):
            return public
        return public | {
            "source": self._arguments.run,
            "problem": holder.problem,
            "changed_files": holder.changed_files,
        }

    def show_metrics(self, request: Request) -> Response:
        """Metrics in the format of Prometheus. Raises: HTTPException 404 where Ray exports them."""
        self.admit(request)
        if (text := self._metrics.export()) is None:
            raise HTTPException(404, "metrics are at Ray's metrics port")
        return Response(text, media_type=PROMETHEUS)

    def admit(self, request: Request) -> None:
        """Raises: HTTPException for a request without the token, or for one too many."""
        self._admission.admit(request)

    def require_served(self) -> ServedPolicies:
        """What is served. Raises: HTTPException as long as nothing is."""
        if self.holder.served is None:
            raise HTTPException(503, "no policies are loaded")
        return self.holder.served

    def require_ready(self) -> None:
        """Raises: HTTPException if nothing is served, or nobody follows releases any more."""
        self.require_served()
        if not self.holder.watch(self._arguments.poll_s):
            raise HTTPException(503, "releases are not followed")

    async def answer(self, request: Request) -> Response:
        """Shares for the cells of a request. Raises: HTTPException for one that is refused."""
        started = time.perf_counter()
        try:
            return await self._decide(request, started)
        except HTTPException as error:
            self._metrics.count_refusal(error.status_code)
            raise

    async def _decide(self, request: Request, started: float) -> Response:
        self.admit(request)
        form = request.query_params.get("format", FORMATS[0])
        if form not in FORMATS:
            raise HTTPException(422, f"format: expected one of {', '.join(FORMATS)}")
        try:
            async with self._admission.receive(request) as body:
                return await self._compute(body, form, started)
        except (ClientDisconnect, TaskCancelledError) as error:  # Without and with Ray Serve.
            log.warning("a caller has hung up before the end of its request")
            raise HTTPException(400, "expected the whole body") from error

    async def _compute(self, body: bytes, form: str, started: float) -> Response:
        """Reads and decides in other threads: a large request takes seconds."""
        run = partial(asyncio.get_running_loop().run_in_executor, self._executor)
        asked = await run(parse_request, body)
        self._admission.take_cells(len(asked.cells))
        served, now = self.require_served(), datetime.now(UTC)
        reports: Reports = {}
        if served.live.reads_reports:
            new, wanted = await run(_list_reports, asked, served, now)
            reports = join_reports(new, await self._exchange(new, wanted))
        made, answer = await run(self._make_answer, asked, served, reports, now, form)
        seconds = time.perf_counter() - started
        after = BackgroundTask(self._after, asked, served, reports, now, made, seconds)
        return Response(answer, media_type="application/json", background=after)

    def _make_answer(
        self,
        asked: DecisionRequest,
        served: ServedPolicies,
        reports: Reports,
        now: datetime,
        form: str,
    ) -> tuple[dict[str, Decision], bytes]:
        require_known_slices(asked, served.live)
        made = decide(asked, served.live, reports, now, self._arguments.max_age_s)
        return made, make_answer(made, asked.a1_policies if form == "o1" else None)

    async def _exchange(self, new: Reports, wanted: Iterable[str]) -> Reports:
        """Tells new reports, and gets those of the wanted cells that are there.

        While the deployment that shares them is away, neighbours count as missing, so that
        fallbacks answer.
        """
        if isinstance(self._reports, LocalReports):
            return await self._reports.exchange(new, wanted)
        try:
            response = self._reports.exchange.remote(new, wanted)
            return await asyncio.wait_for(response, REPORTS_TIMEOUT_S)
        except (RayError, RayServeException, TimeoutError) as error:
            log.warning("reports of neighbours: not available (%s)", error)
            return {}

    def _after(
        self,
        asked: DecisionRequest,
        served: ServedPolicies,
        reports: Reports,
        now: datetime,
        made: dict[str, Decision],
        seconds: float,
    ) -> None:
        """Metrics and comparison, once the caller has the answer."""
        self._metrics.count(made, 1e3 * seconds)
        if served.shadow is not None:
            # The objectives have been checked; the candidate's slices may be others.
            request = asked.model_copy(update={"strict": False})
            candidate = decide(request, served.shadow, reports, now, self._arguments.max_age_s)
            self.comparison.add(made, candidate)


def _list_reports(
    asked: DecisionRequest, served: ServedPolicies, now: datetime
) -> tuple[Reports, set[str]]:
    return list_new_reports(asked, served.live, now), list_wanted_reports(asked, served.live)


class LocalReports:
    """The newest report of each cell and what it remembers, in this process."""

    def __init__(self) -> None:
        self._reports: dict[str, LoadReport] = {}

    async def exchange(self, new: Reports, wanted: Iterable[str]) -> Reports:
        """Keeps new reports; those of the wanted cells that are there."""
        for cell, report in new.items():
            kept = self._reports.get(cell)
            is_newer = kept is None or report.measured_at >= kept.measured_at
            if is_newer and (kept is not None or len(self._reports) < MAX_REPORTED_CELLS):
                self._reports[cell] = report.follow(kept)
        return {cell: self._reports[cell] for cell in wanted if cell in self._reports}


class ShadowComparison:
    """Counts and logs differences between the shares of two versions.

    Args:
        log_file: file to which a line per cell and request is appended; None writes none.
    """

    def __init__(self, log_file: str | None) -> None:
        self._log_file = None if log_file is None else Path(log_file)
        self._rows: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def add(self, live: Mapping[str, Decision], candidate: Mapping[str, Decision]) -> None:
        """Compares the decisions of one request."""
        lines = []
        with self._lock:
            for cell, ours in live.items():
                theirs = candidate.get(cell)
                if ours.policy is None or theirs is None or theirs.policy is None:
                    continue
                labels = {"live": ours.policy, "candidate": theirs.policy}
                row = self._rows.get(cell, {})
                if not labels.items() <= row.items():
                    counts = {"decisions": 0, "candidate_fallbacks": 0}
                    means = {"mean_difference": 0.0, "largest_difference": 0.0}
                    row = self._rows[cell] = {**labels, **counts, **means}
                row["decisions"] += 1
                row["candidate_fallbacks"] += theirs.fallback is not None
                # Of the slices of either: their policies may be for others.
                difference = max(
                    abs(theirs.shares.get(name, 0.0) - ours.shares.get(name, 0.0))
                    for name in {**ours.shares, **theirs.shares}
                )
                row["mean_difference"] += (difference - row["mean_difference"]) / row["decisions"]
                row["largest_difference"] = max(row["largest_difference"], difference)
                line = {"time": time.time(), "cell": cell, **labels}
                for version, made in (("live", ours), ("candidate", theirs)):
                    line[f"{version}_shares"] = made.shares
                    line[f"{version}_fallback"] = made.fallback and made.fallback.reason
                lines.append(json.dumps(line))
        if self._log_file is not None and lines:
            append_line(self._log_file, "\n".join(lines))

    def summarise(self) -> dict[str, dict[str, Any]]:
        """By cell: both versions, decisions, those that the candidate's policy could not make, and
        mean and largest difference."""
        with self._lock:
            return {cell: dict(row) for cell, row in self._rows.items()}
