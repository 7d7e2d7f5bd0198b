"""Trained policies behind HTTP, on Ray Serve: observations in, shares of the carrier out."""

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
UNUSABLE = 422

# Its pages of documentation would fetch scripts from other hosts; /openapi.json says the same.
api = FastAPI(title="slicing-rllib", docs_url=None, redoc_url=None)


class Served(BaseModel):
    """What the application is told, by the command line or by serveConfigV2."""

    model_config = ConfigDict(extra="forbid")

    run: str
    """A run directory, or a policy library: a folder or URI."""


class Observations(BaseModel):
    """By cell: what it sees, laid out as `/v1/cells` says."""

    model_config = ConfigDict(extra="forbid")

    obs: dict[str, list[FiniteFloat]] = Field(min_length=1)


class Shares(BaseModel):
    """By cell: the share of the carrier's PRBs that each slice gets; they sum to one."""

    prb_ratio: dict[str, list[float]]


class CellPolicy(NamedTuple):
    """A cell's actor, and what it expects to see."""

    actor: TrainedPolicy
    layout: ObservationLayout

    def prb_ratio(self, obs: list[float]) -> list[float]:
        return self.actor.actions(np.array([obs], np.float32))[0].tolist()

    def described(self) -> dict[str, int | tuple[int, int]]:
        """How many slices and numbers, and from where to where each quantity stands."""
        parts = {
            "throughput": self.layout.throughput,
            "load": self.layout.load,
            "users": self.layout.users,
            "message": self.layout.message,
        }
        spans = {name: (part.start, part.stop) for name, part in parts.items()}
        return {"slices": self.layout.n_slices, "obs": self.layout.size, **spans}


def policies_in(where: str) -> dict[str, CellPolicy]:
    """A run's by cell, or the newest of each name in a library.

    Raises: RunError or LibraryError where there are none.
    """
    return {name: _cell_policy(name, own) for name, own in _weights_in(where).items()}


def _weights_in(where: str) -> Mapping[str, Mapping[str, np.ndarray]]:
    if (Path(where) / "config.yaml").is_file():
        return RunDirectory.open(Path(where)).policies()
    library = PolicyLibrary(where)
    names = library.names()
    if not names:
        raise RunError(f"{where}: expected a run directory or a policy library")
    return {name: library.load(name).weights for name in names}


def _cell_policy(name: str, weights: Mapping[str, np.ndarray]) -> CellPolicy:
    numbers = sorted(
        int(key.split(".")[1])
        for key in weights
        if key.startswith("actor.") and key.endswith(".weight")
    )
    obs_size = weights[f"actor.{numbers[0]}.weight"].shape[1]
    n_slices = weights[f"actor.{numbers[-1]}.weight"].shape[0]
    layout = ObservationLayout(n_slices, obs_size - 3 * n_slices)
    return CellPolicy(TrainedPolicy([name], {name: weights}), layout)


@api.exception_handler(RequestValidationError)
def unusable(request: Request, error: RequestValidationError) -> JSONResponse:
    """The first thing that is wrong, in one line."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return JSONResponse({"detail": f"{where}: {first['msg']}"}, UNUSABLE)


# Serve copies the class and the app as they stand here: what they use has to be above.
@serve.deployment(ray_actor_options={"num_cpus": 1})
@serve.ingress(api)
class Policies:
    """Every policy of a run or library, read once."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._policies = policies_in(where)

    @api.get("/v1/health")
    def health(self) -> dict[str, str | int]:
        return {"status": "ok", "source": self._where, "cells": len(self._policies)}

    @api.get("/v1/cells")
    def cells(self) -> dict[str, dict[str, int | tuple[int, int]]]:
        """By cell: how its observation is laid out."""
        return {name: policy.described() for name, policy in self._policies.items()}

    @api.post("/v1/prb-ratio")
    def prb_ratio(self, asked: Observations) -> Shares:
        for cell, obs in asked.obs.items():
            if problem := self._problem(cell, len(obs)):
                raise HTTPException(UNUSABLE, problem)
        answers = {cell: self._policies[cell].prb_ratio(obs) for cell, obs in asked.obs.items()}
        return Shares(prb_ratio=answers)

    def _problem(self, cell: str, got: int) -> str:
        """Why a cell cannot be answered; empty if it can."""
        if cell not in self._policies:
            return f"obs: no policy for {cell[:80]!r}, expected one of those of /v1/cells"
        wanted = self._policies[cell].layout.size
        return "" if got == wanted else f"obs.{cell}: expected {wanted} numbers, got {got}"


def application(args: Served) -> serve.Application:
    """For Ray Serve: `import_path: slicing_rllib.service.serving.application:application`."""
    return Policies.bind(args.run)


@contextmanager
def served(where: str, host: str, port: int) -> Iterator[None]:
    """Serves on the Ray of this process for as long as the block lasts.

    Raises: RunError where the port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RunError(f"port {port} on {host}: cannot listen ({error.strerror})") from error
    # Ray Serve tells the terminal of every step that it takes.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(http_options=HTTPOptions(host=host, port=port))
    try:
        serve.run(
            application(Served(run=where)),
            name=NAME,
            logging_config=LoggingConfig(log_level="WARNING"),
        )
        yield
    finally:
        serve.shutdown()
