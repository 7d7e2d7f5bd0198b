"""Cells are coupled through their splits under contiguous placement, and only there."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.benchmarks.coupling.benchmark import CHANGED_SHARES, PLACEMENTS
from slicing_rllib.benchmarks.coupling.disturbances import measure_disturbances, set_placement
from slicing_rllib.radio import make_scenario

STEPS = 40


def make_light_traffic():
    """The paper's network with a third of its traffic, so that no slice is overloaded."""
    paper = make_scenario("paper")
    slices = tuple(
        replace(spec, traffic=replace(spec.traffic, rate_kbps=spec.traffic.rate_kbps / 3))
        for spec in paper.slices
    )
    return replace(paper, slices=slices)


@pytest.mark.parametrize("changed_share", CHANGED_SHARES.values())
def test_with_contiguous_placement_a_split_changes_the_neighbours_throughput(changed_share):
    """The effect is largest at the cell itself, and several per cent if all neighbours change."""
    paper = set_placement(make_scenario("paper"), "contiguous")
    found = measure_disturbances(paper, 0, changed_share, np.random.default_rng(0), steps=STEPS)
    assert found.own.throughput > found.neighbours.throughput > found.one_cell.throughput
    assert found.neighbours.throughput > 0.01
    assert found.neighbours.reward > 0.005


def test_without_overload_random_placement_hides_every_split_from_the_neighbours():
    """A stable slice uses as many PRBs as its traffic needs, whatever share it was given."""
    found = {
        placement: measure_disturbances(
            set_placement(make_light_traffic(), placement),
            0,
            0.1,
            np.random.default_rng(0),
            steps=STEPS,
        )
        for placement in PLACEMENTS
    }
    assert found["random"].one_cell.throughput < 1e-6
    assert found["random"].neighbours.throughput < 1e-6
    assert found["contiguous"].neighbours.throughput > 1e-3
    assert found["random"].own.throughput > 0.01


def test_a_change_of_nothing_disturbs_nobody():
    found = measure_disturbances(
        make_scenario("paper"), 0, 0.0, np.random.default_rng(0), steps=STEPS
    )
    assert np.array(found).max() == 0.0
