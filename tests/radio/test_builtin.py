"""Built-in and random scenarios."""

import numpy as np
import pytest

from slicing_rllib.radio import BUILT_IN, Simulator, draw_scenario, make_scenario


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_scenario_has_the_name_under_which_it_is_found(name):
    assert make_scenario(name).name == name


def test_an_unknown_name_raises_an_error_that_lists_the_known_names():
    with pytest.raises(ValueError, match=r"expected one of paper, .* got 'papre'"):
        make_scenario("papre")


def test_in_mixed_the_sla_group_does_not_determine_load_or_busy_hour():
    scenario = make_scenario("mixed")
    group = np.array([name for site in scenario.sites for name in site.sla_groups])
    level = np.array(scenario.mask.cell_levels)
    turn = np.array(scenario.mask.cell_turns)
    assert len(level) == len(turn) == len(group) == len(scenario.cells)
    for name in "ABC":
        own = group == name
        assert own.sum() == 4
        assert level[own].max() / level[own].min() > 1.5
        assert np.ptp(turn[own]) >= 0.4
        nearest = np.abs(level[own][:, None] - level[~own]).min(axis=1)
        assert (nearest <= 0.15).all()


def test_in_mixed_cells_differ_in_traffic_area_and_rates():
    """Some pairs of cells have opposite daily traffic, others nearly the same."""
    simulator = Simulator(make_scenario("mixed"), 0, map_seed=0)
    area = np.bincount(simulator.serving_map().ravel(), minlength=12)
    assert area.max() > 2 * area.min()
    users = np.array([simulator.step(np.ones((12, 4))).users.sum(axis=1) for _ in range(200)])
    correlation = np.corrcoef(users.T)[np.triu_indices(12, 1)]
    assert correlation.min() < -0.3
    assert correlation.max() > 0.5
    rates = simulator.step(np.ones((12, 4))).mean_rate_mbps.mean(axis=1)
    assert np.ptp(rates) > 5


def test_equal_generators_draw_equal_networks():
    one, same, other = (draw_scenario(np.random.default_rng(seed), "n") for seed in (1, 1, 2))

    assert one == same
    assert one != other


def test_a_drawn_network_can_be_simulated():
    scenario = draw_scenario(np.random.default_rng(0), "six", (6,))
    kpis = Simulator(scenario, 1).step(np.full((12, 6), 1 / 6))

    assert kpis.throughput_mbps.shape == (12, 6)
    assert np.isfinite(kpis.delay_ms).all()
