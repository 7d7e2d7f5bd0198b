"""The reward of eq. (2), satisfaction and the closed-form split, with values by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slicing_rllib.env.rewards import (
    invert_served_share,
    max_min_split,
    satisfaction,
    slice_reward,
)
from slicing_rllib.radio.kpis import served_share


@pytest.mark.equation(2)
def test_the_worst_slice_determines_the_reward():
    """3 of 4 Mbit/s give .75; 2.5 ms where 2 ms are allowed give .8; the minimum is .75."""
    reward = slice_reward(
        np.array([3.0, 9.0]), np.array([1.0, 2.5]), np.array([4.0, 3.0]), np.array([3.0, 2.0])
    )

    assert reward == pytest.approx(0.75)


@pytest.mark.equation(2)
def test_the_reward_is_inversely_proportional_to_delay():
    """Twice the allowed delay halves the reward."""
    reward = slice_reward(np.array([9.0]), np.array([4.0]), np.array([1.0]), np.array([2.0]))

    assert reward == pytest.approx(0.5)


@pytest.mark.equation(2)
def test_more_than_the_sla_gives_no_additional_reward():
    assert slice_reward(
        np.array([[40.0]]), np.array([[0.1]]), np.array([[4.0]]), np.array([[3.0]])
    ) == pytest.approx([1.0])


def test_a_delay_of_zero_meets_every_sla():
    assert slice_reward(
        np.array([2.0]), np.array([0.0]), np.array([1.0]), np.array([1.0])
    ) == pytest.approx(1.0)


@given(
    st.lists(st.floats(0, 100), min_size=4, max_size=4),
    st.lists(st.floats(0.01, 100), min_size=4, max_size=4),
)
def test_reward_never_exceeds_satisfaction(throughput, delay):
    """Satisfaction ignores delay and is therefore an upper bound."""
    phi, sla = np.array(throughput), np.array([4.0, 3.0, 2.0, 1.0])

    reward = slice_reward(phi, np.array(delay), sla, np.ones(4))

    assert 0 <= reward <= satisfaction(phi, sla) <= 1


shares = arrays(np.float64, (1, 4), elements=st.floats(1e-4, 1.0))
loads = arrays(np.float64, (1, 4), elements=st.floats(0.0, 0.6))


def compute_level(split, required, needed):
    """Minimum over slices of served share / needed share, at most 1."""
    return min((served_share(split, required) / needed).min(), 1.0)


@given(shares, loads)
def test_invert_served_share_is_the_inverse_of_served_share(share, required):
    served = served_share(share, required)

    assert invert_served_share(served, required) == pytest.approx(share)


def test_slices_that_cannot_both_meet_their_sla_get_the_same_level():
    """Loads of .2 and .1 leave .7; needs of 1 and .75 are met to .7 / 1.75 = .4."""
    required, needed = np.array([[0.2, 0.1]]), np.array([[1.0, 0.75]])

    split = max_min_split(required, needed)

    assert split == pytest.approx(np.array([[0.6, 0.4]]))
    assert compute_level(split, required, needed) == pytest.approx(0.4)


def test_the_rest_of_the_carrier_is_divided_in_proportion():
    """Needs of .3 and .1 without load give shares of .75 and .25."""
    split = max_min_split(np.zeros((1, 2)), np.array([[0.3, 0.1]]))

    assert split == pytest.approx(np.array([[0.75, 0.25]]))


def test_without_ues_shares_are_equal():
    assert max_min_split(np.zeros((1, 4)), np.zeros((1, 4))) == pytest.approx(0.25)


def test_a_slice_without_ues_gets_no_share_while_another_needs_it():
    split = max_min_split(np.array([[0.5, 0.0]]), np.array([[0.9, 0.0]]))

    assert split == pytest.approx(np.array([[1.0, 0.0]]))


@given(arrays(np.float64, (1, 4), elements=st.floats(0.0, 2.0)), shares, st.integers(0, 2**32 - 1))
def test_no_random_split_beats_the_closed_form(required, needed, seed):
    best = compute_level(max_min_split(required, needed), required, needed)

    for split in np.random.default_rng(seed).dirichlet(np.ones(4), 64):
        assert compute_level(split[None], required, needed) <= best + 1e-9


@given(arrays(np.float64, (1, 4), elements=st.floats(0.0, 2.0)), shares)
def test_shares_are_non_negative_with_a_sum_of_one(required, needed):
    split = max_min_split(required, needed)

    assert (split >= 0.0).all()
    assert split.sum(axis=1) == pytest.approx(1.0)
