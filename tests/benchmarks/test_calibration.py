"""The simulator gives the known answers; CDFs of small drops, and the files of references."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.benchmarks import calibration
from slicing_rllib.benchmarks.rows import is_within_tolerance
from slicing_rllib.radio import make_scenario
from slicing_rllib.runs.config_loading import load_config


@pytest.mark.parametrize(
    "compare", [calibration.compare_closed_forms, calibration.compare_path_loss]
)
def test_every_value_is_within_tolerance(compare):
    rows = list(compare())
    assert rows
    assert [row for row in rows if not is_within_tolerance(row)] == []


def make_reference_text() -> str:
    header = "percentile,coupling_gain_db_1_element,geometry_db_1_element"
    header += ",coupling_gain_db_10_elements,geometry_db_10_elements"
    return "\n".join([header, *(f"{p},-100,5,-100,5" for p in range(0, 101, 5))])


@pytest.fixture
def reference(tmp_path):
    path = tmp_path / "reference.csv"
    path.write_text(make_reference_text())
    return calibration.read_reference(path)


def test_rows_cover_every_5_percent_of_both_arrays(reference, monkeypatch):
    monkeypatch.setattr(calibration, "N_UES", 500)
    rows = list(calibration.compare_drop_cdfs(make_scenario("tr36873_uma"), reference))
    assert len(rows) == 2 * 2 * 19
    assert {row["expected"] for row in rows} == {-100.0, 5.0}
    assert max(row["tolerance"] for row in rows) == 1.7


def test_the_figure_shows_both_quantities_of_both_arrays_with_their_reference(
    reference, monkeypatch
):
    monkeypatch.setattr(calibration, "N_UES", 200)
    panels = calibration.draw_cdfs(make_scenario("tr36873_uma"), reference).axes
    assert [axes.get_xlabel() for axes in panels] == ["coupling gain, dB", "geometry, dB"]
    for axes, expected_db in zip(panels, (-100.0, 5.0), strict=True):
        labels = [line.get_label() for line in axes.lines]
        assert labels == [
            f"{source}, {array}"
            for array in ("1_element", "10_elements")
            for source in ("simulator", "TR 36.873")
        ]
        simulated, points = axes.lines[:2]
        assert (np.diff(simulated.get_xdata()) >= 0).all()
        assert set(points.get_xdata()) == {expected_db}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            make_reference_text().replace("geometry_db_1_element", "geometry"),
            "'geometry_db_1_element'",
        ),
        (
            make_reference_text().replace("\n5,", "\n6,"),
            r"column percentile: expected 0, 5 \.\.\. 100",
        ),
        ("a,b\n1\n", "expected a readable CSV file"),
    ],
)
def test_a_bad_reference_is_refused_in_one_line(tmp_path, text, complaint):
    path = tmp_path / "reference.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint) as refusal:
        calibration.read_reference(path)
    assert "\n" not in str(refusal.value)


def test_a_missing_reference_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.csv: expected a readable"):
        calibration.read_reference(tmp_path / "gone.csv")


def test_a_scenario_without_a_column_antenna_is_refused():
    with pytest.raises(ValueError, match="expected a column antenna"):
        calibration.make_drop(make_scenario("paper"), 10)


@pytest.fixture
def umi(tmp_path):
    """TR 36.873's 3D-UMi, 200 m and 10 m, as settings of a config."""
    path = tmp_path / "umi.yaml"
    path.write_text(
        "scenario:\n"
        "  like: tr36873_uma\n"
        "  layout: {site_distance_m: 200, mast: {height_m: 10}}\n"
        "  radio: {environment: tr36873_umi, min_distance_m: 10}\n"
    )
    return load_config(str(path)).scenario


def test_another_layout_needs_only_a_config(umi, reference, monkeypatch):
    monkeypatch.setattr(calibration, "N_UES", 3000)
    measured = {row["name"]: row["value"] for row in calibration.compare_drop_cdfs(umi, None)}
    compared = list(calibration.compare_drop_cdfs(umi, reference))
    assert [row["value"] for row in compared] == list(measured.values())
    # Masts are closer: the median UE receives 10 dB more than the -111 dB of TR 36.873's UMa.
    assert measured["calibration.tr36873.coupling_gain.1_element.p50"] > -101


def test_the_geometry_is_finite_where_upper_floors_are_above_the_mast(umi, monkeypatch):
    monkeypatch.setattr(calibration, "N_UES", 2000)
    drop = calibration.make_drop(replace(umi, indoor=replace(umi.indoor, min_floors=8)), 10)
    assert np.isfinite(drop.geometry_db).all()


def test_the_small_torus_has_a_higher_geometry(monkeypatch):
    monkeypatch.setattr(calibration, "N_UES", 4000)

    rows = {
        row["name"][-3:]: row for row in calibration.compare_torus_geometry(make_scenario("paper"))
    }

    assert set(rows) == {"p05", "p50", "p95"}
    assert 0.5 < rows["p50"]["value"] - rows["p50"]["reference_value"] < 2.0
    assert rows["p05"]["value"] > rows["p05"]["reference_value"]


def test_another_layout_is_refused():
    with pytest.raises(ValueError, match="expected a hexagonal grid"):
        list(calibration.compare_torus_geometry(make_scenario("tr36873_uma")))
