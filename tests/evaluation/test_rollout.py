"""Rollouts are paired by their seed and record what the environment returned."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.env import SlicingEnv
from slicing_rllib.evaluation import rollout
from slicing_rllib.policies.baselines import Baseline
from slicing_rllib.radio import TraceMask, make_scenario


@pytest.fixture(scope="module")
def env():
    return SlicingEnv(make_scenario("paper"), episode_steps=5, default_seed=0)


def test_a_rollout_continues_over_the_end_of_episodes(env):
    run = rollout(env, Baseline("equal", env.scenario), 12, seed=1)

    assert run.reward.shape == (12, 12)
    assert run.live.all()
    assert run.prb_ratio == pytest.approx(0.25)
    assert run.delay_max_ms == pytest.approx(run.delay_ms.max(axis=2))
    assert (run.reward <= run.satisfaction + 1e-6).all()


def test_equal_seeds_give_equal_rollouts(env):
    first, second = (rollout(env, Baseline("equal", env.scenario), 8, seed=2) for _ in range(2))

    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_all_policies_meet_the_same_traffic(env):
    """Demand does not depend on the split, which paired comparisons rely on."""
    demands = []
    for name in ("equal", "traffic_aware"):
        rollout(env, Baseline(name, env.scenario), 8, seed=3)
        demands.append(env.simulator.demand_mbps)

    assert np.array_equal(*demands)


def test_a_rollout_knows_the_hour_of_each_step(tmp_path):
    """Half-hourly rows from 23:00 on; a reset plays the first: 23, 0, 0, and 23 again."""
    scenario = make_scenario("paper")
    times = ("23:00", "23:30", "00:00", "00:30")
    lines = [
        f"2024-01-0{1 + (time < '12')} {time},{slice_name},0.5"
        for time in times
        for slice_name in [spec.name for spec in scenario.slices]
    ]
    path = tmp_path / "day.csv"
    path.write_text("time,slice,value\n" + "\n".join(lines) + "\n")
    mask = TraceMask(path=str(path), timezone="UTC", speed=1800.0)
    env = SlicingEnv(scenario=replace(scenario, mask=mask))
    run = rollout(env, Baseline("equal", env.scenario), 4, seed=1)

    assert run.hour.tolist() == [23, 0, 0, 23]
    assert (run.active_ues > 0).all()
