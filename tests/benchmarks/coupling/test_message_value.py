"""A forecaster improves on persistence, and gains nothing from information that never changes."""

import numpy as np
import pytest

from slicing_rllib.benchmarks.coupling.message_value import (
    Forecaster,
    apply_persistence,
    fit_forecaster,
    make_inform,
    measure_message_value,
)
from slicing_rllib.radio import Simulator, make_scenario

STEPS = 60
SEED = 1


@pytest.fixture(scope="module")
def scenario():
    return make_scenario("paper")


@pytest.fixture(scope="module")
def without_message(scenario):
    return fit_forecaster(scenario, make_inform("none", scenario), (SEED,), steps=STEPS)


@pytest.fixture
def last_step(scenario):
    simulator = Simulator(scenario, SEED, map_seed=0)
    return simulator, simulator.step(np.ones((12, 4)))


def test_a_forecast_without_change_is_persistence(scenario, without_message, last_step):
    unchanged = Forecaster(scenario, without_message.inform, np.zeros_like(without_message.weights))
    np.testing.assert_array_equal(unchanged(*last_step), apply_persistence(scenario, *last_step))


def test_constant_information_changes_no_decision(scenario, without_message, last_step):
    """A feature that is always zero gets no weight."""
    informed = fit_forecaster(
        scenario, lambda _simulator, _kpis: np.zeros((12, 1)), (SEED,), steps=STEPS
    )
    np.testing.assert_allclose(informed(*last_step), without_message(*last_step), atol=1e-9)


def test_a_forecaster_earns_more_than_persistence(scenario):
    """On traffic that it was not fitted on; the gain over ten seeds is 0.035."""
    reward = measure_message_value(
        scenario, (0,), training_seeds=(SEED, SEED + 1), messages=(), steps=200
    )
    assert reward["none"][0] > reward["persistence"][0] + 0.01
