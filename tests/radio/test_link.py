"""Spectral efficiency at SINRs where it can be calculated by hand."""

import numpy as np
import pytest

from slicing_rllib.radio.link import CQI_TABLE, LINKS

SHANNON, CQI = LINKS["shannon"], LINKS["cqi"]
SINR = 10 ** (np.linspace(-30, 60, 500) / 10)


def test_the_shannon_curve_gives_0_6_bit_per_s_and_hz_at_0_db():
    assert SHANNON.continuous_efficiency(np.array([1.0])) == pytest.approx(0.6)


def test_the_shannon_curve_has_a_cap_and_a_floor():
    """Cap 4.4; floor 0.6 log2(1.1) = 0.0825."""
    assert SHANNON.continuous_efficiency(np.array([1e9, 1e-9])) == pytest.approx(
        [4.4, 0.0825], abs=1e-4
    )


def test_a_cqi_gives_bits_per_resource_element_and_not_per_hertz():
    """CQI 15 at 25 % overhead: 5.5547 x 168 / 180 x 0.75 = 3.888 bit/s/Hz."""
    assert CQI.reported_efficiency(np.array([1e4])) == pytest.approx(3.888, abs=1e-3)
    assert pytest.approx(3.888, abs=1e-3) == CQI.peak


def test_a_cqi_applies_from_its_threshold_on():
    sinr = 10 ** ((CQI_TABLE[7, 0] + np.array([-0.01, 0.01])) / 10)
    below, above = CQI.reported_efficiency(sinr) / (168 / 180 * 0.75)
    assert (below, above) == pytest.approx((1.4766, 1.9141))


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_efficiency_increases_with_sinr_but_more_slowly(link):
    """The load fixed point is unique because the curve rises and curve / SINR falls."""
    efficiency = link.continuous_efficiency(SINR)
    assert (np.diff(efficiency) >= 0).all()
    assert (np.diff(efficiency / SINR) < 0).all()
    assert (np.diff(link.reported_efficiency(SINR)) >= 0).all()
    assert link.reported_efficiency(SINR).max() == pytest.approx(link.peak)
