"""A policy that asks the service over HTTP, as a network's controller would."""

import http.client
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import Float

from slicing_rllib.env import DecisionView
from slicing_rllib.policies import KPI_SPECS
from slicing_rllib.radio import Phase, StepKpis
from slicing_rllib.service.errors import RunError

TIMEOUT_S = 30.0


class HttpPolicy:
    """Sends the KPIs of all cells and applies the answered shares.

    Args:
        url: address of the service, with or without `/v1`.
        cells: names of the cells, in the order of the rows of KPIs.
        slices: names of the slices, in the order of the columns.
        token: bearer token; None if the service asks for none.
    """

    def __init__(
        self, url: str, cells: Sequence[str], slices: Sequence[str], token: str | None = None
    ) -> None:
        self._url = url
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RunError(f"{url}: expected the URL of a service, such as http://127.0.0.1:8000")
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self._path = f"{parts.path.rstrip('/').removesuffix('/v1')}/v1/decisions"
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._cells, self._slices = tuple(cells), tuple(slices)
        self.fallbacks: dict[str, int] = {}
        """Decisions that the cells' policies did not make, by reason."""

    def prb_ratio(self, view: DecisionView) -> Float[np.ndarray, "cell slice"]:
        """Shares of each cell's carrier. Raises: RunError if the service does not answer."""
        decisions = self.ask(make_request(view.kpis, self._cells, self._slices))
        for decision in decisions.values():
            if decision["fallback"]:
                reason = decision["fallback"]["reason"]
                self.fallbacks[reason] = self.fallbacks.get(reason, 0) + 1
        equal = dict.fromkeys(self._slices, 1.0 / len(self._slices))
        rows = [decisions[c]["shares"] if c in decisions else equal for c in self._cells]
        return np.array([[row[name] for name in self._slices] for row in rows])

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The decisions of a request by cell."""
        try:
            self._connection.request("POST", self._path, json.dumps(request), self._headers)
            answer = self._connection.getresponse()
            body = answer.read()
            content = json.loads(body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RunError(f"{self._url}: no answer ({error})") from error
        if answer.status != 200:
            raise RunError(f"{self._url}: {answer.status}: {content.get('detail', '')}")
        return content["decisions"]

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def make_request(kpis: StepKpis, cells: Sequence[str], slices: Sequence[str]) -> dict[str, Any]:
    """The KPIs of a step as a request."""
    tables = {name: getattr(kpis, name).tolist() for name in KPI_SPECS}
    return {
        "cells": {
            cell: {"off": True}
            if kpis.phase[row] == Phase.OFF
            else {
                "slices": {
                    name: {kpi: table[row][column] for kpi, table in tables.items()}
                    for column, name in enumerate(slices)
                }
            }
            for row, cell in enumerate(cells)
        }
    }
