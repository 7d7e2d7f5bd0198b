"""Synthetic masks."""

import numpy as np
import pytest

from slicing_rllib.inputs.traces import TracedNetwork
from slicing_rllib.radio import SyntheticMask

TARGET = TracedNetwork(
    cells=("cell_1", "cell_2"),
    cell_ids=("cell_1", "cell_2"),
    slices=("video", "voice"),
    users=(32, 32),
    rate_kbps=(100.0, 100.0),
    step_s=1.0,
)


def sample_mask(mask: SyntheticMask, seed: int = 0, steps: int = 400) -> np.ndarray:
    bound = mask.bind(TARGET, seed)
    return np.stack([bound.at_step(step) for step in range(steps)])


def test_without_ripple_all_slices_and_cells_have_the_same_wave():
    values = sample_mask(SyntheticMask(low=0.2, high=0.7))
    assert np.ptp(values, axis=(1, 2)).max() == 0
    assert values.min() == pytest.approx(0.2, abs=1e-3)
    assert values.max() == pytest.approx(0.7, abs=1e-3)
    assert values[:200] == pytest.approx(values[200:])


def test_ripple_differs_between_slices_and_stays_within_bounds():
    values = sample_mask(SyntheticMask(low=0.0, high=1.0, ripple=0.2))
    assert np.array_equal(values[:, 0], values[:, 1])
    assert np.abs(values[:, 0, 0] - values[:, 0, 1]).max() > 0.1
    assert values.min() >= 0
    assert values.max() <= 1


def test_cells_can_have_different_phases():
    values = sample_mask(SyntheticMask(cell_spread=1.0, ripple=0.1, cells_ripple_apart=True))
    assert np.abs(values[:, 0] - values[:, 1]).max() > 0.1


def test_the_seed_determines_the_phase_of_the_wave():
    assert not np.array_equal(sample_mask(SyntheticMask(), 0), sample_mask(SyntheticMask(), 1))
    assert np.array_equal(sample_mask(SyntheticMask(), 1), sample_mask(SyntheticMask(), 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": 0.5, "high": 0.4}, "mask: expected low <= high, got 0.5 and 0.4"),
        ({"high": 1.2}, r"high\n.*less than or equal to 1 "),
        ({"period_steps": 0}, r"period_steps\n.*greater than 0 "),
        ({"ripple": -0.1}, r"ripple\n.*equal to 0 "),
    ],
)
def test_out_of_range_settings_raise_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        SyntheticMask(**settings)


def test_cells_can_have_different_levels_and_turns():
    """The second cell has half the mask, a quarter of its period of 200 steps earlier."""
    values = sample_mask(
        SyntheticMask(low=0.2, high=0.6, cell_levels=(1.0, 0.5), cell_turns=(0.0, 0.25))
    )
    assert values[:350, 1] == pytest.approx(0.5 * values[50:, 0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell_levels": ()}, r"cell_levels\n.*at least 1 item"),
        ({"cell_turns": ()}, r"cell_turns\n.*at least 1 item"),
        ({"cell_levels": (1.0, -0.1)}, r"cell_levels.1\n.*equal to 0 "),
    ],
)
def test_invalid_levels_and_turns_raise_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        SyntheticMask(**settings)
