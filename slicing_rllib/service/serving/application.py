"""Trained policies over HTTP on Ray Serve: KPIs of cells in, shares of the carrier out."""

import asyncio
import json
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import Request, Security
from fastapi.security import HTTPBearer
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from slicing_rllib.service.errors import RunError
from slicing_rllib.service.serving.decisions.answer import (
    DecisionAnswer,
    PolicyDescription,
    describe_policy,
    make_answer,
)
from slicing_rllib.service.serving.decisions.decision import (
    Decision,
    RequestError,
    decide,
    list_missing_neighbours,
    list_new_reports,
)
from slicing_rllib.service.serving.decisions.reports import LoadReport, LocalReports, Reports
from slicing_rllib.service.serving.decisions.request import DecisionRequest
from slicing_rllib.service.serving.decisions.shared_reports import SharedReports
from slicing_rllib.service.serving.http.admission import Admission
from slicing_rllib.service.serving.http.example import make_example
from slicing_rllib.service.serving.http.interface import (
    DECISION_BODY,
    DescribedApi,
    describe_problems,
)
from slicing_rllib.service.serving.http.problems import Problem, make_problem
from slicing_rllib.service.serving.http.request_metrics import RequestMetrics
from slicing_rllib.service.serving.http.request_parsing import parse_request
from slicing_rllib.service.serving.policy_holder import PolicyHolder, load_first
from slicing_rllib.service.serving.settings import (
    RELEASE_FIELDS,
    ServiceArguments,
    parse_release,
    read_token,
)
from slicing_rllib.service.serving.versions.comparison import ShadowComparison
from slicing_rllib.service.serving.versions.served_policies import ServedPolicies

FORMATS = ("shares", "o1")

# FastAPI's documentation pages would load scripts from other hosts; /openapi.json has the same.
api = DescribedApi(
    title="slicing-rllib",
    version="1",
    description="Shares of a cell's carrier for its slices, from the KPIs of the last interval.",
    docs_url=None,
    redoc_url=None,
)
with_token = [Security(HTTPBearer(auto_error=False))]


@api.exception_handler(HTTPException)
def report_http_error(request: Request, error: HTTPException) -> Response:
    """Unknown resources and methods."""
    return make_problem(error.status_code, str(error.detail), error.headers)


@api.exception_handler(Problem)
def report_problem(request: Request, error: Problem) -> Response:
    """Requests that we refuse."""
    return error.respond()


@serve.deployment(ray_actor_options={"num_cpus": 0}, max_ongoing_requests=1000)
class NeighbourReports(LocalReports):
    """The last loads of all cells, for all replicas."""

    async def exchange_plain(
        self, new: Mapping[str, tuple[Any, ...]], wanted: list[str]
    ) -> dict[str, tuple[Any, ...]]:
        """As `exchange`, with tuples."""
        reports = {cell: LoadReport(*report) for cell, report in new.items()}
        found = await self.exchange(reports, wanted)
        return {cell: tuple(report) for cell, report in found.items()}


# Ray Serve copies the class and the app at this point, so all that they use is defined above.
@serve.deployment(
    ray_actor_options={"num_cpus": 1}, max_ongoing_requests=16, max_queued_requests=256
)
@serve.ingress(api)
class PolicyService:
    """The HTTP resources.

    Args:
        arguments: settings, as `ServiceArguments` describes them.
        reports: the deployment that replicas share reports by; None keeps them in the replica.
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

    @api.get("/v1/health")
    async def health(self) -> dict[str, Any]:
        """Which release the replica that answers serves, and what is wrong with it."""
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

    @api.get("/v1/ready", responses=describe_problems(503))
    async def ready(self) -> dict[str, str]:
        """Whether decisions can be asked for."""
        self._require_served()
        return {"status": "ready"}

    @api.get(
        "/v1/policies",
        dependencies=with_token,
        response_model=dict[str, PolicyDescription],
        responses=describe_problems(401, 429),
    )
    async def policies(self, request: Request) -> Response:
        """By cell: name, version, SLA, KPIs that are needed, and neighbours."""
        self._admit(request)
        policies = self._require_served().live.policies
        return JSONResponse({cell: describe_policy(policy) for cell, policy in policies.items()})

    @api.get("/v1/example", dependencies=with_token, responses=describe_problems(401, 429))
    async def example(self, request: Request) -> dict[str, Any]:
        """A body for POST /v1/decisions: every cell with the mean KPIs of its training."""
        self._admit(request)
        return make_example(self._require_served())

    @api.get("/v1/shadow", dependencies=with_token, responses=describe_problems(401, 429))
    async def shadow(self, request: Request) -> dict[str, dict[str, Any]]:
        """By cell: how far the candidate version is from the live one, in this replica."""
        self._admit(request)
        return self._comparison.summarise()

    @api.post(
        "/v1/decisions",
        dependencies=with_token,
        openapi_extra=DECISION_BODY,
        response_model=DecisionAnswer,
        responses=describe_problems(400, 401, 404, 413, 415, 422, 429, 503),
    )
    async def decisions(self, request: Request) -> Response:
        """Shares of the carrier for each slice of each cell, from the KPIs of the last interval."""
        started = time.perf_counter()
        try:
            return await self._decide(request, started)
        except Problem as problem:
            self._metrics.count_refusal(problem.status)
            raise

    async def _decide(self, request: Request, started: float) -> Response:
        self._admit(request)
        form = request.query_params.get("format", FORMATS[0])
        if form not in FORMATS:
            raise Problem(422, f"format: expected one of {', '.join(FORMATS)}")
        asked = parse_request(await self._admission.read_body(request))
        served, now = self._require_served(), datetime.now(UTC)
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

    def _admit(self, request: Request) -> None:
        self._admission.require_token(request)
        self._admission.require_rate()

    def _require_served(self) -> ServedPolicies:
        if self._holder.served is None:
            raise Problem(503, "no policies are loaded")
        return self._holder.served


def make_application(arguments: ServiceArguments, *, shares_reports: bool) -> serve.Application:
    """The application with these arguments.

    Args:
        arguments: settings.
        shares_reports: whether there may be several replicas.
    """
    plain = arguments.model_dump(mode="json")
    release = {name: plain[name] for name in RELEASE_FIELDS}
    # Not in the arguments of the class, whose change would replace the processes.
    fixed = plain | ServiceArguments(run="").model_dump(mode="json", include={*RELEASE_FIELDS})
    scale: dict[str, Any] = {"num_replicas": arguments.min_replicas}
    if arguments.max_replicas > arguments.min_replicas:
        limits = {name: plain[name] for name in ("min_replicas", "max_replicas")}
        scale = {"autoscaling_config": limits | {"target_ongoing_requests": 4}}
    service = PolicyService.options(user_config=release, **scale)
    return service.bind(fixed, NeighbourReports.bind() if shares_reports else None)


def application(args: ServiceArguments) -> serve.Application:
    """The application of `import_path: slicing_rllib.service.serving.application:application`.

    Its name is a noun because manifests of clusters refer to it. A version that cannot be loaded
    fails here, before Ray Serve changes a replica, so that the previous version goes on.
    """
    load_first(args)
    return make_application(args, shares_reports=True)
