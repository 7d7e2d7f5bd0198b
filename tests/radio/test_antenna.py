"""Antenna patterns at angles that can be read off."""

import numpy as np
import pytest

from slicing_rllib.radio.antenna import ColumnAntenna, SectorAntenna


def gain(antenna, azimuth_deg, depression_deg, tilt_deg=0.0):
    return antenna.gain_db(np.array([azimuth_deg]), np.array([depression_deg]), tilt_deg)[0]


def test_a_sector_has_full_gain_at_boresight_and_3_db_less_at_half_its_beamwidth():
    assert gain(SectorAntenna(), 0.0, 8.0, 8.0) == pytest.approx(14)
    assert gain(SectorAntenna(), 35.0, 8.0, 8.0) == pytest.approx(11)
    assert gain(SectorAntenna(), 0.0, 13.0, 8.0) == pytest.approx(11)


def test_a_sector_never_falls_below_its_front_to_back_ratio():
    assert gain(SectorAntenna(), 180.0, 90.0) == pytest.approx(14 - 25)


def test_angles_wrap_around():
    assert gain(SectorAntenna(), 350.0, 0.0) == pytest.approx(gain(SectorAntenna(), -10.0, 0.0))


def test_an_element_loses_3_db_at_32_5_deg_and_30_at_most():
    element = ColumnAntenna(elements=1)
    assert gain(element, 0.0, 0.0) == pytest.approx(8)
    assert gain(element, 32.5, 0.0) == pytest.approx(5)
    assert gain(element, 0.0, -32.5) == pytest.approx(5)
    assert gain(element, 180.0, 60.0) == pytest.approx(8 - 30)


def test_ten_elements_add_10_db_where_they_point():
    column = ColumnAntenna(elements=10)
    element = ColumnAntenna(elements=1)
    assert gain(column, 0.0, 12.0, 12.0) == pytest.approx(gain(element, 0.0, 12.0) + 10)


def test_a_column_has_its_first_null_where_theory_says():
    """Half a wavelength apart, ten elements: null where sin(depression) = 2 / 10."""
    null_deg = np.degrees(np.arcsin(0.2))
    assert gain(ColumnAntenna(), 0.0, null_deg) < -60
