"""WINNER+, TR 38.901 and TR 36.873 path loss against published values; line of sight; noise."""

import numpy as np
import pytest

from slicing_rllib.radio.propagation import RadioPath, noise_power_dbm
from slicing_rllib.registry import get_part, list_names

UMA_36873, UMA_38901, UMI_36873, UMI_38901, WINNER_B1, WINNER_C2 = (
    get_part("propagation", name).path_loss
    for name in (
        "tr36873_uma", "tr38901_uma", "tr36873_umi", "tr38901_umi", "winner_b1", "winner_c2"
    )
)  # fmt: skip

DISTANCES_M = np.array([100.0, 250.0, 500.0, 1000.0])
C2 = {"bs_height_m": 25.0, "ue_height_m": 1.5, "carrier_hz": 2.6e9}
B1 = {"bs_height_m": 10.0, "ue_height_m": 1.5, "carrier_hz": 2.6e9}


def test_c2_path_loss_with_line_of_sight():
    assert WINNER_C2.los_db(RadioPath(DISTANCES_M, **C2)) == pytest.approx(
        [85.30, 95.65, 104.61, 116.65], abs=0.05
    )


def test_c2_path_loss_without_line_of_sight():
    assert WINNER_C2.nlos_db(RadioPath(DISTANCES_M, **C2)) == pytest.approx(
        [107.56, 121.79, 132.54, 143.30], abs=0.05
    )


def test_b1_path_loss_with_line_of_sight():
    assert WINNER_B1.los_db(RadioPath(DISTANCES_M, **B1)) == pytest.approx(
        [80.70, 93.30, 105.34, 117.38], abs=0.05
    )


def test_breakpoint_distances_of_c2_and_b1():
    assert RadioPath(DISTANCES_M, **C2).breakpoint_m == pytest.approx(416, abs=0.5)
    assert RadioPath(DISTANCES_M, **B1).breakpoint_m == pytest.approx(156, abs=0.5)


def test_line_of_sight_is_certain_up_to_18_m_and_less_likely_beyond():
    los_probability = get_part("propagation", "winner_c2").los_probability
    assert los_probability(np.array([0.0, 10.0, 18.0])) == pytest.approx([1, 1, 1])
    assert np.all(np.diff(los_probability(np.linspace(18, 2000, 100))) < 0)


def test_noise_power_of_a_hundred_prbs():
    assert noise_power_dbm(100 * 180e3, 9.0) == pytest.approx(-92.45, abs=0.005)


HORIZONTAL_M = np.array([10.0, 100.0, 1000.0, 5000.0])
UMA = {"bs_height_m": 25.0, "ue_height_m": 1.5, "carrier_hz": 5e9}


def test_uma_agrees_with_the_values_of_the_ns3_test_suite():
    distance_m = np.hypot(HORIZONTAL_M, 23.5)
    assert UMA_38901.los_db(RadioPath(distance_m, **UMA)) == pytest.approx(
        [72.938, 86.2362, 109.7252, 137.6794], abs=0.05
    )
    assert UMA_38901.nlos_db(RadioPath(distance_m, **UMA)) == pytest.approx(
        [82.5131, 106.1356, 144.7641, 172.0753], abs=0.05
    )


@pytest.mark.parametrize("model", [UMA_38901, UMI_38901, UMA_36873, UMI_36873])
def test_loss_is_continuous_and_increases_with_distance(model):
    distance_m = np.linspace(30, 5000, 5000)
    for loss_db in (
        model.los_db(RadioPath(distance_m, **UMA)),
        model.nlos_db(RadioPath(distance_m, **UMA)),
    ):
        steps = np.diff(loss_db)
        assert (steps > 0).all()
        assert steps.max() < 1.0


@pytest.mark.parametrize("model", [UMA_38901, UMI_38901, UMA_36873])
def test_loss_without_line_of_sight_is_at_least_that_with_it(model):
    distance_m = np.linspace(10, 5000, 500)
    assert (
        model.nlos_db(RadioPath(distance_m, **UMA)) >= model.los_db(RadioPath(distance_m, **UMA))
    ).all()


def test_uma_36873_without_line_of_sight_at_one_kilometre():
    """161.04 - 9.237 + 9.758 - 30.757 + 6.021 - 0 + (-0.0), W = h = 20 m, 25 m mast, 2 GHz."""
    loss_db = UMA_36873.nlos_db(RadioPath(np.array([1000.0]), **C2 | {"carrier_hz": 2e9}))
    log_25 = np.log10(25.0)
    expected = 161.04 - 7.1 * np.log10(20) + 7.5 * np.log10(20)
    expected += -(24.37 - 3.7 * 0.64) * log_25 + 20 * np.log10(2)
    expected -= 3.2 * np.log10(17.625) ** 2 - 4.97
    assert loss_db == pytest.approx(expected)


@pytest.mark.parametrize("name", list_names("propagation"))
def test_line_of_sight_becomes_less_likely_with_distance(name):
    probability = get_part("propagation", name).los_probability(np.linspace(20, 2000, 50))
    assert (np.diff(probability) < 0).all()
    assert get_part("propagation", name).los_probability(np.array([15.0])) == pytest.approx([1.0])
