"""Static drops agree with TR 36.873 in geometry, coupling gain and penetration loss."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.benchmarks.static_drop import draw_static_drop, tall_ue_los_excess
from slicing_rllib.radio import ColumnAntenna, IndoorSpec, Simulator, make_scenario
from slicing_rllib.registry import get_part

UMA = make_scenario("tr36873_uma")


def drop(scenario, n_ues=8000):
    return draw_static_drop(scenario, n_ues, np.random.default_rng(1))


def test_geometry_agrees_with_the_3gpp_median():
    """TR 36.873, phase 1, 3D-UMa, ten elements: -0.1 dB at 10 %, 8.4 dB at 50 %."""
    geometry_db = drop(UMA).geometry_db
    assert np.percentile(geometry_db, 10) == pytest.approx(-0.1, abs=0.6)
    assert np.median(geometry_db) == pytest.approx(8.4, abs=0.6)


def test_penetration_loss_is_20_db_plus_half_a_db_per_metre():
    """The mean is 26.25 dB; indoor shadowing changes the median slightly."""
    inside, outside = (
        drop(replace(UMA, indoor=IndoorSpec(share=share, min_floors=1, max_floors=1)))
        for share in (1.0, 0.0)
    )
    difference_db = np.median(outside.coupling_gain_db) - np.median(inside.coupling_gain_db)
    assert difference_db == pytest.approx(26.0, abs=3.0)


def test_ues_on_upper_floors_have_a_higher_coupling_gain():
    """This holds for one element. The tilted beam of ten elements points below the upper floors."""
    element = replace(UMA.radio, antenna=ColumnAntenna(elements=1))
    low, high = (
        drop(replace(UMA, radio=element, indoor=IndoorSpec(share=1, min_floors=n, max_floors=n)))
        for n in (1, 8)
    )
    assert np.median(high.coupling_gain_db) > np.median(low.coupling_gain_db) + 1


def test_a_tall_ue_has_line_of_sight_more_often():
    """h = 23 m at 150 m: C = 1^1.5 x 1.25e-6 x 22500 / e = 0.01035."""
    environment = get_part("propagation", "tr36873_uma")
    outdoor_m, height_m = np.array([150.0, 150.0, 10.0]), np.array([23.0, 10.5, 22.5])
    excess = tall_ue_los_excess(environment, outdoor_m, height_m)
    assert excess == pytest.approx([0.0103466, 0.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("environment", ["tr36873_umi", "tr38901_uma", "winner_c2"])
def test_a_drop_works_in_other_layouts_and_environments(environment):
    layout = replace(
        UMA.layout, site_distance_m=200.0, mast=replace(UMA.layout.mast, height_m=10.0)
    )
    radio = replace(UMA.radio, environment=environment, min_distance_m=10.0)
    found = drop(replace(UMA, layout=layout, radio=radio), 2000)
    assert np.isfinite(found.geometry_db).all()
    assert (found.coupling_gain_db < 0).all()


def test_the_simulator_applies_penetration_loss_to_indoor_ues():
    outdoors = replace(
        UMA, indoor=IndoorSpec(share=0.0), radio=replace(UMA.radio, map_resolution_m=50)
    )
    indoors = replace(outdoors, indoor=IndoorSpec(share=1.0))
    signal = [np.median(Simulator(s, 0).active_ues.signal) for s in (outdoors, indoors)]
    assert 10 * np.log10(signal[0] / signal[1]) == pytest.approx(26.25, abs=1.0)
