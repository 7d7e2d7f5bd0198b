"""What a radio engineer would laugh at, an item a test: each fails if its mistake comes back.

The list is that of the simulator's design; where it matters, both ways of keeping the map are
looked at: every cell at every place (`small`), and the strongest cells only (`large`).
"""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.radio import (
    MastSpec,
    MobilitySpec,
    RadioSpec,
    Scenario,
    Simulator,
    SyntheticMask,
    built_in,
    hexagonal,
)
from slicing_rllib.radio.gain_map import Sight, gain_map
from slicing_rllib.radio.link import CQI_TABLE, LINKS
from slicing_rllib.radio.propagation import WINNER_C2
from slicing_rllib.radio.queueing import packet_delay_ms, served_share
from slicing_rllib.radio.strongest_cells import strongest_cells

EVERYONE = SyntheticMask(low=1.0, high=1.0)
STILL = MobilitySpec(min_speed_kmh=0.0, max_speed_kmh=0.0)


@pytest.fixture(params=["small", "large"])
def network(request, paper) -> Scenario:
    """12 cells, or 36 of which a place hears 16; all UEs active."""
    scenario = replace(paper, mask=EVERYONE)
    if request.param == "small":
        return scenario
    coarse = replace(scenario, radio=RadioSpec(map_resolution_m=25.0))
    return hexagonal(3, 4, like=coarse)


def even(scenario: Scenario) -> np.ndarray:
    return np.ones((len(scenario.cells), scenario.n_slices))


def test_ues_are_served_by_the_cell_they_hear_best(network):
    """Not placed independently of it: nobody is served 2 dB below the best, ever."""
    simulator = Simulator(network, 0, map_seed=0)
    for _ in range(20):
        received = simulator.received
        assert (received.signal * 10**0.2 >= received.snr.max(axis=1) * (1 - 1e-6)).all()
        simulator.step(even(network))
    users = received.users.sum(axis=1)
    area = np.bincount(simulator.serving_map().ravel(), minlength=len(users))
    assert np.corrcoef(users, area)[0, 1] > 0.8


def test_no_cell_lies_at_an_edge_without_interference(network):
    """At full load everywhere, interference is far above noise in every cell of the grid."""
    received = Simulator(network, 0, map_seed=0).received
    others = received.snr.sum(axis=1) - received.signal
    cell = received.key // network.n_slices
    medians = np.array([np.median(others[cell == k]) for k in range(len(network.cells))])
    assert medians.min() > 10


def test_line_of_sight_and_shadowing_are_not_redrawn_every_step(network):
    """Who stands still keeps the channel to the last bit."""
    simulator = Simulator(replace(network, mobility=STILL), 0, map_seed=0)
    first = simulator.received
    for _ in range(5):
        simulator.step(even(network))
    assert np.array_equal(simulator.received.signal, first.signal)
    assert np.array_equal(simulator.received.snr, first.snr)


def test_line_of_sight_and_shadowing_are_not_redrawn_per_sector(paper):
    """Whatever differs between sectors of a site is the antenna's, so at most its 25 dB."""
    radio = RadioSpec(cells_kept=36, map_resolution_m=50.0)
    large = hexagonal(3, 4, like=replace(paper, radio=radio))
    found = strongest_cells(large.sites, large.ground, radio, 0)
    kept = np.empty(found.cell.shape)
    np.put_along_axis(kept, found.cell, found.snr.astype(float), axis=1)
    for snr in (gain_map(paper.sites, paper.ground, radio, 0).snr, kept):
        by_site = 10 * np.log10(snr).reshape(len(snr), -1, 3)
        assert np.ptp(by_site, axis=2).max() <= 25 + 1e-4


def test_total_power_is_not_power_per_prb(paper):
    """Twice the PRBs share the same 46 dBm: half the SNR on each."""
    narrow, wide = (
        gain_map(paper.sites, paper.ground, RadioSpec(n_prbs=n_prbs), 0).snr
        for n_prbs in (100, 200)
    )
    assert wide == pytest.approx(narrow / 2)


def test_bits_per_resource_element_are_not_multiplied_by_180_khz():
    """A PRB has 168,000 resource elements a second, a quarter of which is overhead."""
    per_prb_kbps = 180 * LINKS["cqi"].reported(np.array([1e6]))[0]
    assert per_prb_kbps == pytest.approx(CQI_TABLE[-1, 1] * 168 * 0.75)


def test_a_slices_work_is_not_that_of_the_arithmetic_mean_of_rates(network):
    """Time shared, a far UE costs more than it seems: required share is traffic over each rate."""
    kpis = Simulator(network, 0, map_seed=0).step(even(network))
    by_arithmetic_mean = kpis.demand_mbps / kpis.mean_rate_mbps
    assert (kpis.required_share > 1.05 * by_arithmetic_mean).mean() > 0.9
    assert kpis.required_share == pytest.approx(kpis.demand_mbps * kpis.mean_inverse_rate)


def test_distance_is_3d():
    """40 m away under a mast 23.5 m higher up is 46.4 m."""
    sight = Sight.of(MastSpec(), np.array([[40.0, 0.0]]), RadioSpec())
    assert sight.distance_m == pytest.approx(np.hypot(40.0, 23.5))


def test_path_loss_is_not_taken_below_the_minimum_distance():
    """Under the mast it is that at 35 m, and finite."""
    sights = [Sight.of(MastSpec(), np.array([[x, 0.0]]), RadioSpec()) for x in (0.0, 1.0, 35.0)]
    where = {"bs_height_m": 25.0, "ue_height_m": 1.5, "carrier_hz": 2.6e9}
    losses_db = [WINNER_C2.los_db(sight.distance_m, **where)[0] for sight in sights]
    assert losses_db[0] == losses_db[1] == losses_db[2]


def test_delay_does_not_depend_on_where_it_was_clipped(network):
    """Whatever is below the lower of two caps is the same under both; only what is above moves."""
    delays = [
        Simulator(replace(network, delay_cap_ms=cap), 0, map_seed=0).step(even(network)).delay_ms
        for cap in (20.0, 1000.0)
    ]
    assert np.array_equal(delays[0], np.minimum(delays[1], 20.0))
    assert delays[1].max() > 20.0


def test_delay_has_no_pole_to_clip_at_saturation():
    """From 97 % to 103 % of what a slice can carry, delay rises steadily, without a jump."""
    required = np.linspace(0.97, 1.03, 601)[:, None]
    share = np.ones_like(required)
    served = served_share(share, required)
    delay_ms = packet_delay_ms(share, 0.02 * share, served, 100.0)
    growth = np.diff(delay_ms[:, 0]) / delay_ms[:-1, 0]
    assert (growth > 0).all()
    assert growth.max() < 0.01


def test_an_empty_slice_is_no_zero_over_zero(network):
    idle = replace(network, mask=SyntheticMask(low=0.0, high=0.0))
    with np.errstate(all="raise"):
        kpis = Simulator(idle, 0, map_seed=0).step(even(network))
    assert all(np.isfinite(column).all() for column in kpis)
    assert (kpis.throughput_mbps >= network.sla_throughput_mbps).all()
    assert (kpis.delay_ms == 0).all()


def test_users_do_not_pile_up_in_the_middle(network):
    """Random-waypoint users would: here, the middle quarter of the map keeps a quarter."""
    simulator = Simulator(replace(network, step_s=20.0), 0, map_seed=0)
    inside = []
    for step in range(120):
        simulator._users.move(step)
        if step % 10 == 0:
            middle = (np.abs(simulator._users.place - 0.5) < 0.25).all(axis=0)
            inside.append(middle.mean())
    assert np.mean(inside) == pytest.approx(0.25, abs=0.03)
    assert np.mean(inside[-4:]) == pytest.approx(0.25, abs=0.04)


def test_a_mask_does_not_teleport_ues():
    """It switches them on and off where they are: active or not, all move at most 30 km/h."""
    flicker = SyntheticMask(low=0.1, high=0.9, period_steps=3.0)
    scenario = replace(built_in("paper"), mask=flicker)
    simulator = Simulator(scenario, 0, map_seed=0)
    edges_m = np.array(scenario.ground.edges_m)
    for _ in range(12):
        before, active = simulator._users.place.copy(), simulator.received.users.sum()
        simulator.step(even(scenario))
        turns = simulator._users.place - before
        moved_m = np.linalg.norm((turns - np.round(turns)).T @ edges_m, axis=1)
        assert moved_m.max() <= 30 / 3.6 * scenario.step_s + 1e-6
        assert abs(simulator.received.users.sum() - active) > 20
