"""Measures of transfer, with numbers to redo in the head."""

import math

import numpy as np
import pytest

from slicing_rllib.evaluation import learning_curves as lc

STEPS = np.array([0, 10, 30])
SCRATCH = np.array([0.2, 0.4, 0.8])
TRANSFERRED = np.array([0.6, 0.8, 0.8])


def test_jumpstart_is_the_lead_before_any_update():
    assert lc.jumpstart(TRANSFERRED, SCRATCH) == pytest.approx(0.4)


def test_the_mean_over_steps_weighs_points_by_their_distance():
    """.3 for ten steps and .6 for twenty: .5."""
    assert lc.mean_over_steps(STEPS, SCRATCH) == pytest.approx(0.5)


def test_the_transfer_ratio_is_relative_to_scratch():
    """.7 for ten and .8 for twenty: .7667 against .5."""
    assert lc.transfer_ratio(STEPS, TRANSFERRED, SCRATCH) == pytest.approx(0.76667 / 0.5 - 1, 1e-4)


def test_in_the_end_both_are_the_same():
    assert lc.asymptotic_difference(TRANSFERRED, SCRATCH, 1) == 0.0
    assert lc.asymptotic_difference(TRANSFERRED, SCRATCH, 2) == pytest.approx(0.2)


def test_gain_at_equal_step_is_between_points():
    """At step 20: .8 against .6."""
    assert lc.gain_at(STEPS, TRANSFERRED, SCRATCH, 20) == pytest.approx(1 / 3)


def test_regret_adds_up_what_the_oracle_would_have_got_more():
    """.5 short on average for thirty steps."""
    assert lc.learning_regret(STEPS, SCRATCH, 1.0) == pytest.approx(15.0)


def test_a_seed_that_never_gets_there_is_censored():
    """Reached at 30, at 0 and never: the middle one takes 30 steps."""
    rewards = np.array([SCRATCH, TRANSFERRED + 0.2, SCRATCH / 2])

    assert lc.time_to_threshold(STEPS, rewards, 0.8) == (30.0, pytest.approx(1 / 3))


def test_half_censored_has_no_median():
    rewards = np.array([SCRATCH, SCRATCH / 2])

    assert lc.time_to_threshold(STEPS, rewards, 0.8) == (math.inf, 0.5)


def test_the_chosen_source_is_compared_with_the_best():
    assert lc.selection_regret(np.array([0.1, 0.3, -0.2]), 0) == pytest.approx(0.2)


def test_negative_transfer_is_a_loss_not_a_tie():
    assert lc.negative_transfer_rate(np.array([0.1, 0.0, -0.2, -0.1])) == 0.5


def test_steps_saved_pay_for_the_source():
    """8,500 less 4,000, less a quarter of the 8,500 that the source took."""
    assert lc.steps_saved(8500, 4000, 8500, 4) == pytest.approx(2375)
