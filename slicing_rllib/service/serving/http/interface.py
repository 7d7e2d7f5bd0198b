"""What `/openapi.json` says: bodies, answers, errors and examples."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from slicing_rllib.service.serving.decisions.request import DecisionRequest

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
