"""From the body of a request to the KPIs of cells, or to a refusal in one line.

`parse_request` reads KPIs of the last slicing interval, by cell, slice and name; and SLAs in the
style of an A1 policy of the O-RAN Alliance. A mistake in one cell's report is noted in that report,
unless the request is strict.

Names and units of SLAs follow the slice SLA target of O-RAN's A1 type definitions: throughput in
kbit/s, delay in ms. We read `guaDlThptPerSlice` as the throughput that the slice must deliver while
it has data, which is what policies are trained for. No conformance is claimed.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WrapValidator,
    create_model,
    model_validator,
)
from starlette.exceptions import HTTPException

from slicing_rllib.policies import KPI_SPECS
from slicing_rllib.storage import make_printable

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
LARGEST_SUM_ERROR = 0.02
"""Of shares that are reported in whole percent, for 64 slices at most."""
LEAST_PACKET_KBIT = 0.16
"""20 bytes, an IPv4 header: throughput times delay is about the size of a packet."""
MAX_FIELDS = 32
"""Names in an object of the schema: the largest has half as many."""
CellName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
SliceName = Annotated[str, Field(min_length=1, max_length=64)]


def _check_names(most: int, value: Any) -> Any:
    """Refuses a larger object before its values are read: pydantic's own limit comes after."""
    if isinstance(value, Mapping) and len(value) > most:
        raise ValueError(f"expected at most {most} names, got {len(value)}")
    return value


def limit_names(most: int) -> BeforeValidator:
    return BeforeValidator(partial(_check_names, most))


class Model(BaseModel):
    """A part of a request. An unknown name is an error."""

    model_config = ConfigDict(
        extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class LimitedModel(Model):
    """Without the limit, a million unknown names would become a million errors."""

    @model_validator(mode="before")
    @classmethod
    def check_size(cls, value: Any) -> Any:
        return _check_names(MAX_FIELDS, value)


class PlmnId(LimitedModel):
    """A mobile network."""

    mcc: Annotated[str, Field(pattern=r"^[0-9]{3}$")]
    """Mobile country code."""
    mnc: Annotated[str, Field(pattern=r"^[0-9]{2,3}$")]
    """Mobile network code."""


class SliceId(LimitedModel):
    """The S-NSSAI of a slice in a network."""

    sst: int = Field(ge=0, le=255)
    """Slice or service type."""
    sd: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{6}$")] | None = None
    """Slice differentiator."""
    plmnId: PlmnId


class Scope(LimitedModel):
    """What the policy is about."""

    sliceId: SliceId


class SliceSlaObjectives(LimitedModel):
    """What the slice is promised."""

    guaDlThptPerSlice: float | None = Field(default=None, gt=0, le=MAX_KBPS)
    """Guaranteed downlink throughput, kbit/s."""
    maxDlPacketDelayPerUe: float | None = Field(default=None, gt=0, le=MAX_MS)
    """Largest downlink packet delay, ms."""


class A1Policy(LimitedModel):
    """A slice's SLA."""

    scope: Scope
    sliceSlaObjectives: SliceSlaObjectives

    def override_sla(self, throughput_mbps: float, delay_ms: float) -> tuple[float, float]:
        """Required throughput and permitted delay; what the policy leaves open stays as it is."""
        kbps = self.sliceSlaObjectives.guaDlThptPerSlice
        throughput_mbps = throughput_mbps if kbps is None else kbps / KBIT_PER_MBIT
        return throughput_mbps, self.sliceSlaObjectives.maxDlPacketDelayPerUe or delay_ms


class Measurement(LimitedModel):
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

    measurements: Annotated[dict[str, Measurement] | None, limit_names(len(KPI_NAMES))] = Field(
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


def _limit_slices(value: Any) -> Any:
    """As `LimitedModel`, for all slices in one call: a request may have a million of them."""
    _check_names(MAX_SLICES, value)
    if isinstance(value, Mapping):
        for kpis in value.values():
            _check_names(MAX_FIELDS, kpis)
    return value


def _require_text(value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise ValueError("expected a time in the form of RFC 3339")
    return value


class CellReport(LimitedModel):
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

    slices: Annotated[dict[SliceName, SliceKpis], BeforeValidator(_limit_slices)] = Field(
        default={}, max_length=MAX_SLICES
    )
    """By name of the slice; every slice of the cell."""
    measured_at: Annotated[AwareDatetime | None, BeforeValidator(_require_text)] = Field(
        default=None, strict=False
    )
    """End of the interval; default: when the request arrives."""
    off: bool = False
    """The cell is off the air: its neighbours learn that it has no load, and it gets no shares."""
    _mistake: str | None = None

    @model_validator(mode="after")
    def check_slices(self) -> "CellReport":
        if bool(self.slices) == self.off:
            raise ValueError("expected slices, or off: true and no slices")
        return self

    @property
    def mistake(self) -> str | None:
        """What is wrong with the report; KPIs that cannot be read are missing in it."""
        return self._mistake

    def age_s(self, now: datetime) -> float:
        """Time since the interval ended; negative if the caller's clock is ahead."""
        return 0.0 if self.measured_at is None else (now - self.measured_at).total_seconds()

    def table(self, slices: Iterable[str]) -> list[list[float | None]]:
        """A row per slice, in this order, and a column per KPI; None for what is not there."""
        nothing: list[float | None] = [None] * len(KPI_NAMES)
        return [
            [vars(self.slices[name])[kpi] for kpi in KPI_NAMES] if name in self.slices else nothing
            for name in slices
        ]


def _read_report(value: Any, read: Callable[[Any], CellReport], info: Any) -> CellReport:
    """A cell's report. Unless the request is strict, a mistake is noted and the rest is kept."""
    try:
        report = read(value)
    except ValidationError as error:
        if info.context:
            raise
        mistakes = error.errors(include_url=False, include_input=False)
        report = CellReport.model_construct(slices=_keep_readable(value, mistakes))
        report._mistake = _locate(mistakes[0], "report")
        return report
    report._mistake = _find_contradiction(report)
    if report.mistake is not None and info.context:
        raise ValueError(report.mistake)
    return report


def _keep_readable(value: Any, mistakes: Sequence[Any]) -> dict[str, SliceKpis]:
    """The slices of a report without the KPIs that cannot be read; nothing if that is not all."""
    for mistake in mistakes:
        match mistake["loc"]:
            case ("measured_at" | "off", *_):
                pass
            case ("slices", name, kpi, *_) if kpi != "[key]":
                value["slices"][name].pop(kpi, None)
            case _:
                return {}
    try:
        return CellReport(slices=value.get("slices", {})).slices
    except ValidationError:  # No slices, or values that are wrong only together.
        return {}


def _find_contradiction(report: CellReport) -> str | None:
    """What KPIs cannot be together, because one is in another unit; None if they can."""
    by_slice = {name: vars(kpis) for name, kpis in report.slices.items()}
    ratios = [kpis["prb_ratio"] for kpis in by_slice.values()]
    if ratios and None not in ratios and abs(sum(ratios) - 1.0) > LARGEST_SUM_ERROR:
        return f"the prb_ratio of all slices has a sum of {sum(ratios):.3g}, expected 1"
    for name, kpis in by_slice.items():
        throughput_mbps, delay_ms = kpis["throughput_mbps"] or 0.0, kpis["delay_ms"] or 0.0
        if throughput_mbps > 0.0 < delay_ms < LEAST_PACKET_KBIT / throughput_mbps:
            return (
                f"slices.{name}: a delay of {delay_ms:.3g} ms at {throughput_mbps:.3g} Mbit/s is "
                "that of no packet; one of them is in another unit"
            )
    return None


class DecisionRequest(LimitedModel):
    """KPIs of a whole network, or of one cell."""

    cells: Annotated[
        dict[CellName, Annotated[CellReport, WrapValidator(_read_report)]], limit_names(MAX_CELLS)
    ] = Field(min_length=1, max_length=MAX_CELLS, json_schema_extra={"additionalProperties": False})
    """By name of the cell."""
    strict: bool = False
    """Whether a cell that is unknown, has other slices, lacks KPIs or has a wrong report refuses
    the whole request, instead of getting a fallback."""
    a1_policies: Annotated[dict[SliceName, A1Policy], limit_names(MAX_SLICES)] = Field(
        default={}, max_length=MAX_SLICES
    )
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
}
"""Runs as it is, whatever the cells are; GET /v1/example has one for the served cells."""


def parse_request(body: bytes) -> DecisionRequest:
    """The content of a body. Raises: HTTPException with one line about the first mistake."""
    try:
        content = json.loads(
            body.decode(), object_pairs_hook=_refuse_repetition, parse_constant=_refuse_constant
        )
    except HTTPException:
        raise
    except RecursionError as error:
        raise HTTPException(400, "body: Invalid JSON: it is nested too deeply") from error
    except ValueError as error:
        raise HTTPException(400, f"body: Invalid JSON: {error}") from error
    is_strict = isinstance(content, dict) and content.get("strict") is True
    try:
        return DecisionRequest.model_validate(content, context=is_strict)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise HTTPException(422, _locate(first, "body")) from error


def _locate(mistake: Any, whole: str) -> str:
    where = ".".join(str(part) for part in mistake["loc"]) or whole
    return make_printable(f"{where}: {mistake['msg']}", MAX_DETAIL)


def _refuse_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises: HTTPException for a key that stands twice: readers disagree which one counts."""
    content = dict(pairs)
    if len(content) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = max(counts, key=counts.__getitem__)
        raise HTTPException(400, f"body: {twice[:64]!r} stands twice in one object")
    return content


def _refuse_constant(text: str) -> Any:
    raise HTTPException(400, f"body: Invalid JSON: {text} is no number")
