"""A static drop of UEs, some of them on upper floors: 3GPP calibrates channel models with it.

The simulator reads link gains from a map of street level. A drop instead draws line of sight and
shadowing for each UE and site. Source: TR 36.873, sections 7.2 and 8.2 (phase 1).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from slicing_rllib.radio.gain_map import LinkGeometry, sector_gains_db
from slicing_rllib.radio.propagation import Environment
from slicing_rllib.radio.scenario import Scenario
from slicing_rllib.radio.sites import SiteSpec
from slicing_rllib.registry import get_part

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
    site_m = np.array([(site.x_m, site.y_m) for site in scenario.sites])
    position_m = np.empty((n_ues, 2))
    too_near = np.ones(n_ues, bool)
    while too_near.any():
        position_m[too_near] = scenario.area.metres(rng.random((int(too_near.sum()), 2)))
        offsets_m = scenario.area.displacements_m(site_m[:, None], position_m)
        distances_m = np.linalg.norm(offsets_m, axis=-1)
        too_near = (distances_m < scenario.radio.min_distance_m).any(axis=0)
    spec = scenario.indoor
    is_indoor = rng.random(n_ues) < spec.share
    floors = rng.integers(spec.min_floors, spec.max_floors + 1, n_ues)
    floor = np.floor(rng.random(n_ues) * floors)
    height_m = scenario.radio.ue_height_m + np.where(is_indoor, spec.floor_height_m * floor, 0.0)
    depth_m = np.where(is_indoor, rng.uniform(0.0, spec.max_depth_m, n_ues), 0.0)
    return UeLocations(position_m, height_m, is_indoor, depth_m)


def _draw_sector_gains_db(
    scenario: Scenario, site: SiteSpec, ues: UeLocations, common: PerUe, rng: np.random.Generator
) -> Float[np.ndarray, "ue sector"]:
    """Gain to the sectors of a site, which share one draw of line of sight and shadowing.

    `common` is the part of the shadowing that all sites share, standard normal.
    """
    radio, indoor = scenario.radio, scenario.indoor
    environment: Environment = get_part("propagation", radio.environment)
    offsets_m = scenario.area.displacements_m(np.array([site.x_m, site.y_m]), ues.position_m)
    links = LinkGeometry.from_offsets(site.mast, offsets_m, radio, ues.height_m)
    outdoor_m = np.maximum(links.horizontal_m - ues.depth_m, 0.0)
    los_excess = tall_ue_los_excess(environment, outdoor_m, ues.height_m)
    los = rng.random(len(outdoor_m)) < environment.los_probability(outdoor_m) * (1 + los_excess)
    roof_m: float | PerUe = 1.0
    if environment.has_tall_ue_los:
        # 1 m, or with probability C / (1 + C) a roof: 12, 15 ... up to 1.5 m below the UE.
        roofs = np.maximum(np.floor((ues.height_m - 13.5) / 3), 0) + 1
        roof_m = 12 + 3 * np.floor(rng.random(len(roofs)) * roofs)
        roof_m = np.where(rng.random(len(roofs)) < 1 / (1 + los_excess), 1.0, roof_m)
    path_db = environment.path_loss_db(los, links.path._replace(environment_height_m=roof_m))
    outdoor_db = environment.shadowing_sigma_db(los, links.path)
    sigma_db = np.where(ues.is_indoor, environment.indoor_sigma_db, outdoor_db)
    own = rng.standard_normal(len(outdoor_m))
    shadowing = np.sqrt(radio.site_correlation) * common + np.sqrt(1 - radio.site_correlation) * own
    wall_db = np.where(ues.is_indoor, indoor.wall_db + indoor.inside_db_per_m * ues.depth_m, 0.0)
    loss_db = path_db + wall_db + sigma_db * shadowing
    return sector_gains_db(site.mast, links, radio) - loss_db[:, None]


def tall_ue_los_excess(environment: Environment, outdoor_m: PerUe, height_m: PerUe) -> PerUe:
    """C of TR 36.873, table 7.2-2: a UE at this height has line of sight 1 + C times as often.

    `outdoor_m` is the outdoor part of the horizontal distance to the site.
    """
    if not environment.has_tall_ue_los:
        return np.zeros_like(outdoor_m)
    above = np.maximum(np.minimum(height_m, 23.0) - TALL_UE_HEIGHT_M, 0.0) / 10
    far = np.where(outdoor_m > 18, 1.25e-6 * outdoor_m**2 * np.exp(-outdoor_m / 150), 0.0)
    return above**1.5 * far
