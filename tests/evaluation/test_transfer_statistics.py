"""Statistics of source choices, with numbers that a reader can redo in the head."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicing_rllib.evaluation.statistics import (
    chosen_gain,
    negative_transfer_rate,
    rank_correlation,
    selection_regret,
)


def test_correlation_is_one_where_every_nearer_source_gains_more():
    distance = np.array([1.0, 2.0, 3.0])

    assert rank_correlation(distance, np.array([0.3, 0.2, 0.1])) == pytest.approx(1.0)
    assert rank_correlation(distance, np.array([0.1, 0.2, 0.3])) == pytest.approx(-1.0)


def test_correlation_is_undefined_where_all_gains_are_equal():
    assert math.isnan(rank_correlation(np.array([1.0, 2.0, 3.0]), np.zeros(3)))


def test_regret_is_the_best_gain_minus_that_of_the_nearest_source():
    """The nearest source gains 0.2 and the best 0.5."""
    gain = np.array([0.2, 0.5, 0.1])

    assert selection_regret(np.array([1.0, 2.0, 3.0]), gain) == pytest.approx(0.3)


def test_the_gain_of_tied_sources_is_their_mean():
    """Gains of 0.2 and 0.5 at the same distance: 0.35."""
    gain = np.array([0.2, 0.5, 0.1])

    assert chosen_gain(np.array([1.0, 1.0, 3.0]), gain) == pytest.approx(0.35)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=9), st.integers(0, 99))
def test_regret_is_never_negative(gains, seed):
    gain = np.array(gains)
    distance = np.random.default_rng(seed).uniform(size=len(gain))

    assert selection_regret(distance, gain) >= 0


def test_a_gain_of_zero_is_no_negative_transfer():
    """Two of four gains are below zero."""
    assert negative_transfer_rate(np.array([-0.1, 0.0, 0.2, -0.3])) == 0.5
