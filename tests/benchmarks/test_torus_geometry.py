"""The small torus leaves out far interference, so its geometry is higher than that of 19 sites."""

import pytest

from slicing_rllib.benchmarks.calibration import compare_torus_geometry
from slicing_rllib.radio import make_scenario


def test_the_small_torus_has_a_higher_geometry(monkeypatch):
    monkeypatch.setattr("slicing_rllib.benchmarks.calibration.N_UES", 4000)

    rows = {row["name"][-3:]: row for row in compare_torus_geometry(make_scenario("paper"))}

    assert set(rows) == {"p05", "p50", "p95"}
    assert 0.5 < rows["p50"]["value"] - rows["p50"]["reference_value"] < 2.0
    assert rows["p05"]["value"] > rows["p05"]["reference_value"]


def test_another_layout_is_refused():
    with pytest.raises(ValueError, match="expected a hexagonal grid"):
        list(compare_torus_geometry(make_scenario("tr36873_uma")))
