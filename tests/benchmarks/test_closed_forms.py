"""The simulator gives the known answers, and so does each published path loss."""

import pytest

from slicing_rllib.benchmarks.calibration import compare_closed_forms, compare_path_loss
from slicing_rllib.benchmarks.rows import is_within_tolerance


@pytest.mark.parametrize("compare", [compare_closed_forms, compare_path_loss])
def test_every_value_is_within_tolerance(compare):
    rows = list(compare())
    assert rows
    assert [row for row in rows if not is_within_tolerance(row)] == []
