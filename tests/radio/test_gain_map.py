"""The map of gains: one channel per place, shared by a site's sectors, coupled between sites."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.radio import MastSpec, RadioSpec, SiteSpec, built_in
from slicing_rllib.radio.gain_map import Shadowing, Sight, away_m, gain_map
from slicing_rllib.radio.propagation import WINNER_C2, noise_power_dbm

RADIO = RadioSpec()


def test_a_place_at_boresight_hears_what_the_link_budget_says():
    """46 dBm + 14 dBi - path loss + noise of -92.45 dBm, shadowing and line of sight apart."""
    site = SiteSpec(x_m=0.0, y_m=0.0, mast=MastSpec(azimuths_deg=(0.0,)), sla_groups=("A",))
    sight = Sight.of(site.mast, np.array([[[300.0, 0.0]]]), RADIO)
    assert sight.distance_m == pytest.approx(np.hypot(300.0, 23.5))
    assert sight.depression_deg == pytest.approx(np.degrees(np.arctan2(23.5, 300.0)))

    noise_dbm = noise_power_dbm(RADIO.bandwidth_hz, RADIO.noise_figure_db)
    gain_dbi = RADIO.antenna.gain_db(sight.azimuth_deg, sight.depression_deg, 8.0)
    assert noise_dbm == pytest.approx(-92.45, abs=0.005)
    assert gain_dbi == pytest.approx(14 - 12 * ((sight.depression_deg - 8) / 10) ** 2)


def test_nothing_is_nearer_than_the_minimum_distance(paper):
    sight = Sight.of(paper.sites[0].mast, np.zeros((1, 1, 2)), RADIO)
    assert sight.horizontal_m == pytest.approx(35.0)
    assert sight.distance_m == pytest.approx(np.hypot(35.0, 23.5))


def test_one_seed_one_map_and_another_seed_another(paper):
    same = [gain_map.__wrapped__(paper.sites, paper.ground, RADIO, 3) for _ in range(2)]
    assert np.array_equal(same[0].snr, same[1].snr)
    other = gain_map(paper.sites, paper.ground, RADIO, 4)
    assert not np.array_equal(same[0].snr, other.snr)


def test_sectors_of_a_site_share_line_of_sight_and_shadowing(paper):
    """Whatever differs between sectors is the antenna's, so at most its 25 dB."""
    snr_db = 10 * np.log10(gain_map(paper.sites, paper.ground, RADIO, 0).snr)
    for site in range(4):
        sectors = snr_db[:, 3 * site : 3 * site + 3]
        assert np.ptp(sectors, axis=1).max() <= 25 + 1e-9


def blocked_shadowing_db(paper, seed: int, site: int) -> np.ndarray:
    """Shadowing towards a site; NaN where it is in sight."""
    shape = paper.ground.grid_shape(RADIO.map_resolution_m)
    ways_m = away_m(paper.sites[site], paper.ground, paper.ground.grid_m(shape))
    sight = Sight.of(paper.sites[site].mast, ways_m, RADIO)
    shadows = Shadowing(paper.ground, shape, RADIO, seed)
    loss_db = shadows.loss_db(site, paper.sites[site].mast, sight)
    path_db = WINNER_C2.nlos_db(
        sight.distance_m, bs_height_m=25.0, ue_height_m=1.5, carrier_hz=2.6e9
    )
    return np.where(shadows.sees(site, sight), np.nan, loss_db - path_db)


def test_shadowing_has_8_db_and_is_half_alike_towards_all_sites(paper):
    pairs = [[blocked_shadowing_db(paper, seed, site) for site in (0, 3)] for seed in range(16)]
    first, second = np.moveaxis(np.array(pairs), 1, 0)
    both = np.isfinite(first) & np.isfinite(second)
    assert first[both].std() == pytest.approx(8.0, abs=0.5)
    assert np.corrcoef(first[both], second[both])[0, 1] == pytest.approx(0.5, abs=0.08)


def test_a_neighbouring_place_has_a_similar_channel_and_a_far_one_does_not(paper):
    shape = paper.ground.grid_shape(RADIO.map_resolution_m)
    snr_db = 10 * np.log10(gain_map(paper.sites, paper.ground, RADIO, 0).snr[:, 0])
    snr_db = snr_db.reshape(shape)
    step = np.abs(np.diff(snr_db, axis=0))
    assert np.median(step) < 3.5
    assert np.median(np.abs(snr_db - np.roll(snr_db, 40, axis=0))) > 8


@pytest.mark.parametrize("environment", ["winner_b1", "tr38901_uma", "tr38901_umi", "tr36873_uma"])
def test_every_environment_makes_a_map(environment):
    scenario = built_in("paper")
    radio = replace(RADIO, environment=environment, map_resolution_m=50.0)
    snr = gain_map(scenario.sites, scenario.ground, radio, 0).snr
    assert snr.shape == (400, 12)
    assert np.isfinite(snr).all()
    assert (snr > 0).all()
