"""From an HTTP request to the KPIs of cells, or to a refusal in one line.

`Admission` asks for the token and limits how much is sent; `parse_request` reads the body: KPIs of
the last slicing interval, by cell, slice and name; and SLAs in the style of an A1 policy of the
O-RAN Alliance. Refusals are HTTPExceptions, answered as problem+json (RFC 9457).

Names and units of SLAs follow the slice SLA target of O-RAN's A1 type definitions: throughput in
kbit/s, delay in ms. We read `guaDlThptPerSlice` as the throughput that the slice must deliver while
it has data, which is what policies are trained for. No conformance is claimed.
"""

import hmac
import ipaddress
import json
import math
import os
import time
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from slicing_rllib.policies import KPI_SPECS
from slicing_rllib.serving.release import ServiceArguments
from slicing_rllib.storage import make_printable, read_text
from slicing_rllib.storage.errors import ConfigError, RunError

TOKEN_VARIABLE = "SLICING_RLLIB_SERVE_TOKEN"
LEAST_TOKEN_CHARACTERS, MAX_TOKEN_BYTES = 16, 4096
MAX_DETAIL = 500
KPI_NAMES = tuple(KPI_SPECS)
MAX_CELLS, MAX_SLICES = 20_000, 64
KBIT_PER_MBIT, MAX_KBPS, MAX_MS = 1e3, 1e8, 1e5
UNITS = {
    "Mbit/s": {"Mbit/s": 1.0, "kbit/s": 1e-3, "bit/s": 1e-6, "Gbit/s": 1e3},
    "ms": {"ms": 1.0, "s": 1e3, "us": 1e-3},
    "1": {"1": 1.0, "%": 0.01},
    "s/Mbit": {"s/Mbit": 1.0, "ms/Mbit": 1e-3, "s/kbit": 1e3},
    "dB": {"dB": 1.0},
}
"""Accepted units by the unit that policies use, and what a value is multiplied by."""
MEASUREMENT_NAMES = {
    name: kpi
    for kpi in KPI_NAMES
    for name in (kpi, kpi.removesuffix("_mbps").removesuffix("_ms"), kpi.replace("_db", ""))
}
"""KPI by each name that a measurement may have."""
CellName = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
]
SliceName = Annotated[str, Field(min_length=1, max_length=64)]


def respond_with_problem(request: Request, error: HTTPException) -> Response:
    """The answer to a refused request: problem+json with one line of `detail`."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(error.status_code).phrase,
        "status": error.status_code,
        "detail": make_printable(str(error.detail), MAX_DETAIL),
    }
    # Only ASCII, also for callers whose terminal knows no more.
    content = json.dumps(body).encode("ascii")
    return Response(content, error.status_code, error.headers, "application/problem+json")


def read_token(token_file: str | None) -> str | None:
    """The token that callers must present, from a file or from `TOKEN_VARIABLE`; None without.

    Raises: RunError for a file that cannot be read, or a token that is too short.
    """
    if token_file is None:
        token = os.environ.get(TOKEN_VARIABLE)
    else:
        try:
            token = read_text(Path(token_file), MAX_TOKEN_BYTES).strip()
        except (OSError, ValueError) as error:
            raise RunError(f"{token_file}: expected a file with a token") from error
    if token is not None and not (len(token) >= LEAST_TOKEN_CHARACTERS and token.isascii()):
        raise RunError(f"token: expected at least {LEAST_TOKEN_CHARACTERS} ASCII characters")
    return token


def require_token_beyond_loopback(arguments: ServiceArguments, host: str) -> ServiceArguments:
    """The arguments, with leave to run without a token where only this machine can ask.

    Raises: ConfigError for an address beyond loopback without a token.
    """
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if read_token(arguments.token_file) is None and not is_loopback:
        raise ConfigError(
            f"serve: {host} can be reached from other machines; expected --token-file or "
            "the environment variable SLICING_RLLIB_SERVE_TOKEN"
        )
    return arguments.model_copy(update={"without_token": is_loopback})


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
        """Raises: HTTPException 401 without the right token."""
        if self._token is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Compares in constant time, so that the time of the answer says nothing about the token.
        is_right = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
        if scheme.lower() != "bearer" or not is_right:
            raise HTTPException(
                401, "expected a valid bearer token", {"WWW-Authenticate": "Bearer"}
            )

    def require_rate(self) -> None:
        """Raises: HTTPException 429 above the rate limit."""
        if wait_s := self._limit.take():
            headers = {"Retry-After": str(math.ceil(wait_s))}
            raise HTTPException(429, "too many requests", headers)

    async def read_body(self, request: Request) -> bytes:
        """The body of a JSON request. Raises: HTTPException 413 or 415."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HTTPException(415, "expected the content type application/json")
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
            raise HTTPException(413, f"expected a body of at most {self._max_body_bytes} bytes")


class Model(BaseModel):
    """A part of a request. An unknown name is an error."""

    model_config = ConfigDict(
        extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class PlmnId(Model):
    """A mobile network."""

    mcc: Annotated[str, Field(pattern=r"^[0-9]{3}$")]
    """Mobile country code."""
    mnc: Annotated[str, Field(pattern=r"^[0-9]{2,3}$")]
    """Mobile network code."""


class SliceId(Model):
    """The S-NSSAI of a slice in a network."""

    sst: int = Field(ge=0, le=255)
    """Slice or service type."""
    sd: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{6}$")] | None = None
    """Slice differentiator."""
    plmnId: PlmnId


class Scope(Model):
    """What the policy is about."""

    sliceId: SliceId


class SliceSlaObjectives(Model):
    """What the slice is promised."""

    guaDlThptPerSlice: float | None = Field(default=None, gt=0, le=MAX_KBPS)
    """Guaranteed downlink throughput, kbit/s."""
    maxDlPacketDelayPerUe: float | None = Field(default=None, gt=0, le=MAX_MS)
    """Largest downlink packet delay, ms."""


class A1Policy(Model):
    """A slice's SLA."""

    scope: Scope
    sliceSlaObjectives: SliceSlaObjectives

    def override_sla(self, throughput_mbps: float, delay_ms: float) -> tuple[float, float]:
        """Required throughput and permitted delay; what the policy leaves open stays as it is."""
        kbps = self.sliceSlaObjectives.guaDlThptPerSlice
        throughput_mbps = throughput_mbps if kbps is None else kbps / KBIT_PER_MBIT
        return throughput_mbps, self.sliceSlaObjectives.maxDlPacketDelayPerUe or delay_ms


class Measurement(Model):
    """A value with its unit."""

    value: float
    """Number in that unit."""
    unit: str = Field(
        max_length=16,
        json_schema_extra={"enum": [unit for accepted in UNITS.values() for unit in accepted]},
    )
    """Such as Mbit/s, kbit/s, ms, s, %, 1 or dB."""


def _make_kpi_field(name: str) -> Any:
    """An optional field with the limits of a KPI."""
    spec = KPI_SPECS[name]
    text = f"{spec.meaning[0].upper()}{spec.meaning[1:]}; unit {spec.unit}."
    return float | None, Field(default=None, ge=spec.minimum, le=spec.maximum, description=text)


_KpiFields = create_model(
    "_KpiFields", __base__=Model, **{name: _make_kpi_field(name) for name in KPI_NAMES}
)


class SliceKpis(_KpiFields):
    """KPIs of one slice in one interval, by a name that ends with the unit if there is one."""

    measurements: dict[str, Measurement] | None = Field(
        default=None,
        max_length=len(KPI_NAMES),
        json_schema_extra={"propertyNames": {"enum": list(MEASUREMENT_NAMES)}},
    )
    """KPIs in another unit: by the name without its unit, such as throughput or delay."""

    @model_validator(mode="after")
    def convert(self) -> "SliceKpis":
        for name, measurement in (self.measurements or {}).items():
            if name not in MEASUREMENT_NAMES:
                raise ValueError(f"measurements: expected a KPI, got {name[:32]!r}")
            kpi = MEASUREMENT_NAMES[name]
            spec, factors = KPI_SPECS[kpi], UNITS[KPI_SPECS[kpi].unit]
            if measurement.unit not in factors:
                raise ValueError(f"{name}: expected one of the units {', '.join(factors)}")
            value = measurement.value * factors[measurement.unit]
            if not spec.minimum <= value <= spec.maximum:
                limits = f"{spec.minimum:g} to {spec.maximum:g} {spec.unit}"
                raise ValueError(f"{name}: expected {limits}")
            if getattr(self, kpi) is not None:
                raise ValueError(f"{kpi} is there twice")
            setattr(self, kpi, value)
        return self


class CellReport(Model):
    """What one cell measured in the last interval."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {
                    "required": ["slices"],
                    "properties": {"slices": {"minProperties": 1}, "off": {"const": False}},
                },
                {
                    "required": ["off"],
                    "properties": {"slices": {"maxProperties": 0}, "off": {"const": True}},
                },
            ]
        }
    )

    slices: dict[SliceName, SliceKpis] = Field(default={}, max_length=MAX_SLICES)
    """By name of the slice; every slice of the cell."""
    measured_at: AwareDatetime | None = None
    """End of the interval; default: when the request arrives."""
    off: bool = False
    """The cell is off the air: its neighbours learn that it has no load, and it gets no shares."""

    @model_validator(mode="after")
    def check_slices(self) -> "CellReport":
        if bool(self.slices) == self.off:
            raise ValueError("expected slices, or off: true and no slices")
        return self

    def age_s(self, now: datetime) -> float:
        """Time since the interval ended; negative if the caller's clock is ahead."""
        return 0.0 if self.measured_at is None else (now - self.measured_at).total_seconds()

    def table(self, slices: tuple[str, ...]) -> list[list[float | None]]:
        """A row per slice, in this order, and a column per KPI; None for KPIs that are not there.

        Raises: KeyError for a slice that is not there.
        """
        return [[vars(self.slices[name])[kpi] for kpi in KPI_NAMES] for name in slices]


class DecisionRequest(Model):
    """KPIs of a whole network, or of one cell."""

    cells: dict[CellName, CellReport] = Field(
        min_length=1, max_length=MAX_CELLS, json_schema_extra={"additionalProperties": False}
    )
    """By name of the cell."""
    unknown_cells: Literal["refuse", "fallback"] = "refuse"
    """What a cell without a policy gets: the whole request is refused, or shares in proportion to
    the cell's traffic."""
    a1_policies: dict[SliceName, A1Policy] = Field(default={}, max_length=MAX_SLICES)
    """A1-style policies by slice, whose objectives replace the SLA that the policy carries."""


_EXAMPLE_KPIS = (9.5, 1.2, 0.05, 0.2, 6, 0.25, 1.5, 0.03, 4.0, 14.0, 24.0)
EXAMPLE = {
    "cells": {
        "cell_1": {
            "slices": {
                f"slice_{number}": dict(zip(KPI_NAMES, _EXAMPLE_KPIS, strict=True))
                for number in range(1, 5)
            }
        }
    },
    "unknown_cells": "fallback",
}
"""Runs as it is, whatever the cells are; GET /v1/example has one for the served cells."""


def parse_request(body: bytes) -> DecisionRequest:
    """The content of a body. Raises: HTTPException with one line about the first mistake."""
    try:
        return DecisionRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        status = 400 if first["type"] == "json_invalid" else 422
        raise HTTPException(status, f"{where}: {first['msg']}") from error
