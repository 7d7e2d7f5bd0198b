"""Random fields, and the map of link gains."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.radio import MastSpec, RadioSpec, SiteSpec, make_scenario
from slicing_rllib.radio.gain_map import (
    FieldSampler,
    LinkGeometry,
    Shadowing,
    build_gain_map,
)
from slicing_rllib.radio.propagation import noise_power_dbm
from slicing_rllib.radio.sites import Area
from slicing_rllib.registry import get_part

RADIO = RadioSpec()


def test_the_link_budget_at_boresight():
    """Distance, angle, noise power (-92.45 dBm) and antenna gain at 300 m, without shadowing."""
    site = SiteSpec(x_m=0.0, y_m=0.0, mast=MastSpec(azimuths_deg=(0.0,)), sla_groups=("A",))
    links = LinkGeometry.from_offsets(site.mast, np.array([[[300.0, 0.0]]]), RADIO)
    assert links.path.distance_m == pytest.approx(np.hypot(300.0, 23.5))
    assert links.depression_deg == pytest.approx(np.degrees(np.arctan2(23.5, 300.0)))

    noise_dbm = noise_power_dbm(RADIO.bandwidth_hz, RADIO.noise_figure_db)
    gain_dbi = RADIO.antenna.gain_db(links.azimuth_deg, links.depression_deg, 8.0)
    assert noise_dbm == pytest.approx(-92.45, abs=0.005)
    assert gain_dbi == pytest.approx(14 - 12 * ((links.depression_deg - 8) / 10) ** 2)


def test_distances_are_at_least_the_minimum_distance(paper):
    links = LinkGeometry.from_offsets(paper.sites[0].mast, np.zeros((1, 1, 2)), RADIO)
    assert links.horizontal_m == pytest.approx(35.0)
    assert links.path.distance_m == pytest.approx(np.hypot(35.0, 23.5))


def test_equal_seeds_give_equal_maps_and_other_seeds_give_other_maps(paper):
    same = [build_gain_map.__wrapped__(paper.sites, paper.area, RADIO, 3) for _ in range(2)]
    assert np.array_equal(same[0], same[1])
    other = build_gain_map(paper.sites, paper.area, RADIO, 4)
    assert not np.array_equal(same[0], other)


def test_sectors_of_a_site_share_line_of_sight_and_shadowing(paper):
    """Sectors differ only by antenna gain, thus by at most the front-to-back ratio of 25 dB."""
    snr_db = 10 * np.log10(build_gain_map(paper.sites, paper.area, RADIO, 0))
    for site in range(4):
        sectors = snr_db[:, 3 * site : 3 * site + 3]
        assert np.ptp(sectors, axis=1).max() <= 25 + 1e-9


def nlos_shadowing_db(paper, seed: int, site: int) -> np.ndarray:
    """Shadowing of positions without line of sight to a site; NaN elsewhere."""
    shape = paper.area.grid_shape(RADIO.map_resolution_m)
    offsets_m = paper.area.displacements_m(
        np.array([paper.sites[site].x_m, paper.sites[site].y_m]), paper.area.grid_m(shape)
    )
    links = LinkGeometry.from_offsets(paper.sites[site].mast, offsets_m, RADIO)
    shadowing = Shadowing(paper.area, shape, RADIO, seed)
    loss_db = shadowing.loss_db(site, links)
    path_db = get_part("propagation", "winner_c2").path_loss.nlos_db(links.path)
    return np.where(shadowing.draw_line_of_sight(site, links), np.nan, loss_db - path_db)


def test_shadowing_has_8_db_deviation_and_correlation_one_half_between_sites(paper):
    pairs = [[nlos_shadowing_db(paper, seed, site) for site in (0, 3)] for seed in range(16)]
    first, second = np.moveaxis(np.array(pairs), 1, 0)
    both = np.isfinite(first) & np.isfinite(second)
    assert first[both].std() == pytest.approx(8.0, abs=0.5)
    assert np.corrcoef(first[both], second[both])[0, 1] == pytest.approx(0.5, abs=0.08)


def test_adjacent_positions_have_similar_gains_and_distant_positions_do_not(paper):
    shape = paper.area.grid_shape(RADIO.map_resolution_m)
    snr_db = 10 * np.log10(build_gain_map(paper.sites, paper.area, RADIO, 0)[:, 0])
    snr_db = snr_db.reshape(shape)
    step = np.abs(np.diff(snr_db, axis=0))
    assert np.median(step) < 3.5
    assert np.median(np.abs(snr_db - np.roll(snr_db, 40, axis=0))) > 8


@pytest.mark.parametrize("environment", ["winner_b1", "tr38901_uma", "tr38901_umi", "tr36873_uma"])
def test_every_environment_gives_a_finite_map(environment):
    scenario = make_scenario("paper")
    radio = replace(RADIO, environment=environment, map_resolution_m=50.0)
    snr = build_gain_map(scenario.sites, scenario.area, radio, 0)
    assert snr.shape == (400, 12)
    assert np.isfinite(snr).all()
    assert (snr > 0).all()


TORUS = Area(origin_m=(0.0, 0.0), edges_m=((1000.0, 0.0), (500.0, 866.0)), wraps=True)
BOX = Area(origin_m=(0.0, 0.0), edges_m=((1000.0, 0.0), (0.0, 800.0)), wraps=False)


@pytest.mark.parametrize("area", [TORUS, BOX], ids=["torus", "box"])
def test_correlation_is_1_over_e_at_the_correlation_distance(area):
    shape = area.grid_shape(10.0)
    sampler = FieldSampler(area, shape, 50.0)
    fields = np.stack([sampler.draw(np.random.default_rng(seed)) for seed in range(60)])

    assert fields.shape[1:] == shape
    assert fields.std() == pytest.approx(1.0, abs=0.03)
    nearby = (fields[:, :-5] * fields[:, 5:]).mean()
    assert nearby == pytest.approx(np.exp(-1), abs=0.05)


def test_opposite_edges_are_correlated_on_a_torus_and_uncorrelated_between_walls():
    for area, expected in ((TORUS, np.exp(-10 / 50)), (BOX, 0.0)):
        sampler = FieldSampler(area, area.grid_shape(10.0), 50.0)
        fields = np.stack([sampler.draw(np.random.default_rng(seed)) for seed in range(60)])
        assert (fields[:, 0] * fields[:, -1]).mean() == pytest.approx(expected, abs=0.06)
