"""A row of metrics.jsonl: all its means are over the same steps."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from slicing_rllib.env import SplitReward
from slicing_rllib.radio import make_scenario
from slicing_rllib.runs.metrics_row import make_metrics_row

pytestmark = pytest.mark.usefixtures("unchecked")
SCENARIO = make_scenario("paper")


def make_step(level: float, *, cell_12_is_live: bool = True) -> Any:
    """Every slice gets `level` of its throughput SLA, at its delay SLA."""
    reward_inputs = np.concatenate(
        [level * SCENARIO.sla_throughput_mbps, SCENARIO.sla_delay_ms], axis=1
    )
    live = np.ones(12, bool)
    live[11] = cell_12_is_live
    action = np.full((12, 4), 0.25, np.float32)
    # One slice needs half of the carrier, the others a tenth each.
    inputs = np.tile([0.0, 0.0, 0.0, 0.0, 0.5, 0.1, 0.1, 0.1], (12, 1)).astype(np.float32)
    transitions = SimpleNamespace(
        reward_inputs=reward_inputs.astype(np.float32), action=action, counterfactual_inputs=inputs
    )
    return SimpleNamespace(transitions=transitions, live=live)


def make_row(*steps: Any) -> dict[str, Any]:
    algorithm: Any = SimpleNamespace(
        cells=SCENARIO.cells,
        env=SimpleNamespace(counterfactual=SplitReward()),
        last_steps=list(steps),
        last_iteration={"reward_mean": 0.8, "cells": {}},
        replay=SimpleNamespace(size=np.zeros(12, int)),
        cell_states=SimpleNamespace(exploration_left=np.array([5] + 11 * [0])),
        iteration=1,
        env_steps=len(steps),
        updates=0,
    )
    return make_metrics_row(algorithm, SCENARIO, None, time_s=1.0, evaluated=None, references={})


def test_kpis_are_means_over_the_iteration_and_not_its_last_step():
    """Steps at .6 and 1.0 of the SLA: satisfaction .8, and half of the steps below .95."""
    cell = make_row(make_step(0.6), make_step(1.0))["cells"]["cell_1"]
    assert cell["satisfaction"] == pytest.approx(0.8, abs=1e-6)
    assert cell["fail_rate_95"] == 0.5
    assert cell["throughput_mbps"] == pytest.approx(0.8 * SCENARIO.sla_throughput_mbps[0], rel=1e-6)
    assert cell["delay_ms"] == pytest.approx(SCENARIO.sla_delay_ms[0])
    assert cell["prb_ratio"] == [0.25] * 4


def test_steps_in_which_a_cell_is_off_do_not_count():
    cells = make_row(make_step(0.6, cell_12_is_live=False), make_step(1.0))["cells"]
    assert cells["cell_12"]["satisfaction"] == pytest.approx(1.0)
    cells = make_row(make_step(0.6, cell_12_is_live=False))["cells"]
    assert "satisfaction" not in cells["cell_12"]


def test_an_iteration_without_steps_has_no_kpis():
    row = make_row()
    assert row["fail_rate_95"] is None
    assert row["cells"]["cell_1"] == {"replay_size": 0, "exploring": True}
    assert row["cells"]["cell_2"] == {"replay_size": 0, "exploring": False}
    assert (row["reward_mean"], row["steps"], row["same_steps"]) == (None, 0, {})


def test_equal_and_best_splits_are_rated_on_the_same_steps():
    """A quarter for a slice that needs a half earns .5; the best split meets all needs."""
    rewards = make_row(make_step(0.6), make_step(1.0))["same_steps"]
    assert rewards == {"equal": pytest.approx(0.5), "best_split": pytest.approx(1.0)}
