"""Tests of a cell's own experience: for harm, and for a change in its environment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicing_rllib.transfer.guard import INITIAL_LOG_WEALTH, detect_drift, observe_losses
from slicing_rllib.transfer.transfer_settings import DriftSettings, GuardSettings

WINDOW = 200
DRIFT = DriftSettings(window_steps=WINDOW, alpha=0.05)


def is_harmful(losses, **settings):
    return observe_losses(losses, GuardSettings(**settings), INITIAL_LOG_WEALTH)[1]


def test_a_constant_loss_is_detected_within_a_few_steps():
    """A loss of 0.5 per step multiplies the wealth of the largest bet by 1.4 each time."""
    assert is_harmful([0.5] * 30)


def test_a_gain_is_never_reported_as_harm():
    assert not is_harmful([-0.05] * 5000)


def test_the_false_alarm_rate_is_at_most_alpha():
    """Losses with mean zero, tested at each of 300 steps, within the error of 200 repetitions."""
    rng = np.random.default_rng(0)
    alarms = [is_harmful(rng.uniform(-1, 1, 300), alpha=0.05) for _ in range(200)]

    assert np.mean(alarms) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_a_loss_within_the_margin_is_tolerated():
    losses = [0.1, 0.0] * 1000

    assert is_harmful(losses)
    assert not is_harmful(losses, margin=0.06)


@given(st.lists(st.floats(-1, 1), max_size=60), st.integers(0, 60))
def test_the_result_does_not_depend_on_how_steps_are_grouped(losses, cut):
    settings = GuardSettings()
    whole, alarmed = observe_losses(losses, settings, INITIAL_LOG_WEALTH)
    parts, first = observe_losses(losses[:cut], settings, INITIAL_LOG_WEALTH)
    resumed, second = observe_losses(losses[cut:], settings, parts)

    assert alarmed == (first or second)
    if not first:
        assert resumed == pytest.approx(whole)


@pytest.fixture
def algorithm(build):
    """Its replay is filled by the tests; it has made two windows of steps."""
    made = build()
    made.env_steps = 2 * WINDOW
    return made


def fill_replay(algorithm, shift):
    """Two windows of random observations of cell_1; the second is shifted."""
    rng = np.random.default_rng(0)
    empty = algorithm.replay.last("cell_1", 0)
    columns = [rng.standard_normal((2 * WINDOW, *c.shape[1:])).astype(np.float32) for c in empty]
    columns[0][WINDOW:] += shift
    algorithm.replay.seed("cell_1", empty._make(columns))


def test_a_change_is_detected_by_the_second_significant_test(algorithm):
    """Tests are a quarter of a window apart."""
    fill_replay(algorithm, shift=2.0)

    assert detect_drift(algorithm, "cell_1", DRIFT) == ""
    algorithm.env_steps += WINDOW // 4 - 1
    assert detect_drift(algorithm, "cell_1", DRIFT) == ""
    algorithm.env_steps += 1
    assert "differ from those before" in detect_drift(algorithm, "cell_1", DRIFT)
    assert algorithm.callback_state["drift"]["cell_1"] == {
        "next": algorithm.env_steps + 3 * WINDOW,
        "hits": 0,
    }


def test_equal_windows_are_no_change(algorithm):
    fill_replay(algorithm, shift=0.0)
    for _ in range(4):
        assert detect_drift(algorithm, "cell_1", DRIFT) == ""
        algorithm.env_steps += WINDOW


def test_a_window_of_zero_disables_the_test(algorithm):
    fill_replay(algorithm, shift=2.0)

    assert detect_drift(algorithm, "cell_1", DriftSettings()) == ""
    assert "drift" not in algorithm.callback_state
