"""Random networks are valid, differ, and repeat themselves."""

import numpy as np

from slicing_rllib.radio import Simulator, draw_scenario


def test_equal_generators_draw_equal_networks():
    one, same, other = (draw_scenario(np.random.default_rng(seed), "n") for seed in (1, 1, 2))

    assert one == same
    assert one != other


def test_a_drawn_network_can_be_simulated():
    scenario = draw_scenario(np.random.default_rng(0), "six", (6,))
    kpis = Simulator(scenario, 1).step(np.full((12, 6), 1 / 6))

    assert kpis.throughput_mbps.shape == (12, 6)
    assert np.isfinite(kpis.delay_ms).all()
