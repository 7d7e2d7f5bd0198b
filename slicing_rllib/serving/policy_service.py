"""Answers requests with the policies of one source, in a replica of Ray Serve or in any process.

The release that a service serves, and a thread that follows new releases.

Metrics of the service per cell: latency, fallbacks, and drift of the KPIs.
"""

import asyncio
import json
import logging
import secrets
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from fastapi import Request
from jaxtyping import Float
from ray.serve.handle import DeploymentHandle
from ray.util import metrics
from starlette.background import BackgroundTask
from starlette.responses import Response

from slicing_rllib.policies import CellPolicy, PolicyError
from slicing_rllib.serving.answers import make_answer
from slicing_rllib.serving.decisions import (
    Decision,
    RequestError,
    ShadowComparison,
    decide,
    list_missing_neighbours,
    list_new_reports,
)
from slicing_rllib.serving.http import Admission
from slicing_rllib.serving.load_reports import LocalReports, Reports, SharedReports
from slicing_rllib.serving.policy_source import ServedPolicies, load_release, open_source
from slicing_rllib.serving.requests import KPI_NAMES, DecisionRequest, Problem, parse_request
from slicing_rllib.serving.service_settings import ServiceArguments, parse_release, read_token
from slicing_rllib.storage.errors import RunError
from slicing_rllib.transfer import LibraryError

log = logging.getLogger(__name__)

LOADING_ERRORS = (RunError, LibraryError, PolicyError)


def load_first(arguments: ServiceArguments) -> ServedPolicies:
    """What a service with these arguments starts with.

    Raises: RunError, LibraryError or PolicyError if it cannot start.
    """
    source = open_source(arguments.run, arguments.name)
    history = source.read_release() if arguments.follows_release else None
    if history is None:
        return load_release(source, arguments.release, None)
    return load_release(source, history.release, history.revision)


class PolicyHolder:
    """The release that is served. Changes replace it as a whole.

    Args:
        arguments: where policies come from and how often to look for changes.
    """

    def __init__(self, arguments: ServiceArguments) -> None:
        self.arguments = arguments
        self.served: ServedPolicies | None = None
        self.problem: str | None = None
        """Why a newer release is not served; None if the newest one is."""
        self.changed_files: list[str] = []
        """Files that have been overwritten or removed since they were loaded."""
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def load(self, arguments: ServiceArguments) -> None:
        """Serves what these arguments choose. If that fails, what was served before stays.

        Raises: RunError, LibraryError or PolicyError if nothing was served before.
        """
        with self._lock:
            self.arguments = arguments
            try:
                self._replace(load_first(arguments))
            except LOADING_ERRORS as error:
                if self.served is None:
                    raise
                self._report(str(error))

    def watch(self) -> None:
        """Looks for new releases and changed files until `stop`, in a thread."""
        threading.Thread(target=self._watch, name="releases", daemon=True).start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()

    def look(self) -> None:
        """One look for a new release and for changed files."""
        with self._lock:
            if self.served is None:
                return
            try:
                self._follow(self.served)
            except LOADING_ERRORS as error:
                self._report(str(error))

    def _follow(self, served: ServedPolicies) -> None:
        # The same source as before: opening a run or an export again would parse all its files.
        source = served.source
        history = source.read_release() if self.arguments.follows_release else None
        if history is not None and history.revision != served.revision:
            self._replace(load_release(source, history.release, history.revision))
            return
        now = set(source.read_states(served.chosen))
        changed = sorted(state.path for state in served.states if state not in now)
        if changed and changed != self.changed_files:
            log.warning("served files have changed since they were loaded: %s", ", ".join(changed))
        self.changed_files = changed
        self.problem = None

    def _replace(self, served: ServedPolicies) -> None:
        self.served, self.problem, self.changed_files = served, None, []

    def _report(self, problem: str) -> None:
        if problem != self.problem:
            log.error("the release before goes on: %s", problem)
        self.problem = problem

    def _watch(self) -> None:
        while not self._stopped.wait(self.arguments.poll_s):
            self.look()


LATENCY_BOUNDS_MS = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
MEMORY = 0.05
"""Weight of the newest interval in the mean that drift is computed from."""
LEAST_STD = 1e-3
"""Standard deviations below this share of the mean count as this."""


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
        self.drift = DriftMonitor()

    def count(self, decisions: Mapping[str, Decision], latency_ms: float) -> None:
        """Counts the decisions of one request."""
        for cell, decision in decisions.items():
            if decision.policy is None:
                # Names of unknown cells come from callers and must not become labels.
                self._fallbacks.inc(1.0, {"cell": "", "reason": str(decision.reason)})
                continue
            self._latency.observe(latency_ms, {"cell": cell})
            if decision.reason is not None:
                self._fallbacks.inc(1.0, {"cell": cell, "reason": str(decision.reason)})
            drift = self.drift.update(decision.policy, decision.table)
            if drift is not None:
                self._drift.set(drift, {"cell": cell})

    def count_refusal(self, status: int) -> None:
        """Counts a request that got an error."""
        self._refused.inc(1.0, {"status": str(status)})


class DriftMonitor:
    """How far the running means of KPIs are from their means in training."""

    def __init__(self) -> None:
        self._trainings: dict[str, _Training | None] = {}
        self._means: dict[str, np.ndarray] = {}

    def update(self, policy: CellPolicy, table: Float[np.ndarray, "slice kpi"]) -> float | None:
        """Largest distance of a running mean from training, in standard deviations.

        None for a policy without recorded KPIs.
        """
        digest = policy.digest
        if digest not in self._trainings:
            self._trainings[digest] = _describe_training(policy)
        training = self._trainings[digest]
        if training is None:
            return None
        values = table[:, training.columns]
        before = self._means.get(digest, values)
        mean = self._means[digest] = before + MEMORY * (values - before)
        return float((np.abs(mean - training.mean) / training.scale).max())


class _Training(NamedTuple):
    """The KPIs that a policy has met in training."""

    columns: list[int]
    """Columns of these KPIs in a table."""
    mean: Float[np.ndarray, "slice read"]
    scale: Float[np.ndarray, "slice read"]
    """Standard deviations, with a lower limit."""


def _describe_training(policy: CellPolicy) -> _Training | None:
    names = [name for name in policy.encoder.required_kpis if name in policy.recorded]
    if not names:
        return None
    ranges = [policy.recorded[name] for name in names]
    mean = np.array([[kpi.mean for kpi in column] for column in ranges]).T
    std = np.array([[kpi.std for kpi in column] for column in ranges]).T
    scale = np.maximum(std, LEAST_STD * np.maximum(np.abs(mean), 1.0))
    return _Training([KPI_NAMES.index(name) for name in names], mean, scale)


FORMATS = ("shares", "o1")


class PolicyService:
    """What the HTTP resources answer from.

    Args:
        arguments: settings, as `ServiceArguments` describes them.
        reports: the deployment that replicas share reports by; None keeps them in this process.
    """

    def __init__(self, arguments: dict[str, Any], reports: DeploymentHandle | None = None) -> None:
        self._name = secrets.token_hex(4)
        self._arguments = ServiceArguments(**arguments)
        token = read_token(self._arguments)
        if token is None and not self._arguments.without_token:
            raise RunError("serve: expected a token, or without_token: true")
        self._admission = Admission(
            token, self._arguments.max_requests_per_s, self._arguments.max_body_bytes
        )
        self._holder = PolicyHolder(self._arguments)
        self._reports = LocalReports() if reports is None else SharedReports(reports)
        self._metrics = RequestMetrics()
        self._comparison = ShadowComparison(self._arguments.shadow_log)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Serves another release without a new process; Ray Serve also calls it at the start."""
        is_first = self._holder.served is None
        changed = self._arguments.model_copy(update=parse_release(user_config))
        await asyncio.to_thread(self._holder.load, changed)
        if is_first:
            self._holder.watch()

    def check_health(self) -> None:
        """Raises: RuntimeError if the replica cannot answer."""
        if self._holder.served is None:
            raise RuntimeError("no policies are loaded")

    def describe_health(self) -> dict[str, Any]:
        """Which release this process serves, and what is wrong with it."""
        served, holder = self._holder.served, self._holder
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

    def summarise_shadow(self) -> dict[str, dict[str, Any]]:
        """By cell: how far the candidate version is from the live one, in this process."""
        return self._comparison.summarise()

    def stop(self) -> None:
        """Ends the thread that looks for new releases."""
        self._holder.stop()

    async def answer(self, request: Request) -> Response:
        """Shares for the cells of a request. Raises: Problem for one that is refused."""
        started = time.perf_counter()
        try:
            return await self._decide(request, started)
        except Problem as problem:
            self._metrics.count_refusal(problem.status)
            raise

    async def _decide(self, request: Request, started: float) -> Response:
        self.admit(request)
        form = request.query_params.get("format", FORMATS[0])
        if form not in FORMATS:
            raise Problem(422, f"format: expected one of {', '.join(FORMATS)}")
        asked = parse_request(await self._admission.read_body(request))
        served, now = self.require_served(), datetime.now(UTC)
        reports = await self._exchange_reports(asked, served, now)
        max_age_s = self._arguments.max_age_s
        try:
            made = decide(asked, served.live, reports, now, max_age_s)
        except RequestError as error:
            raise Problem(error.status, str(error)) from error
        answer = make_answer(made, asked.a1_policies if form == "o1" else None)
        after = BackgroundTask(
            self._after, asked, served, reports, now, made, time.perf_counter() - started
        )
        content = json.dumps(answer).encode()
        return Response(content, media_type="application/json", background=after)

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
            known = {cell: r for cell, r in asked.cells.items() if cell in served.shadow.policies}
            request = asked.model_copy(update={"cells": known})
            try:
                candidate = decide(request, served.shadow, reports, now, self._arguments.max_age_s)
            except RequestError:
                return  # The candidate needs KPIs that the live version does not.
            self._comparison.add(made, candidate)

    async def _exchange_reports(
        self, asked: DecisionRequest, served: ServedPolicies, now: datetime
    ) -> Reports:
        if not served.live.reads_messages:
            return {}
        new = list_new_reports(asked, served.live, now)
        missing = list_missing_neighbours(asked, served.live)
        known = await self._reports.exchange(new, missing)
        return {**known, **new}

    def admit(self, request: Request) -> None:
        """Raises: Problem for a request without the token, or for one too many."""
        self._admission.require_token(request)
        self._admission.require_rate()

    def require_served(self) -> ServedPolicies:
        """What is served. Raises: Problem as long as nothing is."""
        if self._holder.served is None:
            raise Problem(503, "no policies are loaded")
        return self._holder.served
