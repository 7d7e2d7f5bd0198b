"""WINNER+ path loss against values from the specification."""

import numpy as np
import pytest

from slicing_rllib.radio.propagation import (
    WINNER_B1,
    WINNER_C2,
    breakpoint_distance_m,
    los_probability,
    noise_power_dbm,
)

DISTANCES_M = np.array([100.0, 250.0, 500.0, 1000.0])
C2 = {"bs_height_m": 25.0, "ue_height_m": 1.5, "carrier_hz": 2.6e9}
B1 = {"bs_height_m": 10.0, "ue_height_m": 1.5, "carrier_hz": 2.6e9}


def test_c2_path_loss_with_line_of_sight():
    assert WINNER_C2.los_db(DISTANCES_M, **C2) == pytest.approx(
        [85.30, 95.65, 104.61, 116.65], abs=0.05
    )


def test_c2_path_loss_without_line_of_sight():
    assert WINNER_C2.nlos_db(DISTANCES_M, **C2) == pytest.approx(
        [107.56, 121.79, 132.54, 143.30], abs=0.05
    )


def test_b1_path_loss_with_line_of_sight():
    assert WINNER_B1.los_db(DISTANCES_M, **B1) == pytest.approx(
        [80.70, 93.30, 105.34, 117.38], abs=0.05
    )


def test_breakpoint_distances_of_c2_and_b1():
    assert breakpoint_distance_m(25, 1.5, 2.6e9) == pytest.approx(416, abs=0.5)
    assert breakpoint_distance_m(10, 1.5, 2.6e9) == pytest.approx(156, abs=0.5)


def test_line_of_sight_is_certain_up_to_18_m_and_less_likely_beyond():
    assert los_probability(np.array([0.0, 10.0, 18.0]), 63.0) == pytest.approx([1, 1, 1])
    assert np.all(np.diff(los_probability(np.linspace(18, 2000, 100), 63.0)) < 0)


def test_noise_power_of_a_hundred_prbs():
    assert noise_power_dbm(100 * 180e3, 9.0) == pytest.approx(-92.45, abs=0.005)
