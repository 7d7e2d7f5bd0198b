"""Baselines, the fit of the best constant split, and the choice of a baseline by name."""

import numpy as np
import pytest

from slicing_rllib.env import DecisionView, SlicingEnv
from slicing_rllib.env.base_policies import divide_in_proportion
from slicing_rllib.policies.baselines import (
    BASELINES,
    Baseline,
    _search_split,
    fit_static,
    make_policy,
)
from slicing_rllib.registry import list_names


def test_shares_are_in_proportion_to_weights():
    """Weights of 3 and 1 give .75 and .25; weights of zero give equal shares."""
    shares = divide_in_proportion(np.array([[3.0, 1.0], [0.0, 0.0]]))

    assert shares == pytest.approx(np.array([[0.75, 0.25], [0.5, 0.5]]))


def test_the_base_policy_of_an_environment_is_the_baseline_of_the_same_name(scenario):
    """From exact measurements, over several steps in which the splits differ."""
    for name in list_names("base_policy"):
        env = SlicingEnv(scenario, observation="per_slice", base_policy=name)
        env.reset_batched(5)
        action = np.random.default_rng(0).dirichlet(8.0 * np.ones(4), (6, 12)).astype(np.float32)
        obs = [env.step_batched(own).obs for own in action][-1]
        split = Baseline(name, scenario).prb_ratio(
            DecisionView(obs, env.kpis, env.simulator, env.reports)
        )
        assert obs[:, -4:] == pytest.approx(np.log(split + 0.01), abs=1e-5)


def test_equal_gives_equal_shares(view, scenario):
    assert Baseline("equal", scenario).prb_ratio(view) == pytest.approx(0.25)


def test_traffic_aware_uses_the_demand_of_the_step_to_be_decided(view, scenario):
    shares = Baseline("traffic_aware", scenario).prb_ratio(view)
    demand = view.simulator.step(shares).demand_mbps

    assert shares == pytest.approx(demand / demand.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("name", ["persistence", "smoothed_persistence", "load_proportional"])
def test_rules_of_the_past_do_not_use_the_simulator(name, view, scenario):
    policy = Baseline(name, scenario)
    assert policy.prb_ratio(view._replace(simulator=None)).shape == (12, 4)


@pytest.mark.parametrize("name", BASELINES)
def test_the_shares_of_every_baseline_have_a_sum_of_one(name, view, scenario):
    policy = make_policy(name, scenario, np.random.default_rng(0), map_seed=0)

    shares = policy.prb_ratio(view)

    assert (shares >= 0.0).all()
    assert shares.sum(axis=1) == pytest.approx(1.0)


def test_an_unknown_baseline_raises_an_error_with_the_known_names(scenario):
    with pytest.raises(ValueError, match=r"expected one of equal.*got 'best'"):
        make_policy("best", scenario, np.random.default_rng(0), map_seed=0)


def test_the_search_finds_a_split_in_proportion_to_constant_needs():
    """Without load, shares of .6, .2, .133 and .067 just meet needs of these sizes."""
    needed = np.tile([0.6, 0.2, 0.133, 0.066], (3, 1))

    split = _search_split(np.zeros((3, 4)), needed, np.random.default_rng(1))

    assert np.min(split / needed[0]) > 0.9


@pytest.mark.slow
def test_equal_generators_give_equal_splits(scenario):
    splits = [fit_static(scenario, np.random.default_rng(4), map_seed=0).split for _ in range(2)]

    assert np.array_equal(*splits)
    assert splits[0].sum(axis=1) == pytest.approx(1.0)
