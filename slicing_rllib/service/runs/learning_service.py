"""What cells were served while their policies learned: rewards and failures of training itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slicing_rllib.env import satisfaction
from slicing_rllib.evaluation.statistics import SATISFIED
from slicing_rllib.learning import TD3
from slicing_rllib.radio import Scenario

SPANS = (500, 1000)
"""First so many network steps that are summarised apart."""


def compute_fail_rate(algorithm: TD3, scenario: Scenario) -> float | None:
    """Share of the last iteration's (cell, step) with a satisfaction below 0.95; None without any.

    Exploration and its noise are included: this is the service that cells got.
    """
    if not algorithm.last_steps:
        return None
    outcome = np.stack([step.transitions.outcome for step in algorithm.last_steps])
    live = np.stack([step.live for step in algorithm.last_steps])
    throughput_mbps = outcome[..., : scenario.n_slices].astype(np.float64)
    satisfied = satisfaction(throughput_mbps, scenario.sla_throughput_mbps)
    return float((satisfied[live] < SATISFIED).mean()) if live.any() else None


def summarise_learning_service(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean reward and fail rate over the first 500, 1,000 and all steps, from `metrics.jsonl`.

    A span counts the iterations that end within it; one that no iteration reaches is left out.
    """
    # An iteration without a step, during an outage, has no reward.
    rows = [row for row in rows if row["reward_mean"] is not None]
    summary: dict[str, dict[str, Any]] = {}
    for name, last in (*((str(span), span) for span in SPANS), ("all", None)):
        inside = [row for row in rows if last is None or row["env_steps"] <= last]
        if inside and (last is None or rows[-1]["env_steps"] >= last):
            summary[name] = {
                "env_steps": inside[-1]["env_steps"],
                "reward_mean": _average(inside, "reward_mean"),
                "fail_rate_95": _average(inside, "fail_rate_95"),
            }
    return summary


def _average(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Mean over network steps; None where a row has no number."""
    values = [row.get(key) for row in rows]
    if any(value is None for value in values):
        return None
    steps = np.diff([0, *(row["env_steps"] for row in rows)])
    return float(np.average(np.array(values, float), weights=steps))
