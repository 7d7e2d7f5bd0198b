"""Answers requests with the policies of one source, in a replica of Ray Serve or in any process."""

import asyncio
import json
import secrets
import time
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from ray.serve.handle import DeploymentHandle
from starlette.background import BackgroundTask
from starlette.responses import Response

from slicing_rllib.service.errors import RunError
from slicing_rllib.service.serving.decisions.answer import make_answer
from slicing_rllib.service.serving.decisions.decision import (
    Decision,
    RequestError,
    decide,
    list_missing_neighbours,
    list_new_reports,
)
from slicing_rllib.service.serving.decisions.reports import LocalReports, Reports
from slicing_rllib.service.serving.decisions.request import DecisionRequest
from slicing_rllib.service.serving.decisions.shared_reports import SharedReports
from slicing_rllib.service.serving.http.admission import Admission
from slicing_rllib.service.serving.http.problems import Problem
from slicing_rllib.service.serving.http.request_metrics import RequestMetrics
from slicing_rllib.service.serving.http.request_parsing import parse_request
from slicing_rllib.service.serving.policy_holder import PolicyHolder
from slicing_rllib.service.serving.settings import ServiceArguments, parse_release, read_token
from slicing_rllib.service.serving.versions.comparison import ShadowComparison
from slicing_rllib.service.serving.versions.served_policies import ServedPolicies

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
