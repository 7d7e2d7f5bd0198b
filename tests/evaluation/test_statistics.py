"""Statistics over seeds, with numbers that a reader can redo in the head."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicing_rllib.evaluation.rollout import Rollout
from slicing_rllib.evaluation.statistics import (
    chosen_gain,
    interquartile_mean,
    mean_interval,
    negative_transfer_rate,
    paired_difference,
    probability_of_improvement,
    rank_correlation,
    seed_metrics,
    selection_regret,
    summarise,
    summarise_gap,
    summarise_hours,
)


def make_rollout(reward, satisfaction=1.0, delay_ms=1.0, live=True):
    """A rollout of one step and two cells."""
    shape = (1, 2)
    slices = np.zeros((1, 2, 1))
    return Rollout(
        np.broadcast_to(np.asarray(reward, float), shape),
        np.broadcast_to(np.asarray(satisfaction, float), shape),
        np.broadcast_to(np.asarray(delay_ms, float), shape),
        np.broadcast_to(np.asarray(delay_ms, float), shape) / 2.0,
        np.broadcast_to(np.asarray(live), shape),
        slices,
        slices,
        slices,
        np.zeros(1),
        np.full(1, -1),
    )


def test_a_seed_is_averaged_over_cells_and_steps():
    """Rewards .4, .8; satisfaction .9, 1; delays 1 and 3 ms: .6, .95, half below .95, 2 ms."""
    metrics = seed_metrics(make_rollout([[0.4, 0.8]], [[0.9, 1.0]], [[1.0, 3.0]]))

    assert metrics == pytest.approx([0.6, 0.95, 0.5, 2.0])


def test_cells_that_are_off_do_not_count():
    metrics = seed_metrics(make_rollout([[0.4, 0.0]], [[1.0, 0.0]], live=[[True, False]]))

    assert metrics[:3] == pytest.approx([0.4, 1.0, 0.0])


def test_the_gap_closed_is_the_share_of_the_way_from_equal_to_oracle():
    """A policy at .8 is two thirds of the way from .6 to .9."""
    share, interval = summarise_gap(np.array([0.8]), np.array([0.6]), np.array([0.9]))

    assert share == pytest.approx(2 / 3)
    assert interval is None


def test_intervals_are_over_paired_seeds():
    """The policy is always .1 above equal and .1 below the oracle, so the interval has no width."""
    base = [0.5, 0.6, 0.8]
    rollouts = {
        "equal": [make_rollout(b) for b in base],
        "drl": [make_rollout(b + 0.1) for b in base],
        "oracle": [make_rollout(b + 0.2) for b in base],
    }
    summary = summarise(rollouts)["drl"]

    assert summary["oracle_gap_closed"] == pytest.approx(0.5)
    assert summary["ci95"]["oracle_gap_closed"] == pytest.approx((0.5, 0.5))
    assert summary["reward_mean"] == pytest.approx(0.7333, abs=1e-4)
    low, high = summary["ci95"]["reward_mean"]
    assert (low, high) == pytest.approx((0.7333 - 0.3795, 0.7333 + 0.3795), abs=1e-3)
    assert summary["seeds"] == 3


def test_one_seed_has_no_interval():
    summary = summarise({"drl": [make_rollout(0.5)]})["drl"]

    assert summary["ci95"]["reward_mean"] is None
    assert summary["oracle_gap_closed"] is None


def test_unpaired_seeds_are_refused():
    with pytest.raises(ValueError, match="expected as many seeds for every policy"):
        summarise({"a": [make_rollout(1)], "b": [make_rollout(1), make_rollout(1)]})


def test_the_interquartile_mean_drops_the_outer_quarters():
    assert interquartile_mean(np.array([0.0, 1.0, 3.0, 100.0])) == pytest.approx(2.0)


def test_the_spread_between_seeds_cancels_in_a_paired_difference():
    """Seeds differ by ten, policies by one on each seed: a difference of one without spread."""
    theirs = np.array([0.0, 10.0, 20.0])

    assert paired_difference(theirs + 1, theirs) == (1.0, (1.0, 1.0))


def test_a_tie_counts_as_half_an_improvement():
    """Better, equal, worse, better: 2.5 of 4."""
    ours, theirs = np.array([2.0, 1.0, 0.0, 5.0]), np.array([1.0, 1.0, 1.0, 1.0])

    assert probability_of_improvement(ours, theirs) == pytest.approx(0.625)


def test_without_a_gap_there_is_no_share_closed():
    """Equal shares are as good as the oracle: there is neither a share nor an interval."""
    same = np.array([0.5, 0.6])

    assert summarise_gap(same, same, same) == (None, None)


@pytest.mark.parametrize("n_seeds", [5, 10])
@pytest.mark.parametrize("skewed", [False, True])
def test_intervals_cover_the_mean_as_often_as_they_say(n_seeds, skewed):
    """4,000 experiments: the intervals cover the mean in 95 %, for a skewed law in 92 % or more."""
    rng = np.random.default_rng(0)
    shape = (4000, n_seeds)
    samples = rng.gamma(4.0, size=shape) / 4.0 if skewed else 1.0 + rng.normal(size=shape)
    covered = [low <= 1.0 <= high for low, high in map(mean_interval, samples)]

    assert np.mean(covered) == pytest.approx(0.95, abs=0.03 if skewed else 0.01)


def test_the_interval_of_a_share_of_a_gap_covers_it_too():
    """A policy two thirds of the way between two levels that differ from seed to seed."""
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(2000):
        start = rng.normal(0.5, 0.05, 10)
        gap = rng.normal(0.3, 0.03, 10)
        policy = start + 2 / 3 * gap + rng.normal(0.0, 0.01, 10)
        _, (low, high) = summarise_gap(policy, start, start + gap)
        covered.append(low <= 2 / 3 <= high)

    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


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


def _make_run(hours: list[int], rewards: list[float], ues: list[float]):
    """One cell on the air, and a step per entry."""
    column = np.array(rewards)[:, None]
    slices = np.zeros((len(hours), 1, 1))
    return Rollout(
        column, column, column, column, np.ones_like(column, bool), slices, slices, slices,
        np.array(ues), np.array(hours),
    )  # fmt: skip


def test_each_hour_has_the_mean_of_its_steps_and_the_busy_hour_has_most_ues():
    """Hour 8 has .4 and .6 with 10 and 20 UEs, hour 9 has .9 with 12: .5, .9, busy at 8."""
    hours = summarise_hours({"drl": [_make_run([8, 9, 8], [0.4, 0.9, 0.6], [10, 12, 20])]})

    assert hours is not None
    assert hours["busy_hour"] == 8
    assert {hour: row["drl"]["reward_mean"] for hour, row in hours["by_hour"].items()} == {
        "8": pytest.approx(0.5),
        "9": pytest.approx(0.9),
    }


def test_traffic_without_a_clock_has_no_hours():
    assert summarise_hours({"drl": [_make_run([-1, -1], [0.4, 0.9], [1, 1])]}) is None
    assert summarise_hours({}) is None
