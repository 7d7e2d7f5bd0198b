"""The share of the learnable gap, by hand."""

import json

import pytest

from slicing_rllib.storage.errors import RunError
from slicing_rllib.studies.results import read_ceiling_gain, summarise_learnable_gap


def test_the_share_is_the_gain_over_that_of_the_ceiling():
    """A gain of .015 where the ceiling gains .03: half, and so are the ends of the interval."""
    gain = {"reward_mean": {"mean": 0.015, "ci95": [0.012, 0.018]}}
    gap = summarise_learnable_gap(
        {"cf": {"less": {"traffic_aware": gain}}, "x": {"less": {}}}, 0.03
    )

    assert gap["closed"] == {"cf": {"mean": 0.5, "ci95": pytest.approx([0.4, 0.6])}}


def test_the_gain_of_the_ceiling_is_read_from_the_benchmarks_rows(tmp_path):
    path = tmp_path / "ceiling.jsonl"
    assert read_ceiling_gain(path) is None
    path.write_text(json.dumps({"name": "ceiling.reward", "value": 0.87, "reference_value": 0.84}))
    assert read_ceiling_gain(path) == pytest.approx(0.03)
    path.write_text("{}\n")
    with pytest.raises(RunError, match="expected the rows of bench ceiling --json"):
        read_ceiling_gain(path)
