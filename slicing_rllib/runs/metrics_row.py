"""A row of `metrics.jsonl`: the numbers of one iteration, which metrics and live page show too.

Rewards in training swing with traffic, so they say little beside baselines on other traffic. What a
step measured gives the reward of any split in that step, with all neighbours as they were: a row
has the rewards that equal and best splits would have earned in the very steps of training.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slicing_rllib.env import SplitReward, max_min_split, satisfaction
from slicing_rllib.evaluation.statistics import SATISFIED
from slicing_rllib.learning import TD3
from slicing_rllib.learning.sampled_env import Step
from slicing_rllib.radio import Phase, Scenario
from slicing_rllib.runs.algorithm import NetworkState
from slicing_rllib.runs.policy_evaluation import CurvePoint

SPANS = (500, 1000)
"""Lengths, in environment steps, of the beginnings of a run that are summarised apart."""


def compute_fail_rate(algorithm: TD3, scenario: Scenario) -> float | None:
    """Share of the last iteration's (cell, step) with a satisfaction below 0.95; None without any.

    Exploration and its noise are included: this is the service that cells got.
    """
    if not algorithm.last_steps:
        return None
    reward_inputs = np.stack([step.transitions.reward_inputs for step in algorithm.last_steps])
    live = np.stack([step.live for step in algorithm.last_steps])
    throughput_mbps = reward_inputs[..., : scenario.n_slices].astype(np.float64)
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
    """Mean over environment steps; None where a row has no number."""
    values = [row.get(key) for row in rows]
    if any(value is None for value in values):
        return None
    steps = np.diff([0, *(row["env_steps"] for row in rows)])
    return float(np.average(np.array(values, float), weights=steps))


EQUAL, BEST = "equal", "best_split"
"""Equal shares, and the split that is best for a cell while its neighbours keep theirs."""


def compute_same_step_rewards(algorithm: TD3) -> dict[str, float]:
    """Mean reward of equal and of best splits over the last iteration's (cell, step).

    Empty for an iteration without steps, or where splits cannot be compared.
    """
    steps: Sequence[Step] = algorithm.last_steps
    if not steps or not isinstance(algorithm.env.counterfactual, SplitReward):
        return {}
    live = np.stack([step.live for step in steps])
    counterfactual_inputs = np.stack([step.transitions.counterfactual_inputs for step in steps])[
        live
    ].astype(np.float64)
    if not len(counterfactual_inputs):
        return {}
    offered, needed = np.split(counterfactual_inputs, 2, axis=1)
    splits = {
        EQUAL: np.full_like(offered, 1 / offered.shape[1]),
        BEST: max_min_split(offered, needed),
    }
    reward = algorithm.env.counterfactual.reward
    return {
        name: float(reward(counterfactual_inputs, split).mean()) for name, split in splits.items()
    }


def make_metrics_row(
    algorithm: TD3,
    scenario: Scenario,
    now: NetworkState | None,
    *,
    time_s: float,
    evaluated: CurvePoint | None,
    references: Mapping[str, CurvePoint],
) -> dict[str, Any]:
    """Rewards, losses and KPIs averaged over the iteration's environment steps.

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
    reward_inputs = np.stack([step.transitions.reward_inputs for step in steps]).astype(np.float64)
    throughput_mbps, delay_ms = np.split(reward_inputs, 2, axis=2)
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
