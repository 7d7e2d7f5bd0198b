"""A row of `metrics.jsonl`: the numbers of one iteration, which metrics and live page show too.

Rewards in training swing with traffic, so they say little beside baselines on other traffic. What a
step measured gives the reward of any split in that step, with all neighbours as they were: a row
has the rewards that equal and best splits would have earned in the very steps of training.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from slicing_rllib.env import SplitReward, max_min_split, satisfaction
from slicing_rllib.evaluation.statistics import SATISFIED
from slicing_rllib.learning import TD3
from slicing_rllib.learning.sampled_env import Step
from slicing_rllib.radio import Phase, Scenario
from slicing_rllib.runs.policy_evaluation import CurvePoint

SPANS = (500, 1000)
"""Lengths, in environment steps, of the beginnings of a run that are summarised apart."""


def summarise_learning_service(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean reward and fail rate over the first 500, 1,000 and all steps, from `metrics.jsonl`.

    A span counts the iterations that end within it; one that no iteration reaches is left out.
    """
    # An iteration without a step, during an outage, has no reward.
    rows = [row for row in rows if row.get("reward_mean") is not None]
    summary: dict[str, dict[str, Any]] = {}
    for span in (*SPANS, None):
        inside = [row for row in rows if span is None or row["env_steps"] <= span]
        if not inside or (span is not None and rows[-1]["env_steps"] < span):
            continue
        ends = [row["env_steps"] for row in inside]
        numbers: dict[str, Any] = {"env_steps": ends[-1], "reward_mean": None, "fail_rate_95": None}
        for key in ("reward_mean", "fail_rate_95"):
            values = [row.get(key) for row in inside]
            if None not in values:
                weights = np.diff([0, *ends])
                numbers[key] = float(np.average(np.array(values, float), weights=weights))
        summary["all" if span is None else str(span)] = numbers
    return summary


def compute_same_step_rewards(algorithm: TD3) -> dict[str, float]:
    """Mean reward of equal and of best splits over the last iteration's (cell, step).

    A split is best for a cell while its neighbours keep theirs. Empty for an iteration without
    steps, or where splits cannot be compared.
    """
    steps: Sequence[Step] = algorithm.last_steps
    if not steps or not isinstance(algorithm.env.counterfactual, SplitReward):
        return {}
    live = np.stack([step.live for step in steps])
    inputs = np.stack([step.transitions.counterfactual_inputs for step in steps])
    inputs = inputs[live].astype(np.float64)
    if not len(inputs):
        return {}
    offered, needed = np.split(inputs, 2, axis=1)
    equal = np.full_like(offered, 1 / offered.shape[1])
    reward = algorithm.env.counterfactual.reward
    return {
        "equal": float(reward(inputs, equal).mean()),
        "best_split": float(reward(inputs, max_min_split(offered, needed)).mean()),
    }


NetworkState = tuple[Int[np.ndarray, " cell"], Float[np.ndarray, "cell slice"]]
"""Phases of the cells, and loads, of a network in training after its last step."""


def read_network_state(algorithm: TD3) -> NetworkState | None:
    """Of the driver's network or the first env runner's; None where no env runner answers."""
    if not algorithm.config.num_env_runners:
        return _read_state(algorithm)
    workers: Any = algorithm.env_runner_group
    views = workers.foreach_env_runner(_read_state, local_env_runner=False)
    return views[0] if views else None


def _read_state(owner: Any) -> NetworkState:
    """Of the network `env` of an algorithm or an env runner."""
    return owner.env.simulator.phase, owner.env.kpis.load


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
    learned, steps = algorithm.last_iteration, algorithm.last_steps
    fail_rate, service = _measure_service(scenario, steps)
    sizes = algorithm.replay.size.tolist()
    exploring = (algorithm.cell_states.exploration_left > 0).tolist()
    cells: dict[str, dict[str, Any]] = {}
    for index, cell in enumerate(scenario.cells):
        cells[cell] = {}
        if now is not None:
            phases, loads = now
            phase = Phase(int(phases[index]))
            cells[cell]["phase"] = phase.name.lower()
            if phase != Phase.OFF:
                cells[cell]["load"] = loads[index].tolist()
        cells[cell] |= service.get(cell, {}) | learned["cells"].get(cell, {})
        cells[cell] |= {"replay_size": sizes[index], "exploring": exploring[index]}
    row = {
        "iteration": algorithm.iteration,
        "env_steps": algorithm.env_steps,
        "steps": len(steps),
        "updates": algorithm.updates,
        "time_s": round(time_s, 3),
        "reward_mean": learned["reward_mean"] if steps else None,
        "fail_rate_95": fail_rate,
        "same_steps": compute_same_step_rewards(algorithm),
        "references": {name: float(p.rewards.mean()) for name, p in references.items()},
        "references_fail_rate_95": {name: p.fail_rate_95 for name, p in references.items()},
        "cells": cells,
    }
    if evaluated is None:
        return row
    for index, cell in enumerate(scenario.cells):
        cells[cell]["evaluation_reward"] = float(evaluated.rewards[index])
        if len(evaluated.by_seed) > 1:
            cells[cell]["evaluation_reward_by_seed"] = evaluated.by_seed[:, index].tolist()
    return row | {
        "evaluation_reward_mean": float(evaluated.rewards.mean()),
        "evaluation_fail_rate_95": evaluated.fail_rate_95,
    }


def _measure_service(
    scenario: Scenario, steps: Sequence[Step]
) -> tuple[float | None, dict[str, dict[str, Any]]]:
    """Share of all (cell, step) with a satisfaction below 0.95, and the means of each cell.

    Only steps in which a cell was on the air count; a cell without any has no means. Exploration
    and its noise are included: this is the service that cells got.
    """
    if not steps:
        return None, {}
    live = np.stack([step.live for step in steps])
    reward_inputs = np.stack([step.transitions.reward_inputs for step in steps]).astype(np.float64)
    throughput_mbps, delay_ms = np.split(reward_inputs, 2, axis=2)
    satisfied = satisfaction(throughput_mbps, scenario.sla_throughput_mbps)
    prb_ratio = np.stack([step.transitions.action for step in steps]).astype(np.float64)
    per_slice = {"throughput_mbps": throughput_mbps, "delay_ms": delay_ms, "prb_ratio": prb_ratio}
    fail_rate = float((satisfied[live] < SATISFIED).mean()) if live.any() else None
    return fail_rate, {
        cell: {
            "satisfaction": float(satisfied[on, index].mean()),
            "fail_rate_95": float((satisfied[on, index] < SATISFIED).mean()),
            **{name: values[on, index].mean(axis=0).tolist() for name, values in per_slice.items()},
        }
        for index, cell in enumerate(scenario.cells)
        for on in [live[:, index]]
        if on.any()
    }
