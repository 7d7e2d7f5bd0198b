"""Numbers that a reader can redo in the head."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicing_rllib.evaluation.transfer_statistics import (
    area,
    chosen_gain,
    jumpstart,
    learning_regret,
    negative_transfer_rate,
    rank_correlation,
    selection_regret,
    time_to_threshold,
    transfer_ratio,
)

STEPS = [0, 10, 20]


def test_jumpstart_is_the_difference_at_the_start():
    assert jumpstart(np.array([0.8, 0.9]), np.array([0.5, 0.9])) == pytest.approx(0.3)


def test_area_is_the_mean_height():
    """0 to 1 in ten steps, then 1: half for the first half."""
    assert area(STEPS, np.array([0.0, 1.0, 1.0])) == 0.75


def test_transfer_ratio_counts_the_area_gained():
    assert transfer_ratio(STEPS, np.ones(3), np.array([0.5, 0.5, 0.5])) == 1.0


def test_a_threshold_counts_only_once_it_is_kept():
    """Above at once, below again at step 10, for good from step 20."""
    assert time_to_threshold(STEPS, np.array([0.9, 0.7, 0.9]), 0.8) == (20.0, False)
    assert time_to_threshold(STEPS, np.array([0.9, 0.9, 0.9]), 0.8) == (0.0, False)
    assert time_to_threshold(STEPS, np.array([0.9, 0.9, 0.7]), 0.8) == (20.0, True)


def test_regret_of_learning_adds_up_what_was_missed():
    assert learning_regret(STEPS, np.array([0.5, 0.5, 0.5]), 1.0) == 10.0


def test_nearer_is_better_or_worse_or_neither():
    distance = np.array([1.0, 2.0, 3.0])

    assert rank_correlation(distance, np.array([0.3, 0.2, 0.1])) == pytest.approx(1.0)
    assert rank_correlation(distance, np.array([0.1, 0.2, 0.3])) == pytest.approx(-1.0)
    assert math.isnan(rank_correlation(distance, np.zeros(3)))


def test_regret_of_choosing_the_nearest():
    """The nearest gains 0.2, the best 0.5; two nearest share theirs."""
    gain = np.array([0.2, 0.5, 0.1])

    assert selection_regret(np.array([1.0, 2.0, 3.0]), gain) == pytest.approx(0.3)
    assert chosen_gain(np.array([1.0, 1.0, 3.0]), gain) == pytest.approx(0.35)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=9), st.integers(0, 99))
def test_regret_is_never_negative(gains, seed):
    gain = np.array(gains)
    distance = np.random.default_rng(seed).uniform(size=len(gain))

    assert selection_regret(distance, gain) >= 0


def test_negative_transfer_rate():
    assert negative_transfer_rate(np.array([-0.1, 0.0, 0.2, -0.3])) == 0.5
