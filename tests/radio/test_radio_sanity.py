"""Well-known mistakes of radio simulators: each test fails if the simulator makes one of them.

Where it matters, tests use a small network with a dense map and a large one with a sparse map.
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
    make_hexagonal_scenario,
    make_scenario,
)
from slicing_rllib.radio.gain_map import LinkGeometry, build_gain_map
from slicing_rllib.radio.kpis import packet_delay_ms, served_share
from slicing_rllib.radio.link import CQI_TABLE, LINKS
from slicing_rllib.radio.sparse_map import find_strongest_cells
from slicing_rllib.registry import get_part

ALL_ACTIVE = SyntheticMask(low=1.0, high=1.0)
NO_MOVEMENT = MobilitySpec(min_speed_kmh=0.0, max_speed_kmh=0.0)


@pytest.fixture(params=["small", "large"])
def network(request, paper) -> Scenario:
    """12 cells with a dense map, or 36 cells with the 16 strongest per position; all UEs active."""
    scenario = replace(paper, mask=ALL_ACTIVE)
    if request.param == "small":
        return scenario
    coarse = replace(scenario, radio=RadioSpec(map_resolution_m=25.0))
    return make_hexagonal_scenario(3, 4, like=coarse)


def equal_split(scenario: Scenario) -> np.ndarray:
    return np.ones((len(scenario.cells), scenario.n_slices))


def test_ues_are_served_by_their_strongest_cell(network):
    """A serving cell is at most 2 dB (the hysteresis) below the strongest cell."""
    simulator = Simulator(network, 0, map_seed=0)
    for _ in range(20):
        active_ues = simulator.active_ues
        assert (active_ues.signal * 10**0.2 >= active_ues.snr.max(axis=1) * (1 - 1e-6)).all()
        simulator.step(equal_split(network))
    users = active_ues.users.sum(axis=1)
    area = np.bincount(simulator.serving_map().ravel(), minlength=len(users))
    assert np.corrcoef(users, area)[0, 1] > 0.8


def test_every_cell_receives_interference(network):
    """At full load, interference is far above noise in every cell: no cell is at an edge."""
    active_ues = Simulator(network, 0, map_seed=0).active_ues
    others = active_ues.snr.sum(axis=1) - active_ues.signal
    cell = active_ues.key // network.n_slices
    medians = np.array([np.median(others[cell == k]) for k in range(len(network.cells))])
    assert medians.min() > 10


def test_line_of_sight_and_shadowing_do_not_change_from_step_to_step(network):
    """UEs that do not move keep bit-identical link gains."""
    simulator = Simulator(replace(network, mobility=NO_MOVEMENT), 0, map_seed=0)
    first = simulator.active_ues
    for _ in range(5):
        simulator.step(equal_split(network))
    assert np.array_equal(simulator.active_ues.signal, first.signal)
    assert np.array_equal(simulator.active_ues.snr, first.snr)


def test_sectors_of_a_site_share_line_of_sight_and_shadowing(paper):
    """Sectors differ only by antenna gain, thus by at most the front-to-back ratio of 25 dB."""
    radio = RadioSpec(cells_kept=36, map_resolution_m=50.0)
    large = make_hexagonal_scenario(3, 4, like=replace(paper, radio=radio))
    found = find_strongest_cells(large.sites, large.area, radio, 0)
    kept = np.empty(found.cell.shape)
    np.put_along_axis(kept, found.cell, found.snr.astype(float), axis=1)
    for snr in (build_gain_map(paper.sites, paper.area, radio, 0), kept):
        by_site = 10 * np.log10(snr).reshape(len(snr), -1, 3)
        assert np.ptp(by_site, axis=2).max() <= 25 + 1e-4


def test_transmit_power_is_shared_by_all_prbs(paper):
    """Twice the PRBs share the same 46 dBm, which halves the SNR on each."""
    narrow, wide = (
        build_gain_map(paper.sites, paper.area, RadioSpec(n_prbs=n_prbs), 0)
        for n_prbs in (100, 200)
    )
    assert wide == pytest.approx(narrow / 2)


def test_rates_follow_from_resource_elements_and_not_from_the_prb_bandwidth():
    """A PRB has 168,000 resource elements per second, and a quarter of them is overhead."""
    per_prb_kbps = 180 * LINKS["cqi"].reported_efficiency(np.array([1e6]))[0]
    assert per_prb_kbps == pytest.approx(CQI_TABLE[-1, 1] * 168 * 0.75)


def test_the_required_share_follows_from_the_mean_of_inverse_rates(network):
    """The arithmetic mean of rates would underestimate it, because slow UEs occupy PRBs longer."""
    kpis = Simulator(network, 0, map_seed=0).step(equal_split(network))
    by_arithmetic_mean = kpis.demand_mbps / kpis.mean_rate_mbps
    assert (kpis.required_share > 1.05 * by_arithmetic_mean).mean() > 0.9
    assert kpis.required_share == pytest.approx(kpis.demand_mbps * kpis.mean_inverse_rate)


def test_distance_is_three_dimensional():
    """40 m of horizontal distance and 23.5 m of height difference are 46.4 m."""
    links = LinkGeometry.from_offsets(MastSpec(), np.array([[40.0, 0.0]]), RadioSpec())
    assert links.path.distance_m == pytest.approx(np.hypot(40.0, 23.5))


def test_path_loss_below_the_minimum_distance_is_that_at_it():
    """At 0 m and at 1 m the path loss is the finite one at 35 m."""
    links = [
        LinkGeometry.from_offsets(MastSpec(), np.array([[x, 0.0]]), RadioSpec())
        for x in (0.0, 1.0, 35.0)
    ]
    model = get_part("propagation", "winner_c2").path_loss
    losses_db = [model.los_db(link.path)[0] for link in links]
    assert losses_db[0] == losses_db[1] == losses_db[2]


def test_the_delay_cap_changes_only_delays_above_it(network):
    """Delays below the lower of two caps are the same under both."""
    delays = [
        Simulator(replace(network, delay_cap_ms=cap), 0, map_seed=0)
        .step(equal_split(network))
        .delay_ms
        for cap in (20.0, 1000.0)
    ]
    assert np.array_equal(delays[0], np.minimum(delays[1], 20.0))
    assert delays[1].max() > 20.0


def test_delay_rises_steadily_through_saturation():
    """From 97 % to 103 % of a slice's capacity, delay rises without a jump or a pole."""
    required = np.linspace(0.97, 1.03, 601)[:, None]
    share = np.ones_like(required)
    served = served_share(share, required)
    delay_ms = packet_delay_ms(share, 0.02 * share, served, 100.0)
    growth = np.diff(delay_ms[:, 0]) / delay_ms[:-1, 0]
    assert (growth > 0).all()
    assert growth.max() < 0.01


def test_slices_without_ues_cause_no_floating_point_error(network):
    idle = replace(network, mask=SyntheticMask(low=0.0, high=0.0))
    with np.errstate(all="raise"):
        kpis = Simulator(idle, 0, map_seed=0).step(equal_split(network))
    assert all(np.isfinite(column).all() for column in kpis)
    assert (kpis.throughput_mbps >= network.sla_throughput_mbps).all()
    assert (kpis.delay_ms == 0).all()


def test_ues_do_not_concentrate_in_the_middle(network):
    """The middle quarter of the map keeps a quarter of the UEs, unlike under random waypoints."""
    simulator = Simulator(replace(network, step_s=20.0), 0, map_seed=0)
    inside = []
    for step in range(120):
        simulator._users.move(step)
        if step % 10 == 0:
            middle = (np.abs(simulator._users.location - 0.5) < 0.25).all(axis=0)
            inside.append(middle.mean())
    assert np.mean(inside) == pytest.approx(0.25, abs=0.03)
    assert np.mean(inside[-4:]) == pytest.approx(0.25, abs=0.04)


def test_the_mask_does_not_move_ues():
    """All UEs move at most 30 km/h, whether they are active or not."""
    fast_mask = SyntheticMask(low=0.1, high=0.9, period_steps=3.0)
    scenario = replace(make_scenario("paper"), mask=fast_mask)
    simulator = Simulator(scenario, 0, map_seed=0)
    edges_m = np.array(scenario.area.edges_m)
    for _ in range(12):
        before, active = simulator._users.location.copy(), simulator.active_ues.users.sum()
        simulator.step(equal_split(scenario))
        moved = simulator._users.location - before
        moved_m = np.linalg.norm((moved - np.round(moved)).T @ edges_m, axis=1)
        assert moved_m.max() <= 30 / 3.6 * scenario.step_s + 1e-6
        assert abs(simulator.active_ues.users.sum() - active) > 20
