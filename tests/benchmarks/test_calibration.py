"""Calibration: small parts of it, and the files it reads and writes."""

from dataclasses import replace

import numpy as np
import pytest
from slicing_rllib.benchmarks.tolerance import checked, within

from slicing_rllib.benchmarks import calibration, closed_forms
from slicing_rllib.radio import built_in
from slicing_rllib.service.config import load_config


def test_path_loss_points():
    for row in calibration.path_loss_rows():
        assert within(row), row


def test_closed_forms():
    for row in closed_forms.rows():
        assert within(row), row


def reference_text() -> str:
    header = "percentile,coupling_gain_db_1_element,geometry_db_1_element"
    header += ",coupling_gain_db_10_elements,geometry_db_10_elements"
    return "\n".join([header, *(f"{p},-100,5,-100,5" for p in range(0, 101, 5))])


def test_cdf_rows_cover_every_5_percent_of_both_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "N_UES", 500)
    path = tmp_path / "reference.csv"
    path.write_text(reference_text())
    reference = calibration.read_reference(path)
    rows = list(calibration.cdf_rows(built_in("tr36873_uma"), reference))
    assert len(rows) == 2 * 2 * 19
    assert {row["expected"] for row in rows} == {-100.0, 5.0}
    assert max(row["tolerance"] for row in rows) == 1.7


def test_a_picture_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "N_UES", 200)
    path = tmp_path / "reference.csv"
    path.write_text(reference_text())
    calibration.draw(
        built_in("tr36873_uma"), calibration.read_reference(path), tmp_path / "cdf.png"
    )
    assert (tmp_path / "cdf.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (reference_text().replace("geometry_db_1_element", "geometry"), "'geometry_db_1_element'"),
        (reference_text().replace("\n5,", "\n6,"), r"column percentile: expected 0, 5 \.\.\. 100"),
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
        next(calibration.rows(reference_csv=tmp_path / "gone.csv"))


def test_only_column_antennas_have_elements():
    with pytest.raises(ValueError, match="expected a column antenna"):
        calibration.drop_of(built_in("paper"), 10)


def test_a_checked_row_says_how_far_off_it_is():
    row = checked("x", 2.2, "dB", 2.0, 0.1, "somebody")
    assert row["ratio"] == pytest.approx(1.1)
    assert not within(row)
    assert np.isnan(checked("x", 1.0, "dB", 0.0, 0.1, "somebody")["ratio"])


@pytest.fixture
def umi(tmp_path):
    """TR 36.873's 3D-UMi, 200 m and 10 m: only settings of a config."""
    path = tmp_path / "umi.yaml"
    path.write_text(
        "scenario:\n"
        "  like: tr36873_uma\n"
        "  layout: {site_distance_m: 200, mast: {height_m: 10}}\n"
        "  radio: {environment: tr36873_umi, min_distance_m: 10}\n"
    )
    return load_config(str(path)).scenario


def test_another_layout_is_calibrated_by_config_alone(umi, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "N_UES", 3000)
    reference = tmp_path / "reference.csv"
    reference.write_text(reference_text())
    free = {row["name"]: row["value"] for row in calibration.setup_rows(umi, None)}
    held = list(calibration.setup_rows(umi, reference))
    assert [row["value"] for row in held] == list(free.values())
    assert all("expected" in row for row in held)
    # Nearer masts: the median UE hears 10 dB more than on TR 36.873's UMa, where it is -111 dB.
    assert free["calibration.tr36873.coupling_gain.1_element.p50"] > -101


def test_masts_lower_than_floors_look_up_at_ues(umi, monkeypatch):
    """At 10 m, upper floors are above the mast: that must not break the geometry."""
    monkeypatch.setattr(calibration, "N_UES", 2000)
    drop = calibration.drop_of(replace(umi, indoor=replace(umi.indoor, min_floors=8)), 10)
    assert np.isfinite(drop.geometry_db).all()
