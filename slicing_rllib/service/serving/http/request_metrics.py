"""Metrics of the service per cell: latency, fallbacks, and drift of the KPIs."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from ray.util import metrics

from slicing_rllib.policies import CellPolicy
from slicing_rllib.service.serving.decisions.decision import Decision
from slicing_rllib.service.serving.decisions.request import KPI_NAMES

LATENCY_BOUNDS_MS = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
MEMORY = 0.05
"""Weight of the newest interval in the mean that drift is computed from."""
LEAST_STD = 1e-3
"""Standard deviations below this share of the mean count as this."""


class RequestMetrics:
    """Counts what the service does. Ray adds the prefix `ray_` to the names."""

    def __init__(self) -> None:
        self._latency = metrics.Histogram(
            "slicing_serving_latency_ms",
            "Time in the replica from the arrival of a request to its answer, in ms.",
            LATENCY_BOUNDS_MS,
            ("cell",),
        )
        self._fallbacks = metrics.Counter(
            "slicing_serving_fallbacks",
            "Decisions that a policy did not make, by reason.",
            ("cell", "reason"),
        )
        self._drift = metrics.Gauge(
            "slicing_serving_input_drift",
            "Largest distance of a KPI's running mean from its mean in training, in standard "
            "deviations of training.",
            ("cell",),
        )
        self._refused = metrics.Counter(
            "slicing_serving_refused_requests", "Requests with an error, by status.", ("status",)
        )
        self.drift = DriftMonitor()

    def count(self, decisions: Mapping[str, Decision], latency_ms: float) -> None:
        """Counts the decisions of one request."""
        for cell, decision in decisions.items():
            if decision.policy is None:
                # Names of unknown cells come from callers and must not become labels.
                self._fallbacks.inc(1.0, {"cell": "", "reason": str(decision.reason)})
                continue
            self._latency.observe(latency_ms, {"cell": cell})
            if decision.reason is not None:
                self._fallbacks.inc(1.0, {"cell": cell, "reason": str(decision.reason)})
            drift = self.drift.update(decision.policy, decision.table)
            if drift is not None:
                self._drift.set(drift, {"cell": cell})

    def count_refusal(self, status: int) -> None:
        """Counts a request that got an error."""
        self._refused.inc(1.0, {"status": str(status)})


class DriftMonitor:
    """How far the running means of KPIs are from their means in training."""

    def __init__(self) -> None:
        self._trainings: dict[str, _Training | None] = {}
        self._means: dict[str, np.ndarray] = {}

    def update(self, policy: CellPolicy, table: Float[np.ndarray, "slice kpi"]) -> float | None:
        """Largest distance of a running mean from training, in standard deviations.

        None for a policy without recorded KPIs.
        """
        digest = policy.digest
        if digest not in self._trainings:
            self._trainings[digest] = _describe_training(policy)
        training = self._trainings[digest]
        if training is None:
            return None
        values = table[:, training.columns]
        before = self._means.get(digest, values)
        mean = self._means[digest] = before + MEMORY * (values - before)
        return float((np.abs(mean - training.mean) / training.scale).max())


class _Training(NamedTuple):
    """The KPIs that a policy has met in training."""

    columns: list[int]
    """Columns of these KPIs in a table."""
    mean: Float[np.ndarray, "slice read"]
    scale: Float[np.ndarray, "slice read"]
    """Standard deviations, with a lower limit."""


def _describe_training(policy: CellPolicy) -> _Training | None:
    names = [name for name in policy.encoder.required_kpis if name in policy.recorded]
    if not names:
        return None
    ranges = [policy.recorded[name] for name in names]
    mean = np.array([[kpi.mean for kpi in column] for column in ranges]).T
    std = np.array([[kpi.std for kpi in column] for column in ranges]).T
    scale = np.maximum(std, LEAST_STD * np.maximum(np.abs(mean), 1.0))
    return _Training([KPI_NAMES.index(name) for name in names], mean, scale)
