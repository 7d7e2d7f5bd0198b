"""The growth curve's rows and picture; what they show is for `slicing-rllib bench simulator`."""

from itertools import starmap

import pytest

from slicing_rllib.benchmarks.simulator import Cost, measure, rows
from slicing_rllib.evaluation.figures import growth, save

COSTS = list(starmap(Cost, [(12, 0.3, 0.1, 0.07), (48, 1.8, 1.0, 0.10), (192, 4.8, 4.0, 0.16)]))


def test_a_step_is_held_against_twelve_cells_cell_by_cell():
    """0.3 ms for 12 cells is 25 us a cell; 1.8 ms for 48 is 37.5 us, half as much again."""
    found = {(row["name"], row["cells"]): row for row in rows(COSTS)}
    assert found["simulator.step_ms", 12]["value"] == 0.3
    per_cell = found["simulator.us_per_cell_step", 48]
    assert (per_cell["value"], per_cell["ratio"]) == pytest.approx((37.5, 1.5))
    assert per_cell["reference"] == "12_cells"
    assert found["simulator.us_per_cell_step", 192]["ratio"] == pytest.approx(1.0)
    assert found["simulator.peak_memory", 48]["unit"] == "GiB"


def test_only_sizes_up_to_the_given_number_of_cells_are_measured():
    """Sizes are 12, 48, 192 ... cells; each is set up and stepped in a process of its own."""
    costs = measure(turns=1, seconds=0.0, cells=50)
    assert [cost.cells for cost in costs] == [12, 48]
    assert costs[1].peak_gib > 0.01


def test_the_curve_is_drawn(tmp_path):
    cells, step_ms, _, peak_gib = zip(*COSTS, strict=True)
    paths = save(growth(cells, step_ms, peak_gib), tmp_path, "growth")
    assert [path.name for path in paths] == ["growth.png", "growth.svg"]
