"""The interval of a median ratio, and the row that reports it."""

import pytest

from slicing_rllib.benchmarks.telemetry import _find_median_interval, _make_rate_row


def test_the_interval_of_a_median_follows_the_binomial_distribution():
    """100 values: 50 -+ 1.96 * 10 / 2 is 40.2 to 59.8, rounded outwards."""
    assert _find_median_interval(100) == (40, 60)
    assert _find_median_interval(4) == (0, 3)


def test_the_median_of_the_turns_ratios_counts():
    """Ratios of 0.5, 1 and 2 have the median 1, although the medians are 20 and 10 steps/s."""
    row = _make_rate_row(on=[5.0, 20.0, 20.0], off=[10.0, 20.0, 10.0])
    assert row["ratio"] == pytest.approx(1.0)
    assert (row["value"], row["reference_value"]) == (20.0, 10.0)
    assert (row["ratio_low"], row["ratio_high"]) == (0.5, 2.0)
