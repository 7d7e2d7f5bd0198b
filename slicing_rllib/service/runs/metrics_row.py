"""A row of `metrics.jsonl`: what an iteration did, for people, dashboards and the live page."""

from collections.abc import Mapping
from typing import Any

from slicing_rllib.env import satisfaction
from slicing_rllib.learning import TD3
from slicing_rllib.radio import Phase, Scenario
from slicing_rllib.service.runs.algorithm import NetworkNow

PER_SLICE = ("throughput_mbps", "delay_ms", "prb_ratio", "load")


def metrics_row(
    algorithm: TD3,
    scenario: Scenario,
    now: NetworkNow | None,
    *,
    time_s: float,
    evaluated: Mapping[str, float] | None,
    references: Mapping[str, float],
) -> dict[str, Any]:
    """Rewards and losses are means over the iteration, KPIs those of its last step."""
    learned = algorithm.last_iteration
    sizes = dict(zip(algorithm.cells, algorithm.replay.size.tolist(), strict=True))
    seen = {} if now is None else _kpis_by_cell(scenario, now)
    cells = {
        cell: {**seen.get(cell, {}), **learned["cells"].get(cell, {}), "replay_size": sizes[cell]}
        for cell in algorithm.cells
    }
    row = {
        "iteration": algorithm.iteration,
        "env_steps": algorithm.env_steps,
        "updates": algorithm.updates,
        "time_s": round(time_s, 3),
        "reward_mean": learned["reward_mean"],
        "references": dict(references),
        "cells": cells,
    }
    if evaluated is None:
        return row
    for cell, reward in evaluated.items():
        cells[cell]["evaluation_reward"] = reward
    return row | {"evaluation_reward_mean": sum(evaluated.values()) / len(evaluated)}


def _kpis_by_cell(scenario: Scenario, now: NetworkNow) -> dict[str, dict[str, Any]]:
    satisfied = satisfaction(now.kpis.throughput_mbps, scenario.sla_throughput_mbps)
    table = {}
    for row, cell in enumerate(scenario.cells):
        table[cell] = {"phase": Phase(int(now.phase[row])).name.lower()}
        if now.phase[row] != Phase.OFF:
            table[cell]["satisfaction"] = float(satisfied[row])
            for name in PER_SLICE:
                table[cell][name] = getattr(now.kpis, name)[row].tolist()
    return table
