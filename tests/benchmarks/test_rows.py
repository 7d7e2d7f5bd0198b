"""Rows with an expected value, and their table."""

import numpy as np
import pytest

from slicing_rllib.benchmarks.rows import (
    compare_with_expected,
    is_within_tolerance,
    make_benchmark_table,
    make_row,
)


def test_a_value_outside_the_tolerance_is_recognised():
    """2.2 dB instead of 2.0 dB: a ratio of 1.1, and more than 0.1 dB off."""
    row = compare_with_expected("x", 2.2, "dB", 2.0, 0.1, "reference")
    assert row["ratio"] == pytest.approx(1.1)
    assert not is_within_tolerance(row)
    assert is_within_tolerance(row | {"tolerance": 0.3})


def test_an_expected_value_of_zero_has_no_ratio():
    assert np.isnan(compare_with_expected("x", 1.0, "dB", 0.0, 0.1, "reference")["ratio"])


def test_the_table_shows_further_columns_and_whether_values_are_within_tolerance():
    rows = [
        make_row("speed", 2.0, "steps/s", cells=12),
        compare_with_expected("loss", 2.2, "dB", 2.0, 0.1, "reference"),
        compare_with_expected("loss", 2.0, "dB", 2.0, 0.1, "reference"),
    ]
    columns = {c.header: list(c.cells) for c in make_benchmark_table(rows).columns}
    assert columns["cells"] == ["12", "", ""]
    assert columns["within"] == ["", "NO", "yes"]
