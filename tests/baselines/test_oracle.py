"""The oracle is optimal against the interference it answers, and looking changes nothing."""

import numpy as np
import pytest

from slicing_rllib.baselines import Equal, Oracle, OracleO1
from slicing_rllib.baselines.closed_form import needed_service
from slicing_rllib.baselines.oracle import best_response
from slicing_rllib.env import DecisionView, slice_reward
from slicing_rllib.radio.queueing import served_share


def test_no_random_split_beats_the_best_response(view, scenario):
    """Rates as realised under equal shares; 200 random splits of every cell."""
    kpis = view.kpis
    needed = needed_service(kpis, scenario)

    def worst(split):
        served = served_share(split, kpis.required_share)
        return np.where(needed > 0, served / np.maximum(needed, 1e-12), 1.0).min(axis=1).clip(max=1)

    best = worst(best_response(kpis, scenario))

    for _ in range(200):
        split = np.random.default_rng(_).dirichlet(np.ones(4), len(best))
        assert (worst(split) <= best + 1e-9).all()


def test_needed_service_is_where_the_reward_becomes_one(view, scenario):
    """KPIs of a cell meet both requirements exactly where served share >= needed share."""
    kpis = view.kpis
    served = served_share(kpis.prb_ratio, kpis.required_share)
    enough = (served >= needed_service(kpis, scenario)).all(axis=1)
    reward = slice_reward(
        kpis.throughput_mbps, kpis.delay_ms, scenario.sla_throughput_mbps, scenario.sla_delay_ms
    )

    assert np.array_equal(enough, reward >= 1.0)
    assert 0 < enough.sum() + (~enough).sum() == 12


def test_looking_ahead_changes_nothing(view, scenario):
    before = view.simulator.evaluate(view.kpis.prb_ratio)
    Oracle(scenario).prb_ratio(view)
    after = view.simulator.evaluate(view.kpis.prb_ratio)

    assert np.array_equal(before.throughput_mbps, after.throughput_mbps)


def test_the_oracle_stands_at_a_nash_point(env, scenario):
    """On steps where rounds solve_load_fixed_point, no cell gains by moving alone."""
    columns = env.reset_columns()
    fixed_point = 0
    for _ in range(10):
        view = DecisionView(columns.obs, env.kpis, env.simulator)
        split = Oracle(scenario).prb_ratio(view)
        moved = np.abs(best_response(env.simulator.evaluate(split), scenario) - split).max()
        fixed_point += moved < 5e-3
        columns = env.step_columns(split.astype(np.float32))

    assert fixed_point >= 8


@pytest.mark.parametrize("policy", [OracleO1, Oracle])
def test_the_oracle_beats_equal_share(policy, env, scenario):
    rewards = {}
    for name, player in (("oracle", policy(scenario)), ("equal", Equal())):
        columns = env.reset_columns(5)
        total = 0.0
        for _ in range(20):
            view = DecisionView(columns.obs, env.kpis, env.simulator)
            columns = env.step_columns(player.prb_ratio(view).astype(np.float32))
            total += columns.reward.mean()
        rewards[name] = total

    assert rewards["oracle"] > rewards["equal"]
