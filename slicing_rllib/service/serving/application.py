"""Trained policies over HTTP on Ray Serve: KPIs of cells in, shares of the carrier out."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from ray import serve
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from slicing_rllib.service.serving.decisions.answer import (
    DecisionAnswer,
    PolicyDescription,
    describe_policy,
)
from slicing_rllib.service.serving.decisions.reports import LoadReport, LocalReports
from slicing_rllib.service.serving.http.example import make_example
from slicing_rllib.service.serving.http.interface import (
    DECISION_BODY,
    DescribedApi,
    describe_problems,
)
from slicing_rllib.service.serving.http.problems import Problem, make_problem
from slicing_rllib.service.serving.policy_holder import load_first
from slicing_rllib.service.serving.policy_service import PolicyService
from slicing_rllib.service.serving.settings import RELEASE_FIELDS, ServiceArguments

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


async def find_service() -> PolicyService:
    """The service of this replica; `direct_server` puts its own in place of this function."""
    service: Any = serve.get_replica_context().servable_object
    return service


Service = Annotated[PolicyService, Depends(find_service)]


@api.get("/v1/health")
async def health(service: Service) -> dict[str, Any]:
    """Which release the replica that answers serves, and what is wrong with it."""
    return service.describe_health()


@api.get("/v1/ready", responses=describe_problems(503))
async def ready(service: Service) -> dict[str, str]:
    """Whether decisions can be asked for."""
    service.require_served()
    return {"status": "ready"}


@api.get(
    "/v1/policies",
    dependencies=with_token,
    response_model=dict[str, PolicyDescription],
    responses=describe_problems(401, 429),
)
async def policies(service: Service, request: Request) -> Response:
    """By cell: name, version, SLA, KPIs that are needed, and neighbours."""
    service.admit(request)
    found = service.require_served().live.policies
    return JSONResponse({cell: describe_policy(policy) for cell, policy in found.items()})


@api.get("/v1/example", dependencies=with_token, responses=describe_problems(401, 429))
async def example(service: Service, request: Request) -> dict[str, Any]:
    """A body for POST /v1/decisions: every cell with the mean KPIs of its training."""
    service.admit(request)
    return make_example(service.require_served())


@api.get("/v1/shadow", dependencies=with_token, responses=describe_problems(401, 429))
async def shadow(service: Service, request: Request) -> dict[str, dict[str, Any]]:
    """By cell: how far the candidate version is from the live one, in this replica."""
    service.admit(request)
    return service.summarise_shadow()


@api.post(
    "/v1/decisions",
    dependencies=with_token,
    openapi_extra=DECISION_BODY,
    response_model=DecisionAnswer,
    responses=describe_problems(400, 401, 404, 413, 415, 422, 429, 503),
)
async def decisions(service: Service, request: Request) -> Response:
    """Shares of the carrier for each slice of each cell, from the KPIs of the last interval."""
    return await service.answer(request)


# Ray Serve copies the app at this point, so all resources are defined above.
DEPLOYMENT = serve.deployment(
    name="PolicyService",
    ray_actor_options={"num_cpus": 1},
    max_ongoing_requests=16,
    max_queued_requests=256,
)(serve.ingress(api)(PolicyService))


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
    service = DEPLOYMENT.options(user_config=release, **scale)
    return service.bind(fixed, NeighbourReports.bind() if shares_reports else None)


def application(args: ServiceArguments) -> serve.Application:
    """The application of `import_path: slicing_rllib.service.serving.application:application`.

    Its name is a noun because manifests of clusters refer to it. A version that cannot be loaded
    fails here, before Ray Serve changes a replica, so that the previous version goes on.
    """
    load_first(args)
    return make_application(args, shares_reports=True)
