"""Scenarios by name are what their descriptions say."""

import numpy as np
import pytest

from slicing_rllib.radio import BUILT_IN, Simulator, built_in


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_scenario_bears_its_name(name):
    assert built_in(name).name == name


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match=r"expected one of paper, mixed, .* got 'papre'"):
        built_in("papre")


def test_in_mixed_the_sla_does_not_tell_how_busy_or_when_a_cell_is():
    scenario = built_in("mixed")
    group = np.array([name for site in scenario.sites for name in site.sla_groups])
    level, turn = (np.array(column) for column in (scenario.mask.cell_levels,
                                                   scenario.mask.cell_turns))  # fmt: skip
    assert len(level) == len(turn) == len(group) == len(scenario.cells)
    for name in "ABC":
        own = group == name
        assert own.sum() == 4
        assert level[own].max() / level[own].min() > 1.5
        assert np.ptp(turn[own]) >= 0.4
        nearest = np.abs(level[own][:, None] - level[~own]).min(axis=1)
        assert (nearest <= 0.15).all()


def test_in_mixed_no_two_cells_are_alike():
    """Traffic per cell, size of the area served, and rates differ over a day."""
    simulator = Simulator(built_in("mixed"), 0, map_seed=0)
    area = np.bincount(simulator.serving_map().ravel(), minlength=12)
    assert area.max() > 2 * area.min()
    users = np.array([simulator.step(np.ones((12, 4))).users.sum(axis=1) for _ in range(200)])
    alike = np.corrcoef(users.T)[np.triu_indices(12, 1)]
    assert alike.min() < -0.3
    assert alike.max() > 0.5
    rates = simulator.step(np.ones((12, 4))).mean_rate_mbps.mean(axis=1)
    assert np.ptp(rates) > 5
