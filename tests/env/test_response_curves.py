"""Levels, the split with the highest common level, and the observation that curves read."""

import itertools

import numpy as np
import pytest

from slicing_rllib.env import SlicingEnv
from slicing_rllib.env.response_curves import (
    GRID,
    LOWEST_LEVEL,
    extrapolate_levels,
    find_max_min_shares,
    replace_sla,
    service_levels,
    split_by_curves,
)
from slicing_rllib.radio import make_scenario


@pytest.fixture
def env():
    env = SlicingEnv(make_scenario("paper"), observation="response")
    env.reset_batched(1)
    return env


def test_equal_curves_give_equal_shares_and_a_needier_slice_gets_more():
    """Levels log(a / .4), log(a / .4) and log(a / .8) are equal at shares of 1/4, 1/4 and 1/2."""
    levels = np.log(GRID / np.array([0.4, 0.4, 0.8])[:, None])

    assert find_max_min_shares(np.array([levels])) == pytest.approx(
        np.array([[0.25, 0.25, 0.5]]), abs=2e-3
    )


def test_what_is_left_above_the_cap_is_divided_in_proportion():
    """Levels log(a / .1) and log(a / .2) reach the cap .05 at shares of .105 and .21: 1 to 2."""
    levels = np.log(GRID / np.array([0.1, 0.2])[:, None])

    assert find_max_min_shares(np.array([levels])) == pytest.approx(
        np.array([[1 / 3, 2 / 3]]), abs=2e-3
    )


def test_levels_say_how_far_throughput_and_delay_are_from_the_sla_of_the_observation(env):
    """Half the required throughput is log .5, a quarter of it too; the delay counts if worse."""
    scenario, obs = env.scenario, env.reset_batched().obs
    half, twice = 0.5 * scenario.sla_throughput_mbps, 2.0 * scenario.sla_delay_ms

    levels = service_levels(obs, np.concatenate([half, scenario.sla_delay_ms], axis=1))
    assert levels == pytest.approx(np.log(0.5), abs=1e-5)
    levels = service_levels(obs, np.concatenate([0.1 * half, twice], axis=1))
    assert levels == pytest.approx(LOWEST_LEVEL)
    levels = service_levels(obs, np.concatenate([2.0 * half, twice], axis=1))
    assert levels == pytest.approx(np.log(0.5), abs=1e-5)


def test_the_reward_is_that_of_the_lowest_level(env):
    batched = env.reset_batched()
    after = env.step_batched(np.ones((12, 4), np.float32))
    levels = service_levels(batched.obs, after.reward_inputs).min(axis=1)

    inside = levels > LOWEST_LEVEL
    assert inside.any()
    assert np.exp(levels[inside]).clip(max=1) == pytest.approx(after.reward[inside], rel=1e-4)


def test_an_observation_with_another_sla_is_that_of_a_cell_with_that_sla(env):
    """Cells 1 and 4 have different SLAs; nothing else in an observation depends on them."""
    obs, scenario = env.reset_batched().obs, env.scenario
    sla = scenario.sla_throughput_mbps[3], scenario.sla_delay_ms[3]

    replaced = replace_sla(obs[:1], *sla)

    assert not np.array_equal(obs[0], replaced[0])
    assert np.array_equal(replaced[0, :8], obs[3, :8])
    assert np.array_equal(replaced[0, 8:], obs[0, 8:])


def test_without_having_learned_levels_grow_with_the_logarithm_of_the_share(env):
    features = env.reset_batched().obs.reshape(12, -1, 4).swapaxes(1, 2).astype(float)
    applied = np.log(env.kpis.prb_ratio + 0.01)

    same, more = (extrapolate_levels(features, applied + step) for step in (0.0, 0.01))

    measured = env.reset_batched()
    reward_inputs = np.concatenate([env.kpis.throughput_mbps, env.kpis.delay_ms], axis=1)
    assert same == pytest.approx(service_levels(measured.obs, reward_inputs), abs=0.02)
    inside = (same > LOWEST_LEVEL) & (same < 0.39)
    assert (more - same)[inside] == pytest.approx(0.01, abs=1e-6)


def test_splits_are_valid_and_do_not_depend_on_the_order_of_slices(env):
    rng, obs = np.random.default_rng(0), env.reset_batched().obs.astype(float)
    widths = (obs.shape[1] // 4 + 1, 8, 1)
    layers = [
        (rng.normal(0, 0.3, (12, 2, out, fan)), rng.normal(0, 0.3, (12, 2, out)))
        for fan, out in itertools.pairwise(widths)
    ]
    order = np.array([2, 0, 3, 1])
    shuffled = obs.reshape(12, -1, 4)[:, :, order].reshape(12, -1)

    split = split_by_curves(layers, obs, 4)

    assert split.sum(axis=1) == pytest.approx(1.0)
    assert (split >= 0.0125).all()
    assert split_by_curves(layers, shuffled, 4) == pytest.approx(split[:, order])
