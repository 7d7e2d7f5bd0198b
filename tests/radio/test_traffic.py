"""Synthetic masks, and masks from CSV files."""

import numpy as np
import pytest

from slicing_rllib.radio import SyntheticMask, TraceMask

CELLS = ("cell_1", "cell_2")
SLICES = ("video", "voice")


def sample_mask(mask: SyntheticMask, seed: int = 0, steps: int = 400) -> np.ndarray:
    bound = mask.bind(CELLS, SLICES, seed)
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


def write_trace(tmp_path, text: str) -> TraceMask:
    path = tmp_path / "mask.csv"
    path.write_text(text)
    return TraceMask(path=str(path))


def test_a_trace_by_slice_applies_to_all_cells_and_repeats(tmp_path):
    mask = write_trace(tmp_path, "step,voice,video\n0,0.1,0.2\n1,0.3,0.4\n").bind(CELLS, SLICES, 0)
    assert mask.at_step(0).tolist() == [[0.2, 0.1], [0.2, 0.1]]
    assert mask.at_step(3).tolist() == [[0.4, 0.3], [0.4, 0.3]]


def test_a_trace_by_cell_and_slice_applies_to_single_cells(tmp_path):
    header = "cell_1.video,cell_1.voice,cell_2.video,cell_2.voice"
    mask = write_trace(tmp_path, f"{header}\n0.1,0.2,0.3,1\n").bind(CELLS, SLICES, 0)
    assert mask.at_step(0).tolist() == [[0.1, 0.2], [0.3, 1.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "video,voice\n0.1,1.5\n",
            r"csv, line 2, column voice: expected a number in \[0, 1\]",
        ),
        ("video,voice\n0.1,0.2\n0.1,nan\n", "line 3, column voice: .* got 'nan'"),
        ("video,voice\n0.1,much\n", "line 2, column voice: .* got 'much'"),
        ("video,voice\n0.1\n", "line 2: expected 2 values, got 1"),
        ("video\n0.1\n", "line 1: expected a column 'voice'"),
        ("video,voice,fax\n0.1,0.2,0.3\n", "line 1: unknown column 'fax'"),
        ("cell_1.video\n0.1\n", "line 1: expected a column 'cell_1.voice'"),
        ("video,voice\n", "expected a header and at least one row"),
    ],
)
def test_an_invalid_trace_raises_a_one_line_error(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as error:
        write_trace(tmp_path, text).bind(CELLS, SLICES, 0)
    assert "\n" not in str(error.value)


def test_the_error_for_a_missing_trace_names_the_file(tmp_path):
    with pytest.raises(ValueError, match=r"mask trace .*gone.csv: expected a readable CSV file"):
        TraceMask(path=str(tmp_path / "gone.csv")).bind(CELLS, SLICES, 0)


@pytest.mark.parametrize(
    "settings",
    [{"low": 0.5, "high": 0.4}, {"high": 1.2}, {"period_steps": 0}, {"ripple": -0.1}],
)
def test_out_of_range_settings_raise_an_error(settings):
    with pytest.raises(ValueError, match="mask: "):
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
        ({"cell_levels": ()}, "at least one number in cell_levels"),
        ({"cell_turns": ()}, "at least one number in cell_levels and cell_turns"),
        ({"cell_levels": (1.0, -0.1)}, "cell_levels must not be negative"),
    ],
)
def test_invalid_levels_and_turns_raise_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        SyntheticMask(**settings)
