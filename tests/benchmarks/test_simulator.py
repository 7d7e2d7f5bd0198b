"""The growth of the simulator's costs: measurement, rows and figure."""

from itertools import starmap

import pytest

from slicing_rllib.benchmarks.simulator import Cost, make_rows, measure_costs
from slicing_rllib.evaluation.other_figures import draw_growth

COSTS = list(starmap(Cost, [(12, 0.3, 0.1, 0.07), (48, 1.8, 1.0, 0.10), (192, 4.8, 4.0, 0.16)]))


def test_the_time_per_cell_is_compared_with_that_of_twelve_cells():
    """0.3 ms for 12 cells is 25 us per cell; 1.8 ms for 48 is 37.5 us, which is 1.5 times that."""
    found = {(row["name"], row["cells"]): row for row in make_rows(COSTS)}
    assert found["simulator.step_ms", 12]["value"] == 0.3
    per_cell = found["simulator.us_per_cell_step", 48]
    assert (per_cell["value"], per_cell["ratio"]) == pytest.approx((37.5, 1.5))
    assert per_cell["reference"] == "12_cells"
    assert found["simulator.us_per_cell_step", 192]["ratio"] == pytest.approx(1.0)
    assert found["simulator.peak_memory", 48]["unit"] == "GiB"


def test_sizes_up_to_the_largest_are_measured_in_processes_of_their_own():
    messages = []
    costs = measure_costs(turns=2, seconds=0.0, max_cells=50, on_message=messages.append)
    small, large = costs
    assert (small.cells, large.cells) == (12, 48)
    assert 0 < small.step_ms < large.step_ms
    assert 0 < small.peak_gib < 1
    assert messages[:2] == ["preparing 12 cells", "preparing 48 cells"]


def test_the_figure_shows_time_and_memory_over_cells():
    cells, step_ms, _, peak_gib = zip(*COSTS, strict=True)
    time_axes, memory_axes = draw_growth(cells, step_ms, peak_gib).axes
    assert tuple(time_axes.lines[0].get_xdata()) == cells
    assert tuple(time_axes.lines[0].get_ydata()) == step_ms
    assert tuple(memory_axes.lines[0].get_ydata()) == peak_gib
