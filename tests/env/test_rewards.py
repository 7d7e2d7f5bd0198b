"""The reward of eq. (2) and satisfaction, with values by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicing_rllib.env.rewards import satisfaction, slice_reward


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
