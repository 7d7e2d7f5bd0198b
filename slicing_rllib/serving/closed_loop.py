"""The simulator as the network and the service as its controller, beside the same in process."""

import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import Float

from slicing_rllib.env import DecisionView, Policy, satisfaction, slice_reward
from slicing_rllib.policies import KPI_SPECS
from slicing_rllib.radio import Phase, Scenario, StepKpis
from slicing_rllib.runs.policy_evaluation import (
    derive_evaluation_seeds,
    follow,
    make_network,
    make_trained_policy,
)
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.storage.errors import RunError

TIMEOUT_S = 30.0
LARGEST_DIFFERENCE = 1e-6
"""Of a KPI, relative to its value or to 1, whichever is larger."""

OnStep = Callable[[str, int, int], None]


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
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        if parts.scheme not in kinds or not parts.hostname:
            raise RunError(f"{url}: expected the URL of a service, such as http://127.0.0.1:8000")
        self._connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=TIMEOUT_S)
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
            content = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RunError(f"{self._url}: no answer ({error})") from error
        if answer.status != 200:
            raise RunError(f"{self._url}: {answer.status}: {content.get('detail', '')}")
        return content["decisions"]

    def close(self) -> None:
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


class ClosedLoop(NamedTuple):
    """What the network did under the service, beside evaluation in process."""

    steps: int
    reward_mean: float
    """Eq. (2), mean over cells and steps, under the service."""
    satisfaction_mean: float
    in_process_reward_mean: float
    largest_difference: dict[str, float]
    """By KPI, relative to its value or to 1, whichever is larger."""
    fallbacks: dict[str, int]
    """Decisions that policies did not make, by reason."""

    @property
    def is_equal(self) -> bool:
        """Whether all KPIs agree and every decision was a policy's."""
        largest = max(self.largest_difference.values())
        return largest <= LARGEST_DIFFERENCE and not self.fallbacks


def run_closed_loop(
    run: RunDirectory, url: str, steps: int, token: str | None, on_step: OnStep
) -> ClosedLoop:
    """Both loops on the run's first evaluation seed.

    Args:
        run: the run whose policies the service serves.
        url: address of the service.
        steps: network steps.
        token: bearer token of the service; None if it asks for none.
        on_step: called after each step with a name, the steps done, and all steps.

    Raises: RunError if the service does not answer.
    """
    config = run.config()
    scenario = config.scenario
    names = [spec.name for spec in scenario.slices]
    served = HttpPolicy(url, scenario.cells, names, token)

    def record(name: str, policy: Policy) -> list[StepKpis]:
        env, kpis = make_network(config), []
        for step, _ in enumerate(follow(env, policy, steps, derive_evaluation_seeds(config)[0])):
            kpis.append(env.kpis)
            on_step(name, step, steps)
        return kpis[1:]

    try:
        over_http = record("over HTTP", served)
    finally:
        served.close()
    in_process = record("in process", make_trained_policy(config, run.policies()))
    throughput = np.stack([step.throughput_mbps for step in over_http])
    return ClosedLoop(
        steps=steps,
        reward_mean=_compute_reward(over_http, scenario),
        satisfaction_mean=float(satisfaction(throughput, scenario.sla_throughput_mbps).mean()),
        in_process_reward_mean=_compute_reward(in_process, scenario),
        largest_difference=_compare(over_http, in_process),
        fallbacks=served.fallbacks,
    )


def _compare(ours: list[StepKpis], theirs: list[StepKpis]) -> dict[str, float]:
    differences: dict[str, float] = {}
    for name in StepKpis._fields:
        a, b = (np.stack([getattr(step, name) for step in steps]) for steps in (ours, theirs))
        differences[name] = float((np.abs(a - b) / np.maximum(np.abs(b), 1.0)).max())
    return differences


def _compute_reward(kpis: list[StepKpis], scenario: Scenario) -> float:
    sla = scenario.sla_throughput_mbps, scenario.sla_delay_ms
    rewards = [slice_reward(step.throughput_mbps, step.delay_ms, *sla).mean() for step in kpis]
    return float(np.mean(rewards))
