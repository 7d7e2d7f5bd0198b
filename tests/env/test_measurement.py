"""Measurement errors: fixed per slice, or new in every step; never in the reward."""

import numpy as np
import pytest

from slicing_rllib.env import Measurement, MeasurementError, SlicingEnv
from slicing_rllib.radio import make_scenario


@pytest.fixture(scope="module")
def kpis():
    env = SlicingEnv(make_scenario("paper"))
    env.reset_batched(1)
    return env.kpis


def test_a_fixed_error_is_the_same_in_every_step(kpis):
    scenario = make_scenario("paper")
    exact = Measurement(scenario)(kpis, 0)
    wrong = Measurement(scenario, MeasurementError(needed_share=0.3))
    factors = [
        wrong(kpis, step).needed / np.where(exact.needed > 0, exact.needed, 1) for step in (0, 9)
    ]

    assert np.array_equal(*factors)
    assert np.std(np.log(factors[0][exact.needed > 0])) == pytest.approx(0.3, abs=0.1)
    assert np.array_equal(wrong(kpis, 0).offered, exact.offered)


def test_noise_is_a_function_of_the_step(kpis):
    noisy = Measurement(make_scenario("paper"), MeasurementError(kpi_noise=0.1))

    assert np.array_equal(noisy(kpis, 4).offered, noisy(kpis, 4).offered)
    assert not np.array_equal(noisy(kpis, 4).offered, noisy(kpis, 5).offered)


def test_rewards_do_not_know_of_measurement_errors():
    def rewards(error):
        env = SlicingEnv(make_scenario("paper"), measurement_error=error)
        env.reset_batched(2)
        split = np.full((12, 4), 0.25, np.float32)
        return np.stack([env.step_batched(split).reward for _ in range(5)])

    assert np.array_equal(rewards(None), rewards(MeasurementError(kpi_noise=0.2, needed_share=0.6)))


def test_negative_errors_are_refused():
    with pytest.raises(ValueError, match=r"kpi_noise\n.*equal to 0 "):
        MeasurementError(kpi_noise=-0.1)
