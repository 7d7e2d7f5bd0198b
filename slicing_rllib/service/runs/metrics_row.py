"""A row of `metrics.jsonl`: the numbers of one iteration, which metrics and live page show too."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slicing_rllib.env import satisfaction
from slicing_rllib.evaluation.statistics import SATISFIED
from slicing_rllib.learning import TD3
from slicing_rllib.learning.sampled_env import Step
from slicing_rllib.radio import Phase, Scenario
from slicing_rllib.service.runs.algorithm import NetworkState
from slicing_rllib.service.runs.evaluation import CurvePoint
from slicing_rllib.service.runs.learning_service import compute_fail_rate
from slicing_rllib.service.runs.same_steps import compute_same_step_rewards


def make_metrics_row(
    algorithm: TD3,
    scenario: Scenario,
    now: NetworkState | None,
    *,
    time_s: float,
    evaluated: CurvePoint | None,
    references: Mapping[str, CurvePoint],
) -> dict[str, Any]:
    """Rewards, losses and KPIs averaged over the iteration's network steps.

    Only phases and loads are those after its last step. `now` is None where no env runner answers;
    then the row has neither, and without a step no reward. `time_s` is the training
    time so far, `evaluated` the point of the learning curve where it has one here, and `references`
    what known policies get on the traffic of that curve.
    """
    learned = algorithm.last_iteration
    sizes = dict(zip(algorithm.cells, algorithm.replay.size.tolist(), strict=True))
    kpis = _collect_kpis(scenario, algorithm.last_steps, now)
    exploring = dict(
        zip(algorithm.cells, (algorithm.cell_states.exploration_left > 0).tolist(), strict=True)
    )
    cells = {
        cell: {
            **kpis.get(cell, {}),
            **learned["cells"].get(cell, {}),
            "replay_size": sizes[cell],
            "exploring": exploring[cell],
        }
        for cell in algorithm.cells
    }
    row = {
        "iteration": algorithm.iteration,
        "env_steps": algorithm.env_steps,
        "steps": len(algorithm.last_steps),
        "updates": algorithm.updates,
        "time_s": round(time_s, 3),
        "reward_mean": learned["reward_mean"] if algorithm.last_steps else None,
        "fail_rate_95": compute_fail_rate(algorithm, scenario),
        "same_steps": compute_same_step_rewards(algorithm),
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


def _collect_kpis(
    scenario: Scenario, steps: Sequence[Step], now: NetworkState | None
) -> dict[str, dict[str, Any]]:
    """By cell: its phase and load after the iteration's last step, and means over its steps."""
    table: dict[str, dict[str, Any]] = {cell: {} for cell in scenario.cells}
    for row, cell in enumerate(scenario.cells if now is not None else ()):
        assert now is not None
        table[cell]["phase"] = Phase(int(now.phase[row])).name.lower()
        if now.phase[row] != Phase.OFF:
            table[cell]["load"] = now.kpis.load[row].tolist()
    if steps:
        for cell, means in _average_steps(scenario, steps).items():
            table[cell] |= means
    return table


def _average_steps(scenario: Scenario, steps: Sequence[Step]) -> dict[str, dict[str, Any]]:
    """Means over the steps in which a cell was on the air, for each cell that was."""
    live = np.stack([step.live for step in steps])
    outcome = np.stack([step.transitions.outcome for step in steps]).astype(np.float64)
    throughput_mbps, delay_ms = np.split(outcome, 2, axis=2)
    satisfied = satisfaction(throughput_mbps, scenario.sla_throughput_mbps)
    prb_ratio = np.stack([step.transitions.action for step in steps]).astype(np.float64)
    per_slice = {"throughput_mbps": throughput_mbps, "delay_ms": delay_ms, "prb_ratio": prb_ratio}
    return {
        cell: {
            "satisfaction": float(satisfied[on, row].mean()),
            "fail_rate_95": float((satisfied[on, row] < SATISFIED).mean()),
            **{name: values[on, row].mean(axis=0).tolist() for name, values in per_slice.items()},
        }
        for row, cell in enumerate(scenario.cells)
        for on in [live[:, row]]
        if on.any()
    }
