"""A static drop of UEs, some of them on floors of buildings: what 3GPP calibrates models with.

Unlike the running simulator, which looks gains up in a map of street level, a drop draws line of
sight and shadowing per UE and site. Source: TR 36.873, sections 7.2 and 8.2 (phase 1).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from slicing_rllib.radio.environment import ENVIRONMENTS, Environment
from slicing_rllib.radio.scenario import IndoorSpec, Scenario
from slicing_rllib.radio.sites import SiteSpec

PerUe = Float[np.ndarray, " ue"]
TALL_FROM_M = 13.0
"""Height from which TR 36.873's 3D-UMa lets UEs see over roofs."""


class Placed(NamedTuple):
    """UEs where they stand."""

    place_m: Float[np.ndarray, "ue 2"]
    height_m: PerUe
    indoor: Bool[np.ndarray, " ue"]
    depth_m: PerUe
    """Way through the building; 0 outdoors."""


class Drop(NamedTuple):
    """What each UE hears of the cell it attaches to, over the strongest of all."""

    coupling_gain_db: PerUe
    """Antenna gain less path loss, shadowing and walls."""
    geometry_db: PerUe
    """Power of the strongest cell over the sum of the others; no noise, everybody at full load."""


def static_drop(scenario: Scenario, n_ues: int, rng: np.random.Generator) -> Drop:
    """Drops UEs evenly, none nearer to a site than `min_distance_m`, and measures them."""
    placed = _place(scenario, n_ues, rng)
    common = rng.standard_normal(n_ues)
    gain_db = np.concatenate(
        [_sector_gains_db(scenario, site, placed, common, rng) for site in scenario.sites], axis=1
    )
    power_dbm = np.array([s.mast.power_dbm for s in scenario.sites for _ in s.mast.azimuths_deg])
    received = 10 ** ((power_dbm + gain_db) / 10)
    best = received.argmax(axis=1)
    strongest = received[np.arange(n_ues), best]
    others = received.sum(axis=1) - strongest
    return Drop(gain_db[np.arange(n_ues), best], 10 * np.log10(strongest / others))


def _place(scenario: Scenario, n_ues: int, rng: np.random.Generator) -> Placed:
    place_m = scenario.ground.metres(rng.random((n_ues, 2)))
    too_near = _near_a_site(scenario, place_m)
    while too_near.any():
        place_m[too_near] = scenario.ground.metres(rng.random((int(too_near.sum()), 2)))
        too_near = _near_a_site(scenario, place_m)
    spec = scenario.indoor
    indoor = rng.random(n_ues) < spec.share
    floors = rng.integers(spec.min_floors, spec.max_floors + 1, n_ues)
    floor = np.floor(rng.random(n_ues) * floors)
    height_m = scenario.radio.ue_height_m + np.where(indoor, spec.floor_height_m * floor, 0.0)
    depth_m = np.where(indoor, rng.uniform(0.0, spec.max_depth_m, n_ues), 0.0)
    return Placed(place_m, height_m, indoor, depth_m)


def _near_a_site(scenario: Scenario, place_m: Float[np.ndarray, "ue 2"]) -> Bool[np.ndarray, " ue"]:
    near = np.zeros(len(place_m), bool)
    for site in scenario.sites:
        away_m = scenario.ground.displacements_m(np.array([site.x_m, site.y_m]), place_m)
        near |= np.linalg.norm(away_m, axis=-1) < scenario.radio.min_distance_m
    return near


def _sector_gains_db(
    scenario: Scenario, site: SiteSpec, placed: Placed, common: PerUe, rng: np.random.Generator
) -> Float[np.ndarray, "ue sector"]:
    """Gain of a site's sectors: one line of sight and one shadowing for all of them."""
    mast, radio = site.mast, scenario.radio
    away_m = scenario.ground.displacements_m(np.array([site.x_m, site.y_m]), placed.place_m)
    horizontal_m = np.linalg.norm(away_m, axis=-1)
    azimuth_deg = np.degrees(np.arctan2(away_m[:, 1], away_m[:, 0]))
    depression_deg = np.degrees(np.arctan2(mast.height_m - placed.height_m, horizontal_m))
    loss_db = _loss_db(scenario, mast.height_m, horizontal_m, placed, common, rng)
    gains_db = [
        radio.antenna.gain_db(azimuth_deg - azimuth, depression_deg, mast.tilt_deg)
        for azimuth in mast.azimuths_deg
    ]
    return np.stack(gains_db, axis=-1) - loss_db[:, None]


def _loss_db(
    scenario: Scenario,
    bs_height_m: float,
    horizontal_m: PerUe,
    placed: Placed,
    common: PerUe,
    rng: np.random.Generator,
) -> PerUe:
    radio = scenario.radio
    environment = ENVIRONMENTS[radio.environment]
    outdoor_m = np.maximum(horizontal_m - placed.depth_m, 0.0)
    seen_over_roofs = over_roofs(environment, outdoor_m, placed.height_m)
    los_probability = environment.los_probability(outdoor_m) * (1 + seen_over_roofs)
    los = rng.random(len(horizontal_m)) < los_probability
    distance_m = np.hypot(horizontal_m, bs_height_m - placed.height_m)
    where = {
        "bs_height_m": bs_height_m,
        "ue_height_m": placed.height_m,
        "carrier_hz": radio.carrier_hz,
    }
    if environment.tall_users:
        where["environment_height_m"] = _environment_height_m(seen_over_roofs, placed, rng)
    path_loss = environment.path_loss
    path_db = np.where(
        los, path_loss.los_db(distance_m, **where), path_loss.nlos_db(distance_m, **where)
    )
    outdoor_db = environment.shadowing_sigma_db(
        los,
        distance_m,
        bs_height_m=bs_height_m,
        ue_height_m=placed.height_m,
        carrier_hz=radio.carrier_hz,
    )
    sigma_db = np.where(placed.indoor, environment.indoor_sigma_db, outdoor_db)
    own = rng.standard_normal(len(horizontal_m))
    shadowing = np.sqrt(radio.site_correlation) * common + np.sqrt(1 - radio.site_correlation) * own
    return path_db + walls_db(scenario.indoor, placed) + sigma_db * shadowing


def walls_db(spec: IndoorSpec, placed: Placed) -> PerUe:
    """Loss of the outer wall and of the way behind it."""
    inside_db = spec.wall_db + spec.inside_db_per_m * placed.depth_m
    return np.where(placed.indoor, inside_db, 0.0)


def over_roofs(environment: Environment, outdoor_m: PerUe, height_m: PerUe) -> PerUe:
    """C of TR 36.873: how much likelier a tall UE has line of sight, less one."""
    if not environment.tall_users:
        return np.zeros_like(outdoor_m)
    above = np.maximum(np.minimum(height_m, 23.0) - TALL_FROM_M, 0.0) / 10
    far = np.where(outdoor_m > 18, 1.25e-6 * outdoor_m**2 * np.exp(-outdoor_m / 150), 0.0)
    return above**1.5 * far


def _environment_height_m(
    seen_over_roofs: PerUe, placed: Placed, rng: np.random.Generator
) -> PerUe:
    """1 m, or with probability C / (1 + C) a roof: 12, 15 ... up to 1.5 m below the UE."""
    roofs = np.maximum(np.floor((placed.height_m - 13.5) / 3), 0) + 1
    roof_m = 12 + 3 * np.floor(rng.random(len(roofs)) * roofs)
    street = rng.random(len(roofs)) < 1 / (1 + seen_over_roofs)
    return np.where(street, 1.0, roof_m)
