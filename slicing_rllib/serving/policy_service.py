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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import Request
from jaxtyping import Float
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.util import metrics
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import Response

from slicing_rllib.policies import CellPolicy
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
from slicing_rllib.serving.requests import KPI_NAMES, DecisionRequest, parse_request
from slicing_rllib.serving.served_release import PolicyHolder, ServedPolicies
from slicing_rllib.storage import append_line
from slicing_rllib.storage.errors import RunError

log = logging.getLogger(__name__)

FORMATS = ("shares", "o1")
MAX_REPORTED_CELLS = 100_000
REPORTS_TIMEOUT_S = 0.5
"""Without it, requests would wait until the deployment of the reports is replaced."""
LATENCY_BOUNDS_MS = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
MEMORY = 0.05
"""Weight of the newest interval in the mean that drift is computed from."""
LEAST_STD = 1e-3
"""Standard deviations below this share of the mean count as this."""


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
        self._admission = Admission(
            token, self._arguments.max_requests_per_s, self._arguments.max_body_bytes
        )
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
        """Raises: RuntimeError if the replica cannot answer."""
        if self.holder.served is None:
            raise RuntimeError("no policies are loaded")

    def describe_health(self) -> dict[str, Any]:
        """Which release this process serves, and what is wrong with it."""
        served, holder = self.holder.served, self.holder
        is_well = served is not None and not holder.problem and not holder.changed_files
        return {
            "status": "ok" if is_well else "degraded",
            "replica": self._name,
            "min_replicas": self._arguments.min_replicas,
            "source": self._arguments.run,
            "version": served and served.release.version,
            "revision": served and served.revision,
            "cells": len(served.live.policies) if served else 0,
            "problem": holder.problem,
            "changed_files": holder.changed_files,
        }

    def admit(self, request: Request) -> None:
        """Raises: HTTPException for a request without the token, or for one too many."""
        self._admission.require_token(request)
        self._admission.require_rate()

    def require_served(self) -> ServedPolicies:
        """What is served. Raises: HTTPException as long as nothing is."""
        if self.holder.served is None:
            raise HTTPException(503, "no policies are loaded")
        return self.holder.served

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
        asked = parse_request(await self._admission.read_body(request))
        served, now = self.require_served(), datetime.now(UTC)
        require_known_slices(asked, served.live)
        reports: Reports = {}
        if served.live.reads_reports:
            new = list_new_reports(asked, served.live, now)
            wanted = list_wanted_reports(asked, served.live)
            reports = join_reports(new, await self._exchange(new, wanted))
        made = decide(asked, served.live, reports, now, self._arguments.max_age_s)
        answer = make_answer(made, asked.a1_policies if form == "o1" else None)
        seconds = time.perf_counter() - started
        after = BackgroundTask(self._after, asked, served, reports, now, made, seconds)
        return Response(answer, media_type="application/json", background=after)

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


class RequestMetrics:
    """Counts what the service does. Ray adds the prefix `ray_` to the names."""

    def __init__(self) -> None:
        self._latency = metrics.Histogram(
            "slicing_serving_latency_ms",
            "Time in the replica from the arrival of a request to its answer, in ms.",
            LATENCY_BOUNDS_MS,
            ("cell",),
        )
        self._fallbacks = metrics.Counter(
            "slicing_serving_fallbacks",
            "Decisions that a policy did not make, by reason.",
            ("cell", "reason"),
        )
        self._drift = metrics.Gauge(
            "slicing_serving_input_drift",
            "Largest distance of a KPI's running mean from its mean in training, in standard "
            "deviations of training.",
            ("cell",),
        )
        self._refused = metrics.Counter(
            "slicing_serving_refused_requests", "Requests with an error, by status.", ("status",)
        )
        self._monitor = DriftMonitor()

    def count(self, decisions: Mapping[str, Decision], latency_ms: float) -> None:
        """Counts the decisions of one request."""
        for cell, decision in decisions.items():
            # Names of unknown cells come from callers and must not become labels.
            policy = decision.served_policy
            label = "" if policy is None else cell
            if decision.fallback is not None:
                reason = str(decision.fallback.reason)
                self._fallbacks.inc(1.0, {"cell": label, "reason": reason})
            if policy is None:
                continue
            self._latency.observe(latency_ms, {"cell": cell})
            drift = self._monitor.update(policy, decision.table)
            if drift is not None:
                self._drift.set(drift, {"cell": cell})

    def count_refusal(self, status: int) -> None:
        """Counts a request that got an error."""
        self._refused.inc(1.0, {"status": str(status)})


class DriftMonitor:
    """How far the running means of KPIs are from their means in training."""

    def __init__(self) -> None:
        self._trainings: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        """By digest: mean of each slice's KPIs, and standard deviation with a lower limit."""
        self._means: dict[str, np.ndarray] = {}

    def update(self, policy: CellPolicy, table: Float[np.ndarray, "slice kpi"]) -> float | None:
        """Largest distance of a running mean from training, in standard deviations.

        None for a policy without recorded KPIs, and where KPIs or slices are missing.
        """
        names = [name for name in policy.encoder.required_kpis if name in policy.recorded]
        if not names:
            return None
        digest = policy.digest
        if digest not in self._trainings:
            ranges = [policy.recorded[name] for name in names]
            mean, std = (
                np.array([[getattr(kpi, part) for kpi in kpis] for kpis in ranges]).T
                for part in ("mean", "std")
            )
            scale = np.maximum(std, LEAST_STD * np.maximum(np.abs(mean), 1.0))
            self._trainings[digest] = mean, scale
        mean, scale = self._trainings[digest]
        values = table[:, [KPI_NAMES.index(name) for name in names]]
        if values.shape != mean.shape or not np.isfinite(values).all():
            return None
        before = self._means.get(digest, values)
        now = self._means[digest] = before + MEMORY * (values - before)
        return float((np.abs(now - mean) / scale).max())


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
