"""A static drop of UEs, some of them on upper floors: 3GPP calibrates channel models with it.

The simulator reads link gains from a map of street level. A drop instead draws line of sight and
shadowing for each UE and site. Source: TR 36.873, sections 7.2 and 8.2 (phase 1).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from slicing_rllib.radio.propagation import ENVIRONMENTS, Environment, RadioPath
from slicing_rllib.radio.scenario import Scenario
from slicing_rllib.radio.sites import SiteSpec
from slicing_rllib.radio.specs import IndoorSpec

PerUe = Float[np.ndarray, " ue"]
TALL_UE_HEIGHT_M = 13.0
"""UE height above which TR 36.873's 3D-UMa raises the probability of line of sight."""


class UeLocations(NamedTuple):
    """Where the UEs of a drop are."""

    position_m: Float[np.ndarray, "ue 2"]
    height_m: PerUe
    is_indoor: Bool[np.ndarray, " ue"]
    depth_m: PerUe
    """Distance inside the building that the signal travels; 0 outdoors."""


class Drop(NamedTuple):
    """The link of each UE to the cell that it attaches to, its strongest one."""

    coupling_gain_db: PerUe
    """Antenna gain - path loss - shadowing - building penetration loss."""
    geometry_db: PerUe
    """Power received from the strongest cell over the sum of all others, at full load, no noise."""


def draw_static_drop(scenario: Scenario, n_ues: int, rng: np.random.Generator) -> Drop:
    """Drops `n_ues` UEs uniformly, at least `min_distance_m` from every site."""
    ues = _draw_locations(scenario, n_ues, rng)
    common = rng.standard_normal(n_ues)
    gain_db = np.concatenate(
        [_draw_sector_gains_db(scenario, site, ues, common, rng) for site in scenario.sites], axis=1
    )
    power_dbm = np.array([power for site in scenario.sites for power in site.mast.powers_dbm])
    received = 10 ** ((power_dbm + gain_db) / 10)
    best = received.argmax(axis=1)
    strongest = received[np.arange(n_ues), best]
    others = received.sum(axis=1) - strongest
    return Drop(gain_db[np.arange(n_ues), best], 10 * np.log10(strongest / others))


def _draw_locations(scenario: Scenario, n_ues: int, rng: np.random.Generator) -> UeLocations:
    position_m = scenario.area.metres(rng.random((n_ues, 2)))
    too_near = _is_near_a_site(scenario, position_m)
    while too_near.any():
        position_m[too_near] = scenario.area.metres(rng.random((int(too_near.sum()), 2)))
        too_near = _is_near_a_site(scenario, position_m)
    spec = scenario.indoor
    is_indoor = rng.random(n_ues) < spec.share
    floors = rng.integers(spec.min_floors, spec.max_floors + 1, n_ues)
    floor = np.floor(rng.random(n_ues) * floors)
    height_m = scenario.radio.ue_height_m + np.where(is_indoor, spec.floor_height_m * floor, 0.0)
    depth_m = np.where(is_indoor, rng.uniform(0.0, spec.max_depth_m, n_ues), 0.0)
    return UeLocations(position_m, height_m, is_indoor, depth_m)


def _is_near_a_site(
    scenario: Scenario, position_m: Float[np.ndarray, "ue 2"]
) -> Bool[np.ndarray, " ue"]:
    is_near = np.zeros(len(position_m), bool)
    for site in scenario.sites:
        offset_m = scenario.area.displacements_m(np.array([site.x_m, site.y_m]), position_m)
        is_near |= np.linalg.norm(offset_m, axis=-1) < scenario.radio.min_distance_m
    return is_near


def _draw_sector_gains_db(
    scenario: Scenario, site: SiteSpec, ues: UeLocations, common: PerUe, rng: np.random.Generator
) -> Float[np.ndarray, "ue sector"]:
    """Gain to the sectors of a site, which share one draw of line of sight and shadowing.

    `common` is the part of the shadowing that all sites share, standard normal.
    """
    mast, radio = site.mast, scenario.radio
    offset_m = scenario.area.displacements_m(np.array([site.x_m, site.y_m]), ues.position_m)
    horizontal_m = np.linalg.norm(offset_m, axis=-1)
    azimuth_deg = np.degrees(np.arctan2(offset_m[:, 1], offset_m[:, 0]))
    depression_deg = np.degrees(np.arctan2(mast.height_m - ues.height_m, horizontal_m))
    loss_db = _draw_loss_db(scenario, mast.height_m, horizontal_m, ues, common, rng)
    gains_db = [
        radio.antenna.gain_db(azimuth_deg - azimuth, depression_deg, tilt_deg)
        for azimuth, tilt_deg in zip(mast.azimuths_deg, mast.tilts_deg, strict=True)
    ]
    return np.stack(gains_db, axis=-1) - loss_db[:, None]


def _draw_loss_db(
    scenario: Scenario,
    bs_height_m: float,
    horizontal_m: PerUe,
    ues: UeLocations,
    common: PerUe,
    rng: np.random.Generator,
) -> PerUe:
    """Path loss, building penetration loss and shadowing between UEs and one site."""
    radio = scenario.radio
    environment = ENVIRONMENTS[radio.environment]
    outdoor_m = np.maximum(horizontal_m - ues.depth_m, 0.0)
    los_excess = tall_ue_los_excess(environment, outdoor_m, ues.height_m)
    los = rng.random(len(horizontal_m)) < environment.los_probability(outdoor_m) * (1 + los_excess)
    distance_m = np.hypot(horizontal_m, bs_height_m - ues.height_m)
    path = RadioPath(distance_m, bs_height_m, ues.height_m, radio.carrier_hz)
    roof_m = _draw_environment_height_m(environment, los_excess, ues, rng)
    path_db = environment.path_loss_db(los, path._replace(environment_height_m=roof_m))
    outdoor_db = environment.shadowing_sigma_db(los, path)
    sigma_db = np.where(ues.is_indoor, environment.indoor_sigma_db, outdoor_db)
    own = rng.standard_normal(len(horizontal_m))
    shadowing = np.sqrt(radio.site_correlation) * common + np.sqrt(1 - radio.site_correlation) * own
    return path_db + penetration_loss_db(scenario.indoor, ues) + sigma_db * shadowing


def penetration_loss_db(spec: IndoorSpec, ues: UeLocations) -> PerUe:
    """Loss of the outer wall and of the distance behind it; 0 outdoors."""
    indoor_db = spec.wall_db + spec.inside_db_per_m * ues.depth_m
    return np.where(ues.is_indoor, indoor_db, 0.0)


def tall_ue_los_excess(environment: Environment, outdoor_m: PerUe, height_m: PerUe) -> PerUe:
    """C of TR 36.873, table 7.2-2: a UE at this height has line of sight 1 + C times as often.

    `outdoor_m` is the outdoor part of the horizontal distance to the site.
    """
    if not environment.has_tall_ue_los:
        return np.zeros_like(outdoor_m)
    above = np.maximum(np.minimum(height_m, 23.0) - TALL_UE_HEIGHT_M, 0.0) / 10
    far = np.where(outdoor_m > 18, 1.25e-6 * outdoor_m**2 * np.exp(-outdoor_m / 150), 0.0)
    return above**1.5 * far


def _draw_environment_height_m(
    environment: Environment, los_excess: PerUe, ues: UeLocations, rng: np.random.Generator
) -> float | PerUe:
    """1 m, or with probability C / (1 + C) a roof: 12, 15 ... up to 1.5 m below the UE.

    Nothing is drawn where the environment has no special rule for tall UEs.
    """
    if not environment.has_tall_ue_los:
        return 1.0
    roofs = np.maximum(np.floor((ues.height_m - 13.5) / 3), 0) + 1
    roof_m = 12 + 3 * np.floor(rng.random(len(roofs)) * roofs)
    is_street_level = rng.random(len(roofs)) < 1 / (1 + los_excess)
    return np.where(is_street_level, 1.0, roof_m)
