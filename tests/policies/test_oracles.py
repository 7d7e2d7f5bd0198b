"""The oracle is a best response at given interference, and it does not change the simulator."""

import numpy as np
import pytest

from slicing_rllib.env import DecisionView, slice_reward
from slicing_rllib.policies.baselines import Baseline
from slicing_rllib.policies.oracles import best_response, needed_service
from slicing_rllib.radio.kpis import served_share


def test_no_random_split_beats_the_best_response(view, scenario):
    """At the rates under the first step's shares, against 200 random splits of every cell."""
    kpis = view.kpis
    needed = needed_service(kpis, scenario)

    def compute_level(split):
        served = served_share(split, kpis.required_share)
        return np.where(needed > 0, served / np.maximum(needed, 1e-12), 1.0).min(axis=1).clip(max=1)

    best = compute_level(best_response(kpis, scenario))

    for seed in range(200):
        split = np.random.default_rng(seed).dirichlet(np.ones(4), len(best))
        assert (compute_level(split) <= best + 1e-9).all()


def test_the_reward_is_one_if_and_only_if_all_slices_have_their_needed_service(view, scenario):
    """Cells meet their SLA exactly where served share >= needed share in all slices."""
    kpis = view.kpis
    served = served_share(kpis.prb_ratio, kpis.required_share)
    enough = (served >= needed_service(kpis, scenario)).all(axis=1)
    reward = slice_reward(
        kpis.throughput_mbps, kpis.delay_ms, scenario.sla_throughput_mbps, scenario.sla_delay_ms
    )

    assert np.array_equal(enough, reward >= 1.0)
    assert 0 < enough.sum() + (~enough).sum() == 12


def test_the_oracle_does_not_change_the_simulator(view, scenario):
    before = view.simulator.evaluate(view.kpis.prb_ratio)
    Baseline("oracle", scenario).prb_ratio(view)
    after = view.simulator.evaluate(view.kpis.prb_ratio)

    assert np.array_equal(before.throughput_mbps, after.throughput_mbps)


def test_the_oracle_is_at_a_nash_equilibrium_in_most_steps(env, scenario):
    """In at least 8 of 10 steps, no cell's best response differs from its split."""
    batched = env.reset_batched()
    equilibria = 0
    for _ in range(10):
        view = DecisionView(batched.obs, env.kpis, env.simulator)
        split = Baseline("oracle", scenario).prb_ratio(view)
        change = np.abs(best_response(env.simulator.evaluate(split), scenario) - split).max()
        equilibria += change < 5e-3
        batched = env.step_batched(split.astype(np.float32))

    assert equilibria >= 8


def test_each_metric_has_its_best_oracle(env, scenario):
    """Over the same 20 steps, no policy beats an oracle in the metric that it is made for."""
    names = ("oracle", "oracle_throughput", "oracle_delay", "equal", "traffic_aware")
    found = {name: run_steps(env, Baseline(name, scenario), scenario) for name in names}
    by_reward, by_satisfaction, by_delay = (
        sorted(found, key=lambda name, i=index: found[name][i]) for index in range(3)
    )

    assert by_reward[-1] == "oracle"
    assert by_satisfaction[-1] == "oracle_throughput"
    assert by_delay[0] == "oracle_delay"


def run_steps(env, policy, scenario):
    """Means over 20 steps and all cells: reward, the worst slice's satisfaction, largest delay."""
    batched, rows = env.reset_batched(5), []
    for _ in range(20):
        view = DecisionView(batched.obs, env.kpis, env.simulator)
        batched = env.step_batched(policy.prb_ratio(view).astype(np.float32))
        satisfaction = env.kpis.throughput_mbps / scenario.sla_throughput_mbps
        rows.append(
            (
                batched.reward.mean(),
                satisfaction.min(axis=1).clip(max=1.0).mean(),
                env.kpis.delay_ms.max(axis=1).mean(),
            )
        )
    return np.mean(rows, axis=0)


@pytest.mark.parametrize("name", ["oracle_o1", "oracle"])
def test_the_oracle_beats_equal_share(name, env, scenario):
    rewards = {}
    for decider in (Baseline(name, scenario), Baseline("equal", scenario)):
        batched = env.reset_batched(5)
        total = 0.0
        for _ in range(20):
            view = DecisionView(batched.obs, env.kpis, env.simulator)
            batched = env.step_batched(decider.prb_ratio(view).astype(np.float32))
            total += batched.reward.mean()
        rewards[decider.name] = total

    assert rewards[name] > rewards["equal"]
