"""Throughput and delay of a slice as a processor-sharing queue."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicing_rllib.radio.kpis import SATURATION, packet_delay_ms, served_share

fractions = st.floats(0.0, 1.0)


def one(value: float) -> np.ndarray:
    return np.array([[value]])


def test_a_slice_at_half_utilisation_serves_with_half_its_share():
    """a = 0.4, S = 0.2: 0.4 (1 - 0.5) = 0.2."""
    assert served_share(one(0.4), one(0.2)) == pytest.approx(0.2)


def test_a_slice_with_twice_its_capacity_serves_with_a_hundredth_of_its_share():
    """g(2) = 0.0196 / 2 = 0.0098, a = 0.4: 0.00392."""
    assert served_share(one(0.4), one(0.8)) == pytest.approx(0.00392)


def test_the_delay_of_one_ue_is_that_of_a_single_server_queue():
    """12 kbit over 40 Mbit/s at a = 0.5, rho = 0.25: 12 / (20 x 0.75) = 0.8 ms."""
    served = served_share(one(0.5), one(0.125))
    assert packet_delay_ms(one(12.0), one(1 / 40), served, 100.0) == pytest.approx(0.8)


def test_the_served_share_is_continuous_at_saturation():
    below, above = (
        served_share(one(0.5), one(0.49 - 1e-12)),
        served_share(one(0.5), one(0.49 + 1e-12)),
    )
    assert below == pytest.approx(above)
    assert below == pytest.approx(0.5 * (1 - SATURATION))


@given(fractions, fractions, st.floats(0.0, 3.0))
def test_more_prbs_never_lower_the_served_share(share, more, required):
    low, high = sorted((share, more))
    assert served_share(one(high), one(required)) >= served_share(one(low), one(required))


@given(fractions, st.floats(0.0, 3.0), st.floats(0.0, 3.0))
def test_more_traffic_never_raises_the_served_share(share, required, other):
    low, high = sorted((required, other))
    assert served_share(one(share), one(high)) <= served_share(one(share), one(low))


def test_a_slice_without_prbs_has_no_service_and_the_highest_delay():
    served = served_share(one(0.0), one(0.3))
    assert served == 0
    assert packet_delay_ms(one(4.0), one(0.02), served, 100.0) == 100


def test_a_slice_without_ues_has_no_delay():
    served = served_share(one(0.0), one(0.0))
    assert packet_delay_ms(one(4.0), one(0.0), served, 100.0) == 0
