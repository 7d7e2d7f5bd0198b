"""Masks: drawn, and read from CSV files."""

import numpy as np
import pytest

from slicing_rllib.radio import SyntheticMask, TraceMask

CELLS = ("cell_1", "cell_2")
SLICES = ("video", "voice")


def series(mask: SyntheticMask, seed: int = 0, steps: int = 400) -> np.ndarray:
    bound = mask.bound(CELLS, SLICES, seed)
    return np.stack([bound.at(step) for step in range(steps)])


def test_without_ripple_all_slices_and_cells_share_one_wave():
    values = series(SyntheticMask(low=0.2, high=0.7))
    assert np.ptp(values, axis=(1, 2)).max() == 0
    assert values.min() == pytest.approx(0.2, abs=1e-3)
    assert values.max() == pytest.approx(0.7, abs=1e-3)
    assert values[:200] == pytest.approx(values[200:])


def test_ripple_is_a_slices_own_and_stays_within_bounds():
    values = series(SyntheticMask(low=0.0, high=1.0, ripple=0.2))
    assert np.array_equal(values[:, 0], values[:, 1])
    assert np.abs(values[:, 0, 0] - values[:, 0, 1]).max() > 0.1
    assert values.min() >= 0
    assert values.max() <= 1


def test_cells_can_be_out_of_step():
    values = series(SyntheticMask(cell_spread=1.0, ripple=0.1, cells_ripple_apart=True))
    assert np.abs(values[:, 0] - values[:, 1]).max() > 0.1


def test_the_wave_begins_where_the_seed_says():
    assert not np.array_equal(series(SyntheticMask(), 0), series(SyntheticMask(), 1))
    assert np.array_equal(series(SyntheticMask(), 1), series(SyntheticMask(), 1))


def trace(tmp_path, text: str) -> TraceMask:
    path = tmp_path / "mask.csv"
    path.write_text(text)
    return TraceMask(path=str(path))


def test_a_trace_by_slice_is_that_of_all_cells_and_repeats(tmp_path):
    mask = trace(tmp_path, "step,voice,video\n0,0.1,0.2\n1,0.3,0.4\n").bound(CELLS, SLICES, 0)
    assert mask.at(0).tolist() == [[0.2, 0.1], [0.2, 0.1]]
    assert mask.at(3).tolist() == [[0.4, 0.3], [0.4, 0.3]]


def test_a_trace_by_cell_and_slice(tmp_path):
    header = "cell_1.video,cell_1.voice,cell_2.video,cell_2.voice"
    mask = trace(tmp_path, f"{header}\n0.1,0.2,0.3,1\n").bound(CELLS, SLICES, 0)
    assert mask.at(0).tolist() == [[0.1, 0.2], [0.3, 1.0]]


@pytest.mark.parametrize(
    ("text", "complaint"),
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
def test_a_bad_trace_is_refused_in_one_line(tmp_path, text, complaint):
    with pytest.raises(ValueError, match=complaint) as refusal:
        trace(tmp_path, text).bound(CELLS, SLICES, 0)
    assert "\n" not in str(refusal.value)


def test_a_missing_trace_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"mask trace .*gone.csv: expected a readable CSV file"):
        TraceMask(path=str(tmp_path / "gone.csv")).bound(CELLS, SLICES, 0)


@pytest.mark.parametrize(
    "settings",
    [{"low": 0.5, "high": 0.4}, {"high": 1.2}, {"period_steps": 0}, {"ripple": -0.1}],
)
def test_impossible_masks_cannot_be_built(settings):
    with pytest.raises(ValueError, match="mask: "):
        SyntheticMask(**settings)


def test_cells_can_be_busier_and_earlier_than_others():
    """Half the mask, and a quarter of a period of 200 steps earlier."""
    values = series(
        SyntheticMask(low=0.2, high=0.6, cell_levels=(1.0, 0.5), cell_turns=(0.0, 0.25))
    )
    assert values[:350, 1] == pytest.approx(0.5 * values[50:, 0])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"cell_levels": ()}, "at least one number in cell_levels"),
        ({"cell_turns": ()}, "at least one number in cell_levels and cell_turns"),
        ({"cell_levels": (1.0, -0.1)}, "cell_levels must not be negative"),
    ],
)
def test_masks_of_cells_must_make_sense(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        SyntheticMask(**settings)
