"""Antenna gain at angles where it can be calculated by hand."""

import numpy as np
import pytest

from slicing_rllib.radio.antenna import ColumnAntenna, SectorAntenna


def gain(antenna, azimuth_deg, depression_deg, tilt_deg=0.0):
    return antenna.gain_db(np.array([azimuth_deg]), np.array([depression_deg]), tilt_deg)[0]


def test_gain_is_highest_at_boresight_and_3_db_lower_at_half_the_beamwidth():
    assert gain(SectorAntenna(), 0.0, 8.0, 8.0) == pytest.approx(14)
    assert gain(SectorAntenna(), 35.0, 8.0, 8.0) == pytest.approx(11)
    assert gain(SectorAntenna(), 0.0, 13.0, 8.0) == pytest.approx(11)


def test_gain_is_at_least_the_maximum_minus_the_front_to_back_ratio():
    assert gain(SectorAntenna(), 180.0, 90.0) == pytest.approx(14 - 25)


def test_azimuths_of_350_and_minus_10_degrees_have_the_same_gain():
    assert gain(SectorAntenna(), 350.0, 0.0) == pytest.approx(gain(SectorAntenna(), -10.0, 0.0))


def test_an_element_has_3_db_less_gain_at_32_5_deg_and_at_most_30_db_less():
    element = ColumnAntenna(elements=1)
    assert gain(element, 0.0, 0.0) == pytest.approx(8)
    assert gain(element, 32.5, 0.0) == pytest.approx(5)
    assert gain(element, 0.0, -32.5) == pytest.approx(5)
    assert gain(element, 180.0, 60.0) == pytest.approx(8 - 30)


def test_ten_elements_have_10_db_more_gain_than_one_in_the_tilt_direction():
    column = ColumnAntenna(elements=10)
    element = ColumnAntenna(elements=1)
    assert gain(column, 0.0, 12.0, 12.0) == pytest.approx(gain(element, 0.0, 12.0) + 10)


def test_the_first_null_of_a_column_is_where_array_theory_puts_it():
    """Ten elements half a wavelength apart have a null at sin(depression) = 2 / 10."""
    null_deg = np.degrees(np.arcsin(0.2))
    assert gain(ColumnAntenna(), 0.0, null_deg) < -60
