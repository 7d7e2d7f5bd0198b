"""Trained policies over HTTP: KPIs of cells in, shares of the carrier out.

The resources of the interface and their description, and how the service is started: on Ray Serve,
or with `serve_directly` in this process, which has the shortest latency.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Request, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.exceptions import HTTPException
from starlette.responses import Response

from slicing_rllib.runs.ray_session import ray_session
from slicing_rllib.serving.admission import require_token_beyond_loopback, respond_with_problem
from slicing_rllib.serving.answers import (
    DecisionAnswer,
    PolicyDescription,
    make_description,
    make_example,
)
from slicing_rllib.serving.http_connections import GuardedProtocol, guard_proxy
from slicing_rllib.serving.policy_service import LocalReports, PolicyService
from slicing_rllib.serving.release import RELEASE_FIELDS, ServiceArguments
from slicing_rllib.serving.requests import EXAMPLE, DecisionRequest
from slicing_rllib.serving.served_release import load_first
from slicing_rllib.storage.errors import RunError

NAME = "slicing"
LOOPBACK = "127.0.0.1"
POLL_S = 0.01
SHUTDOWN_S = 10
"""How long open requests may take once the service is to end."""
REQUEST_TIMEOUT_S = 60.0
"""How long Ray Serve's proxy waits for a whole request and its answer."""
PROXY_CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
REF = "#/components/schemas/{model}"


class ProblemDescription(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str
    title: str
    status: int
    detail: str


_PROBLEM = {
    "content": {
        "application/problem+json": {"schema": {"$ref": REF.format(model="ProblemDescription")}}
    }
}


def describe_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a resource, by status."""
    meanings = {
        400: "The body is not JSON, or a key stands twice.",
        401: "The bearer token is missing or wrong.",
        404: "The request is strict, and a cell has no policy.",
        408: "The body did not arrive in time.",
        413: "The body is too large.",
        415: "The content type is not application/json.",
        421: "The host is not one by which a service without a token may be asked.",
        422: "The body does not fit the schema. In a strict request, also a report with a mistake.",
        429: "Too many requests, cells or bytes; Retry-After says when to ask again.",
        503: "No policies are loaded, or too many requests are open.",
    }
    return {status: {"description": meanings[status], **_PROBLEM} for status in statuses}


DECISION_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(model="DecisionRequest")},
                "examples": {"one_cell": {"value": EXAMPLE}},
            }
        },
    },
    "parameters": [
        {
            "name": "format",
            "in": "query",
            "description": "`o1` adds the shares in whole percent.",
            "schema": {"type": "string", "enum": ["shares", "o1"], "default": "shares"},
        }
    ],
}


class DescribedApi(FastAPI):
    """FastAPI whose description contains the body that we parse ourselves."""

    def openapi(self) -> dict[str, Any]:
        """The description of the interface."""
        if self.openapi_schema is None:
            schema = super().openapi()
            models = schema["components"]["schemas"]
            for model in (DecisionRequest, ProblemDescription):
                described = model.model_json_schema(ref_template=REF)
                models |= described.pop("$defs", {})
                models[model.__name__] = described
            self.openapi_schema = schema
        return self.openapi_schema


# FastAPI's documentation pages would load scripts from other hosts; /openapi.json has the same.
api = DescribedApi(
    title="slicing-rllib",
    version="1",
    description="Shares of a cell's carrier for its slices, from the KPIs of the last interval.",
    docs_url=None,
    redoc_url=None,
    # A redirect would lead to an absolute http address, also behind TLS.
    redirect_slashes=False,
)
# Refusals, unknown resources and wrong methods alike.
api.exception_handler(HTTPException)(respond_with_problem)
with_token = [Security(HTTPBearer(auto_error=False))]

# The last loads of all cells, for all replicas.
REPORTS = serve.deployment(
    name="NeighbourReports", ray_actor_options={"num_cpus": 0}, max_ongoing_requests=1000
)(LocalReports)


async def find_service() -> PolicyService:
    """The service of this replica; `serve_directly` puts its own in its place."""
    service: Any = serve.get_replica_context().servable_object
    return service


Service = Annotated[PolicyService, Depends(find_service)]


@api.get("/v1/health")
async def health(service: Service, request: Request) -> dict[str, Any]:
    """Which release the replica that answers serves, and with the token what is wrong with it."""
    return service.describe_health(request)


@api.get("/v1/ready", responses=describe_problems(503))
async def ready(service: Service) -> dict[str, str]:
    """Whether decisions can be asked for, and new releases are followed."""
    service.require_ready()
    return {"status": "ready"}


@api.get(
    "/v1/policies",
    dependencies=with_token,
    responses=describe_problems(401, 429),
)
async def policies(service: Service, request: Request) -> dict[str, PolicyDescription]:
    """By cell: name, version, SLA, KPIs that are needed, and neighbours."""
    service.admit(request)
    found = service.require_served().live.policies
    return {cell: make_description(policy) for cell, policy in found.items()}


@api.get("/v1/example", dependencies=with_token, responses=describe_problems(401, 429))
async def example(service: Service, request: Request) -> dict[str, Any]:
    """A body for POST /v1/decisions: every cell with the mean KPIs of its training."""
    service.admit(request)
    return make_example(service.require_served().live.policies)


@api.get("/v1/shadow", dependencies=with_token, responses=describe_problems(401, 429))
async def shadow(service: Service, request: Request) -> dict[str, dict[str, Any]]:
    """By cell: how far the candidate version is from the live one, in this replica."""
    service.admit(request)
    return service.comparison.summarise()


@api.get("/metrics", include_in_schema=False)
async def metrics(service: Service, request: Request) -> Response:
    """Metrics of `serve --direct`, for Prometheus."""
    return service.show_metrics(request)


@api.post(
    "/v1/decisions",
    dependencies=with_token,
    openapi_extra=DECISION_BODY,
    response_model=DecisionAnswer,
    responses=describe_problems(400, 401, 404, 408, 413, 415, 421, 422, 429, 503),
)
async def decisions(service: Service, request: Request) -> Response:
    """Shares of the carrier for each slice of each cell, from the KPIs of the last interval."""
    return await service.answer(request)


# Ray Serve copies the app at this point, so all resources are defined above.
DEPLOYMENT = serve.deployment(
    name="PolicyService",
    ray_actor_options={"num_cpus": 1},
    # Only requests for decisions are limited, by the service: others must always be answered.
    max_ongoing_requests=1024,
    max_queued_requests=1024,
)(serve.ingress(api)(PolicyService))


def make_application(arguments: ServiceArguments, *, shares_reports: bool) -> serve.Application:
    """The application; `shares_reports` says whether there may be several replicas."""
    scale: dict[str, Any] = {"num_replicas": arguments.min_replicas}
    if arguments.max_replicas > arguments.min_replicas:
        limits = arguments.model_dump(include={"min_replicas", "max_replicas"})
        scale = {"autoscaling_config": limits | {"target_ongoing_requests": 4}}
    release = arguments.model_dump(mode="json", include={*RELEASE_FIELDS})
    # Not in the arguments of the class, whose change would replace the processes.
    fixed = arguments.model_dump(mode="json", exclude={*RELEASE_FIELDS})
    service = DEPLOYMENT.options(user_config=release, **scale)
    return service.bind(fixed, REPORTS.bind() if shares_reports else None)


def application(args: ServiceArguments) -> serve.Application:
    """The application of `import_path: slicing_rllib.serving.application:application`.

    Its name is a noun because manifests of clusters refer to it. A version that cannot be loaded
    fails here, before Ray Serve changes a replica, so that the previous version goes on.
    """
    load_first(args)
    return make_application(args, shares_reports=True)


@contextmanager
def serve_policies(
    arguments: ServiceArguments, host: str, port: int
) -> Iterator[Callable[[], None]]:
    """Serves policies for the block, on Ray.

    Raises: RunError if the port is taken, or Ray cannot be started.
    """
    check_port_is_free(host, port)
    # Ray Serve would otherwise log each of its steps to the terminal.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    # Read by the proxy, which a local node starts.
    os.environ.setdefault(PROXY_CALLBACK, f"{guard_proxy.__module__}:{guard_proxy.__name__}")
    with ray_session(arguments.max_replicas + 1):
        options = HTTPOptions(host=host, port=port, request_timeout_s=REQUEST_TIMEOUT_S)
        serve.start(http_options=options)
        try:
            serve.run(
                make_application(arguments, shares_reports=arguments.max_replicas > 1),
                name=NAME,
                logging_config=LoggingConfig(log_level="WARNING"),
            )
            yield lambda: None
        finally:
            serve.shutdown()


@contextmanager
def serve_for_command(arguments: ServiceArguments) -> Iterator[str]:
    """Starts Ray and the service on a free port for the block; the URL of the service.

    Raises: RunError, LibraryError or PolicyError for policies that cannot be served.
    """
    arguments = require_token_beyond_loopback(arguments, LOOPBACK)
    load_first(arguments)
    with socket.create_server((LOOPBACK, 0)) as free:
        port = free.getsockname()[1]
    with serve_policies(arguments, LOOPBACK, port):
        yield f"http://{LOOPBACK}:{port}"


def check_port_is_free(host: str, port: int) -> None:
    """Raises: RunError if the port is taken: Ray Serve itself would retry without a message."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RunError(f"port {port} on {host}: cannot listen ({error.strerror})") from error


@contextmanager
def serve_directly(
    arguments: ServiceArguments, host: str, port: int
) -> Iterator[Callable[[], None]]:
    """Answers requests in a thread of this process for the block: the only replica. Needs no Ray.

    Yields a function that raises RunError once the thread no longer runs.
    Raises: RunError if the port is taken or the server does not start.
    """
    check_port_is_free(host, port)
    service = PolicyService(arguments.model_dump(mode="json"))
    asyncio.run(service.reconfigure({}))
    api.dependency_overrides[find_service] = lambda: service
    config = uvicorn.Config(
        api,
        host=host,
        port=port,
        http=GuardedProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, name="http", daemon=True)

    def check() -> None:
        if not thread.is_alive():
            raise RunError(f"port {port} on {host}: the server has ended")

    thread.start()
    try:
        while not server.started:
            check()
            time.sleep(POLL_S)
        yield check
    finally:
        server.should_exit = True
        thread.join()
        service.holder.stop()
        del api.dependency_overrides[find_service]
