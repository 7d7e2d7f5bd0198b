"""Detection of a change in a cell's environment."""

import numpy as np
import pytest

from slicing_rllib.transfer.guard import DriftDetector
from slicing_rllib.transfer.transfer_settings import DriftSettings

WINDOW = 200
DETECTOR = DriftDetector(DriftSettings(window_steps=WINDOW, alpha=0.05))


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

    assert DETECTOR.detect(algorithm, "cell_1") == ""
    algorithm.env_steps += WINDOW // 4 - 1
    assert DETECTOR.detect(algorithm, "cell_1") == ""
    algorithm.env_steps += 1
    assert "differ from those before" in DETECTOR.detect(algorithm, "cell_1")
    assert algorithm.callback_state["drift"]["cell_1"] == {
        "next": algorithm.env_steps + 3 * WINDOW,
        "hits": 0,
    }


def test_equal_windows_are_no_change(algorithm):
    fill_replay(algorithm, shift=0.0)
    for _ in range(4):
        assert DETECTOR.detect(algorithm, "cell_1") == ""
        algorithm.env_steps += WINDOW


def test_a_window_of_zero_disables_the_test(algorithm):
    fill_replay(algorithm, shift=2.0)

    assert DriftDetector(DriftSettings()).detect(algorithm, "cell_1") == ""
    assert "drift" not in algorithm.callback_state
