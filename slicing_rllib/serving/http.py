"""Who may ask, how often, and how much: bearer token, rate limit, size of the body.

What `/openapi.json` says: bodies, answers, errors and examples.
"""

import hmac
import math
import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import Request

from slicing_rllib.serving.requests import DecisionRequest, Problem

SCHEME = "bearer"


class RateLimit:
    """A token bucket: `rate_per_s` requests per second, with bursts of as many.

    Args:
        rate_per_s: requests per second.
        clock: seconds that never run backwards.
    """

    def __init__(self, rate_per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate_per_s, clock
        self._size = max(rate_per_s, 1.0)
        self._tokens, self._time = self._size, clock()

    def take(self) -> float:
        """0 if the request may go on; else the seconds after which the next one may."""
        now = self._clock()
        self._tokens = min(self._size, self._tokens + (now - self._time) * self._rate)
        self._time = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate


class Admission:
    """Lets requests in.

    Args:
        token: token that callers must present; None lets everybody in.
        rate_per_s: accepted requests per second.
        max_body_bytes: largest body.
    """

    def __init__(self, token: str | None, rate_per_s: float, max_body_bytes: int) -> None:
        self._token = None if token is None else token.encode()
        self._limit = RateLimit(rate_per_s)
        self._max_body_bytes = max_body_bytes

    def require_token(self, request: Request) -> None:
        """Raises: Problem 401 without the right token."""
        if self._token is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Compares in constant time, so that the time of the answer says nothing about the token.
        is_right = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
        if scheme.lower() != SCHEME or not is_right:
            raise Problem(401, "expected a valid bearer token", {"WWW-Authenticate": "Bearer"})

    def require_rate(self) -> None:
        """Raises: Problem 429 above the rate limit."""
        if wait_s := self._limit.take():
            headers = {"Retry-After": str(math.ceil(wait_s))}
            raise Problem(429, "too many requests", headers)

    async def read_body(self, request: Request) -> bytes:
        """The body of a JSON request. Raises: Problem 413 or 415."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Problem(415, "expected the content type application/json")
        declared = request.headers.get("content-length", "0")
        if declared.isascii() and declared.isdigit() and len(declared) < 20:
            self._require_size(int(declared))
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            self._require_size(size)
            parts.append(part)
        return b"".join(parts)

    def _require_size(self, size: int) -> None:
        if size > self._max_body_bytes:
            raise Problem(413, f"expected a body of at most {self._max_body_bytes} bytes")


REF = "#/components/schemas/{model}"
BODY = "DecisionRequest"


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
        400: "The body is not JSON.",
        401: "The bearer token is missing or wrong.",
        404: "A cell has no policy.",
        413: "The body is too large.",
        415: "The content type is not application/json.",
        422: "The body does not fit the schema, or a KPI that the policy needs is missing.",
        429: "Too many requests; Retry-After says when to ask again.",
        503: "No policies are loaded, or all replicas are busy.",
    }
    return {status: {"description": meanings[status], **_PROBLEM} for status in statuses}


EXAMPLE_SLICE = {"throughput_mbps": 9.5, "delay_ms": 1.2, "load": 0.05, "utilisation": 0.2}
EXAMPLE_SLICE |= {"users": 6, "prb_ratio": 0.25, "demand_mbps": 1.5, "mean_inverse_rate": 0.03}
EXAMPLE_SLICE |= {"sinr_db_p10": 4.0, "sinr_db_p50": 14.0, "sinr_db_p90": 24.0}
EXAMPLE = {
    "cells": {"cell_1": {"slices": {f"slice_{number}": EXAMPLE_SLICE for number in range(1, 5)}}},
    "unknown_cells": "fallback",
}
"""Runs as it is, whatever the cells are; GET /v1/example has one for the served cells."""

DECISION_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(model=BODY)},
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
