"""A row of `metrics.jsonl`: the numbers of one iteration, which metrics and live page show too."""

from collections.abc import Mapping
from typing import Any

from slicing_rllib.env import satisfaction
from slicing_rllib.learning import TD3
from slicing_rllib.radio import Phase, Scenario
from slicing_rllib.service.runs.algorithm import NetworkState
from slicing_rllib.service.runs.evaluation import CurvePoint
from slicing_rllib.service.runs.learning_service import compute_fail_rate

PER_SLICE = ("throughput_mbps", "delay_ms", "prb_ratio", "load")
"""Fields of `StepKpis` that a row has per cell and slice."""


def make_metrics_row(
    algorithm: TD3,
    scenario: Scenario,
    now: NetworkState | None,
    *,
    time_s: float,
    evaluated: CurvePoint | None,
    references: Mapping[str, CurvePoint],
) -> dict[str, Any]:
    """Rewards and losses averaged over the iteration, and the KPIs of its last network step.

    `now` is None where no env runner answers; then the row has no KPIs. `time_s` is the training
    time so far, `evaluated` the point of the learning curve where it has one here, and `references`
    what known policies get on the traffic of that curve.
    """
    learned = algorithm.last_iteration
    sizes = dict(zip(algorithm.cells, algorithm.replay.size.tolist(), strict=True))
    kpis = {} if now is None else _collect_kpis(scenario, now)
    cells = {
        cell: {**kpis.get(cell, {}), **learned["cells"].get(cell, {}), "replay_size": sizes[cell]}
        for cell in algorithm.cells
    }
    row = {
        "iteration": algorithm.iteration,
        "env_steps": algorithm.env_steps,
        "updates": algorithm.updates,
        "time_s": round(time_s, 3),
        "reward_mean": learned["reward_mean"],
        "fail_rate_95": compute_fail_rate(algorithm, scenario),
        "references": {name: float(p.rewards.mean()) for name, p in references.items()},
        "references_fail_rate_95": {name: p.fail_rate_95 for name, p in references.items()},
        "cells": cells,
    }
    if evaluated is None:
        return row
    for cell, reward in zip(scenario.cells, evaluated.rewards.tolist(), strict=True):
        cells[cell]["evaluation_reward"] = reward
    return row | {
        "evaluation_reward_mean": float(evaluated.rewards.mean()),
        "evaluation_fail_rate_95": evaluated.fail_rate_95,
    }


def _collect_kpis(scenario: Scenario, now: NetworkState) -> dict[str, dict[str, Any]]:
    """By cell: its phase and, unless it is off, satisfaction and KPIs per slice."""
    satisfied = satisfaction(now.kpis.throughput_mbps, scenario.sla_throughput_mbps)
    table = {}
    for row, cell in enumerate(scenario.cells):
        table[cell] = {"phase": Phase(int(now.phase[row])).name.lower()}
        if now.phase[row] != Phase.OFF:
            table[cell]["satisfaction"] = float(satisfied[row])
            for name in PER_SLICE:
                table[cell][name] = getattr(now.kpis, name)[row].tolist()
    return table
