"""What a step's KPIs say about other splits, by hand and against the simulator's own answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicing_rllib.env import (
    Measurement,
    NumericalGradient,
    SlicingEnv,
    SplitReward,
    needed_share,
    offered_share,
)
from slicing_rllib.policies.oracles import needed_service
from slicing_rllib.radio import make_scenario

REWARD = SplitReward()
SHARES = st.floats(0.05, 0.6)


def test_offered_share_is_traffic_over_rate():
    """8 Mbit/s on a carrier where UEs get 1 / (0.025 s/Mbit) = 40 Mbit/s take a fifth of it."""
    assert offered_share(np.array([8.0]), np.array([0.025])) == pytest.approx(0.2)


def test_needed_share_below_saturation():
    """a = .5, S = .3 serve F = .2. Throughput is half of what is required: m = .4."""
    needed = needed_share(
        np.array([0.5]), np.array([0.3]), np.array([2.0]), np.array([1.0]),
        np.array([4.0]), np.array([3.0]),
    )  # fmt: skip

    assert needed == pytest.approx(0.4)


def test_a_slice_that_waits_without_being_served_needs_the_whole_carrier():
    """A throughput of 0 says nothing about how much would be enough."""
    one = np.ones((1, 1))
    needed = needed_share(0.5 * one, 0.2 * one, 0.0 * one, 9.0 * one, one, one)

    assert needed.tolist() == [[1.0]]


def test_needed_share_above_saturation():
    """a = .2, S = .4 serve F = .98 x .02 x .04 / .4 = .00196. Delay is 10 times too long: .0196."""
    needed = needed_share(
        np.array([0.2]), np.array([0.4]), np.array([5.0]), np.array([20.0]),
        np.array([4.0]), np.array([2.0]),
    )  # fmt: skip

    assert needed == pytest.approx(0.0196)


def test_a_slice_without_traffic_needs_nothing_and_one_that_got_nothing_needs_all():
    shares = needed_share(
        np.array([0.5, 0.0]), np.array([0.0, 0.3]), np.array([80.0, 0.0]), np.array([0.0, 100.0]),
        np.array([4.0, 4.0]), np.array([1.0, 1.0]),
    )  # fmt: skip

    assert shares.tolist() == [0.0, 1.0]


def test_the_worst_slice_makes_the_reward():
    """Slice 1: (.6 - .2) / .5 = .8; slice 2: (.4 - .1) / .2 = 1.5, so r = .8 and dr/da = (2, 0)."""
    counterfactual_inputs, action = np.array([0.2, 0.1, 0.5, 0.2]), np.array([0.6, 0.4])

    assert REWARD.reward(counterfactual_inputs, action) == pytest.approx(0.8)
    assert REWARD.reward_and_gradient(counterfactual_inputs, action)[1] == pytest.approx([2.0, 0.0])


def test_a_satisfied_cell_has_reward_one_and_no_gradient():
    counterfactual_inputs, action = np.array([0.1, 0.1, 0.2, 0.0]), np.array([0.5, 0.5])

    assert REWARD.reward(counterfactual_inputs, action) == 1.0
    assert not REWARD.reward_and_gradient(counterfactual_inputs, action)[1].any()


@given(offered=st.tuples(SHARES, SHARES, SHARES), needed=st.tuples(SHARES, SHARES, SHARES),
       action=st.tuples(SHARES, SHARES, SHARES))  # fmt: skip
def test_the_gradient_is_that_of_finite_differences(offered, needed, action):
    """Away from the kinks, where two slices are equally bad or one is just saturated."""
    counterfactual_inputs, share = np.array([*offered, *needed]), np.array(action)
    levels = np.sort(
        [REWARD.reward(np.array([offered[n], needed[n]]), share[n : n + 1]) for n in range(3)]
    )
    at_a_kink = np.diff(levels)[0] < 1e-2 or levels[0] > 0.99
    saturated = np.abs(np.array(offered) / share - 0.98) < 1e-2
    if at_a_kink or saturated.any():
        return

    _, exact = REWARD.reward_and_gradient(counterfactual_inputs, share)
    assert NumericalGradient(REWARD.reward, 1e-6).reward_and_gradient(counterfactual_inputs, share)[
        1
    ] == pytest.approx(exact, rel=1e-4, abs=1e-6)


@pytest.fixture(scope="module")
def steps(unchecked):
    """KPIs of 60 steps of the paper's network under random splits, many of them overloaded."""
    env = SlicingEnv(make_scenario("paper"), map_seed=0)
    env.reset_batched(5)
    rng = np.random.default_rng(0)
    taken = []
    for _ in range(60):
        split = rng.dirichlet(np.ones(4), len(env.cells)).astype(np.float32)
        before = env.simulator.state()
        batched = env.step_batched(split)
        taken.append((env.kpis, batched, before))
    return env, taken


def test_what_is_measured_equals_what_the_simulator_knows(steps):
    """Offered and needed shares to 1e-9, in overload too, while the delay is below its cap."""
    env, taken = steps
    scenario, measurement, overloaded = env.scenario, Measurement(env.scenario), 0
    for kpis, _, _ in taken:
        measured = measurement(kpis, 0)
        assert measured.offered == pytest.approx(kpis.required_share, abs=1e-9)
        uncapped = kpis.delay_ms < scenario.delay_cap_ms
        known = needed_service(kpis, scenario)
        assert measured.needed[uncapped] == pytest.approx(known[uncapped], abs=1e-9)
        overloaded += int((uncapped & (kpis.required_share > 0.98 * kpis.prb_ratio)).sum())
    assert overloaded > 50


def test_below_saturation_the_offered_share_is_the_load(steps):
    """Up to the tolerance of the simulator's fixed point."""
    _, taken = steps
    for kpis, _, _ in taken:
        stable = kpis.utilisation < 0.98
        assert kpis.load[stable] == pytest.approx(kpis.required_share[stable], abs=3e-3)


def test_the_applied_split_gets_the_reward_that_it_got(steps):
    env, taken = steps
    for kpis, batched, _ in taken:
        uncapped = (kpis.delay_ms < env.scenario.delay_cap_ms).all(axis=1)
        told = REWARD.reward(batched.counterfactual_inputs, batched.action)
        assert told[uncapped] == pytest.approx(batched.reward[uncapped], abs=2e-5)


def test_other_splits_get_the_simulators_answer_while_interference_is_held():
    """A cell that is alone in the network has no interference that could change."""
    paper = make_scenario("paper")
    env = SlicingEnv(paper, map_seed=0)
    env.reset_batched(3)
    for cell in env.cells[1:]:
        env.set_phase(cell, 0)
    env.step_batched(np.full((12, 4), 0.25, np.float32))
    rng = np.random.default_rng(1)
    for _ in range(10):
        other = rng.dirichlet(3 * np.ones(4), 12).astype(np.float32)
        expected = env.compute_rewards(other)[0]
        batched = env.step_batched(np.full((12, 4), 0.25, np.float32))
        told = REWARD.reward(batched.counterfactual_inputs[0], other[0] / other[0].sum())
        assert told == pytest.approx(expected, abs=2e-4)
