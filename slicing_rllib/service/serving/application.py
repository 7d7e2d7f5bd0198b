"""Trained policies over HTTP on Ray Serve: a request has observations, the answer PRB ratios."""

import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig

from slicing_rllib.env import ObservationLayout
from slicing_rllib.policies.trained_policy import TrainedPolicy
from slicing_rllib.service.errors import RunError
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.transfer import PolicyLibrary

NAME = "slicing"
UNPROCESSABLE = 422
MAX_NAME_IN_MESSAGE = 80

# FastAPI's documentation pages would load scripts from other hosts; /openapi.json has the same.
api = FastAPI(title="slicing-rllib", docs_url=None, redoc_url=None)


class ServiceArguments(BaseModel):
    """Arguments of the application, from the command line or from `serveConfigV2` of KubeRay."""

    model_config = ConfigDict(extra="forbid")

    run: str
    """A run directory, or a policy library: a folder or a URI."""
    version: int | None = Field(default=None, ge=1)
    """Version of every bundle of the library. None: the newest version of each. A run has none."""


class Observations(BaseModel):
    """Body of a request."""

    model_config = ConfigDict(extra="forbid")

    obs: dict[str, list[FiniteFloat]] = Field(min_length=1)
    """Observation by cell, in the layout that `/v1/cells` describes."""


class PrbRatios(BaseModel):
    """Body of an answer."""

    prb_ratio: dict[str, list[float]]
    """By cell: the share of the carrier's PRBs for each slice. A cell's shares sum to 1."""


class CellPolicy(NamedTuple):
    """The actor of one cell and the layout of its observations."""

    actor: TrainedPolicy
    layout: ObservationLayout

    def compute_prb_ratio(self, obs: list[float]) -> list[float]:
        """The share of the carrier's PRBs for each slice."""
        return self.actor.compute_actions(np.array([obs], np.float32))[0].tolist()

    def describe_layout(self) -> dict[str, int | tuple[int, int]]:
        """Number of slices and of values, and for each quantity its first and last + 1 index."""
        parts = {
            "throughput": self.layout.throughput,
            "load": self.layout.load,
            "users": self.layout.users,
            "message": self.layout.message,
        }
        spans = {name: (part.start, part.stop) for name, part in parts.items()}
        return {"slices": self.layout.n_slices, "obs": self.layout.size, **spans}


def load_policies(location: str, version: int | None = None) -> dict[str, CellPolicy]:
    """The policies of a run by cell, or one version of each bundle of a library by name.

    Args:
        location: a run directory or a policy library.
        version: version of every bundle of the library; None means the newest of each.

    Raises: RunError or LibraryError if there are no policies at the location, or if a bundle does
    not have the version.
    """
    weights = _load_weights(location, version)
    return {name: _make_cell_policy(name, weights[name]) for name in weights}


def _load_weights(location: str, version: int | None) -> Mapping[str, Mapping[str, np.ndarray]]:
    if (Path(location) / "config.yaml").is_file():
        if version is not None:
            raise RunError(f"{location}: a run has no version {version}, expected a policy library")
        return RunDirectory.open(Path(location)).policies()
    library = PolicyLibrary(location)
    names = library.list_versions()
    if not names:
        raise RunError(f"{location}: expected a run directory or a policy library")
    return {name: library.load(name, version).weights for name in names}


def _make_cell_policy(name: str, weights: Mapping[str, np.ndarray]) -> CellPolicy:
    layers = sorted(
        int(key.split(".")[1])
        for key in weights
        if key.startswith("actor.") and key.endswith(".weight")
    )
    obs_size = weights[f"actor.{layers[0]}.weight"].shape[1]
    n_slices = weights[f"actor.{layers[-1]}.weight"].shape[0]
    layout = ObservationLayout(n_slices, obs_size - 3 * n_slices)
    return CellPolicy(TrainedPolicy([name], {name: weights}), layout)


@api.exception_handler(RequestValidationError)
def report_invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
    """Answers with one line about the first problem of a request."""
    first = error.errors()[0]
    location = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return JSONResponse({"detail": f"{location}: {first['msg']}"}, UNPROCESSABLE)


# Ray Serve copies the class and the app at this point, so all that they use is defined above.
@serve.deployment(ray_actor_options={"num_cpus": 1})
@serve.ingress(api)
class PolicyService:
    """The HTTP resources. All policies are loaded once, when the replica starts.

    Args:
        location: a run directory or a policy library.
        version: version of the library's bundles; None means the newest of each.
    """

    def __init__(self, location: str, version: int | None = None) -> None:
        self._location, self._version = location, version
        self._policies = load_policies(location, version)

    @api.get("/v1/health")
    def health(self) -> dict[str, str | int | None]:
        """The source of the policies, the version that was asked for, and their number."""
        return {
            "status": "ok",
            "source": self._location,
            "version": self._version,
            "cells": len(self._policies),
        }

    @api.get("/v1/cells")
    def cells(self) -> dict[str, dict[str, int | tuple[int, int]]]:
        """By cell: the layout of its observation."""
        return {name: policy.describe_layout() for name, policy in self._policies.items()}

    @api.post("/v1/prb-ratio")
    def prb_ratio(self, request: Observations) -> PrbRatios:
        """By cell: the share of the carrier's PRBs for each slice."""
        for cell, obs in request.obs.items():
            if problem := self._find_problem(cell, len(obs)):
                raise HTTPException(UNPROCESSABLE, problem)
        return PrbRatios(
            prb_ratio={
                cell: self._policies[cell].compute_prb_ratio(obs)
                for cell, obs in request.obs.items()
            }
        )

    def _find_problem(self, cell: str, n_values: int) -> str:
        """Why an observation cannot be used, or an empty string."""
        if cell not in self._policies:
            name = cell[:MAX_NAME_IN_MESSAGE]
            return f"obs: no policy for {name!r}, expected one of the cells of /v1/cells"
        expected = self._policies[cell].layout.size
        if n_values != expected:
            return f"obs.{cell}: expected {expected} numbers, got {n_values}"
        return ""


def application(args: ServiceArguments) -> serve.Application:
    """The application of `import_path: slicing_rllib.service.serving.application:application`.

    Its name is a noun because manifests of clusters refer to it. A version that cannot be loaded
    fails here, before Ray Serve stops a replica, so that the previous version goes on.
    """
    load_policies(args.run, args.version)
    return PolicyService.bind(args.run, args.version)


@contextmanager
def serve_policies(location: str, host: str, port: int) -> Iterator[None]:
    """Serves policies for the block, on the Ray that this process is connected to.

    Args:
        location: a run directory or a policy library.
        host: address to listen on.
        port: port to listen on.

    Raises: RunError if the port is taken.
    """
    _check_port_is_free(host, port)
    # Ray Serve would otherwise log each of its steps to the terminal.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(http_options=HTTPOptions(host=host, port=port))
    try:
        serve.run(
            application(ServiceArguments(run=location)),
            name=NAME,
            logging_config=LoggingConfig(log_level="WARNING"),
        )
        yield
    finally:
        serve.shutdown()


def _check_port_is_free(host: str, port: int) -> None:
    """Raises: RunError if the port is taken: Ray Serve itself would retry without a message."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RunError(f"port {port} on {host}: cannot listen ({error.strerror})") from error
