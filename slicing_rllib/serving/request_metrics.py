"""What the service counts: latencies, fallbacks, refusals, and how far KPIs are from training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import prometheus_client
import ray
from jaxtyping import Float
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from ray.util import metrics as ray_metrics

from slicing_rllib.policies import CellPolicy
from slicing_rllib.serving.answers import Decision
from slicing_rllib.serving.requests import KPI_NAMES

PROMETHEUS = CONTENT_TYPE_LATEST
LATENCY_BOUNDS_MS = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
MEMORY = 0.05
"""Weight of the newest interval in the mean that drift is computed from."""
LEAST_STD = 1e-3
"""Standard deviations below this share of the mean count as this."""


class LocalMetrics:
    """Metrics of this process with the interface and the names of Ray's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def Histogram(self, name: str, text: str, bounds: Sequence[float], tags: Sequence[str]) -> Any:
        return self._make(prometheus_client.Histogram, name, text, tags, buckets=bounds)

    def Counter(self, name: str, text: str, tags: Sequence[str]) -> Any:
        return self._make(prometheus_client.Counter, name, text, tags)

    def Gauge(self, name: str, text: str, tags: Sequence[str]) -> Any:
        return self._make(prometheus_client.Gauge, name, text, tags)

    def _make(self, kind: Any, name: str, text: str, tags: Sequence[str], **others: Any) -> Any:
        metric = kind(f"ray_{name}", text, tags, registry=self._registry, **others)
        return _TaggedMetric(metric)


class _TaggedMetric:
    def __init__(self, metric: Any) -> None:
        self._metric = metric

    def observe(self, value: float, tags: Mapping[str, str]) -> None:
        self._metric.labels(**tags).observe(value)

    def inc(self, value: float, tags: Mapping[str, str]) -> None:
        self._metric.labels(**tags).inc(value)

    def set(self, value: float, tags: Mapping[str, str]) -> None:
        self._metric.labels(**tags).set(value)


class RequestMetrics:
    """Counts what the service does. In a replica of Ray Serve, Ray exports the numbers; elsewhere,
    `export` does, under the same names."""

    def __init__(self) -> None:
        self._registry = None if ray.is_initialized() else CollectorRegistry()
        metrics: Any = ray_metrics if self._registry is None else LocalMetrics(self._registry)
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
        self._monitor = DriftMonitor()

    def count(self, decisions: Mapping[str, Decision], latency_ms: float) -> None:
        """Counts the decisions of one request."""
        for cell, decision in decisions.items():
            # Names of unknown cells come from callers and must not become labels.
            policy = decision.served_policy
            label = "" if policy is None else cell
            if decision.fallback is not None:
                reason = str(decision.fallback.reason)
                self._fallbacks.inc(1.0, {"cell": label, "reason": reason})
            if policy is None:
                continue
            self._latency.observe(latency_ms, {"cell": cell})
            drift = self._monitor.update(policy, decision.table)
            if drift is not None:
                self._drift.set(drift, {"cell": cell})

    def export(self) -> bytes | None:
        """All numbers, as Prometheus reads them; None where Ray exports them."""
        return None if self._registry is None else generate_latest(self._registry)

    def count_refusal(self, status: int) -> None:
        """Counts a request that got an error."""
        self._refused.inc(1.0, {"status": str(status)})


class DriftMonitor:
    """How far the running means of KPIs are from their means in training."""

    def __init__(self) -> None:
        self._trainings: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        """By digest: mean of each slice's KPIs, and standard deviation with a lower limit."""
        self._means: dict[str, np.ndarray] = {}

    def update(self, policy: CellPolicy, table: Float[np.ndarray, "slice kpi"]) -> float | None:
        """Largest distance of a running mean from training, in standard deviations.

        None for a policy without recorded KPIs, and where KPIs or slices are missing.
        """
        names = [name for name in policy.encoder.required_kpis if name in policy.recorded]
        if not names:
            return None
        digest = policy.digest
        if digest not in self._trainings:
            ranges = [policy.recorded[name] for name in names]
            mean, std = (
                np.array([[getattr(kpi, part) for kpi in kpis] for kpis in ranges]).T
                for part in ("mean", "std")
            )
            scale = np.maximum(std, LEAST_STD * np.maximum(np.abs(mean), 1.0))
            self._trainings[digest] = mean, scale
        mean, scale = self._trainings[digest]
        values = table[:, [KPI_NAMES.index(name) for name in names]]
        if values.shape != mean.shape or not np.isfinite(values).all():
            return None
        before = self._means.get(digest, values)
        now = self._means[digest] = before + MEMORY * (values - before)
        return float((np.abs(now - mean) / scale).max())
