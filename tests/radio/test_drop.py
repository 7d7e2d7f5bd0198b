"""Static drops: who stands where, and what TR 36.873 says they hear."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.radio import ColumnAntenna, IndoorSpec, Simulator, built_in
from slicing_rllib.radio.drop import over_roofs, static_drop
from slicing_rllib.radio.environment import ENVIRONMENTS

UMA = built_in("tr36873_uma")


def drop(scenario, n_ues=8000):
    return static_drop(scenario, n_ues, np.random.default_rng(1))


def test_geometry_is_near_3gpps_median():
    """TR 36.873, phase 1, 3D-UMa, ten elements: -0.1 dB at 10 %, 8.4 dB at 50 %."""
    geometry_db = drop(UMA).geometry_db
    assert np.percentile(geometry_db, 10) == pytest.approx(-0.1, abs=0.6)
    assert np.median(geometry_db) == pytest.approx(8.4, abs=0.6)


def test_walls_cost_20_db_and_half_a_db_per_metre():
    """Indoors everything from everywhere is weaker; 26.25 dB on average, less by shadowing."""
    inside, outside = (
        drop(replace(UMA, indoor=IndoorSpec(share=share, min_floors=1, max_floors=1)))
        for share in (1.0, 0.0)
    )
    apart_db = np.median(outside.coupling_gain_db) - np.median(inside.coupling_gain_db)
    assert apart_db == pytest.approx(26.0, abs=3.0)


def test_upper_floors_hear_more():
    """By one element; ten of them, tilted, look below the upper floors."""
    element = replace(UMA.radio, antenna=ColumnAntenna(elements=1))
    low, high = (
        drop(replace(UMA, radio=element, indoor=IndoorSpec(share=1, min_floors=n, max_floors=n)))
        for n in (1, 8)
    )
    assert np.median(high.coupling_gain_db) > np.median(low.coupling_gain_db) + 1


def test_over_roofs_by_hand():
    """h = 23 m at 150 m: C = 1^1.5 x 1.25e-6 x 22500 / e = 0.01035."""
    environment = ENVIRONMENTS["tr36873_uma"]
    seen = over_roofs(environment, np.array([150.0, 150.0, 10.0]), np.array([23.0, 10.5, 22.5]))
    assert seen == pytest.approx([0.0103466, 0.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("environment", ["tr36873_umi", "tr38901_uma", "winner_c2"])
def test_other_layouts_by_config_alone(environment):
    layout = replace(
        UMA.layout, site_distance_m=200.0, mast=replace(UMA.layout.mast, height_m=10.0)
    )
    radio = replace(UMA.radio, environment=environment, min_distance_m=10.0)
    found = drop(replace(UMA, layout=layout, radio=radio), 2000)
    assert np.isfinite(found.geometry_db).all()
    assert (found.coupling_gain_db < 0).all()


def test_the_simulator_too_puts_ues_behind_walls():
    outdoors = replace(
        UMA, indoor=IndoorSpec(share=0.0), radio=replace(UMA.radio, map_resolution_m=50)
    )
    indoors = replace(outdoors, indoor=IndoorSpec(share=1.0))
    signal = [np.median(Simulator(s, 0).received.signal) for s in (outdoors, indoors)]
    assert 10 * np.log10(signal[0] / signal[1]) == pytest.approx(26.25, abs=1.0)
