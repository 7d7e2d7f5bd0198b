"""Spectral efficiency at SINRs that can be checked by hand."""

import numpy as np
import pytest

from slicing_rllib.radio.link import CQI_TABLE, LINKS

SHANNON, CQI = LINKS["shannon"], LINKS["cqi"]
SINR = 10 ** (np.linspace(-30, 60, 500) / 10)


def test_shannon_at_0_db_is_six_tenths_of_a_bit():
    assert SHANNON.continuous(np.array([1.0])) == pytest.approx(0.6)


def test_shannon_is_capped_and_has_a_floor():
    """Cap 4.4; floor 0.6 log2(1.1) = 0.0825."""
    assert SHANNON.continuous(np.array([1e9, 1e-9])) == pytest.approx([4.4, 0.0825], abs=1e-4)


def test_cqi_counts_bits_per_resource_element_not_per_hertz():
    """CQI 15 at 25 % overhead: 5.5547 x 168 / 180 x 0.75 = 3.888 bit/s/Hz."""
    assert CQI.reported(np.array([1e4])) == pytest.approx(3.888, abs=1e-3)
    assert pytest.approx(3.888, abs=1e-3) == CQI.peak


def test_a_cqi_holds_from_its_threshold_on():
    sinr = 10 ** ((CQI_TABLE[7, 0] + np.array([-0.01, 0.01])) / 10)
    below, above = CQI.reported(sinr) / (168 / 180 * 0.75)
    assert (below, above) == pytest.approx((1.4766, 1.9141))


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_rates_grow_with_sinr_but_more_slowly(link):
    """That the curve rises and curve / SINR falls makes the load's fixed point unique."""
    efficiency = link.continuous(SINR)
    assert (np.diff(efficiency) >= 0).all()
    assert (np.diff(efficiency / SINR) < 0).all()
    assert (np.diff(link.reported(SINR)) >= 0).all()
    assert link.reported(SINR).max() == pytest.approx(link.peak)
