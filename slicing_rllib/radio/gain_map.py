"""The map of link gains: the SNR of every cell at every map position.

It is computed once per map seed and read in every step. Line of sight and shadowing are maps, too,
and not drawn per UE: two UEs at one position have the same channel, and the sectors of a site share
line of sight and shadowing.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtr

from slicing_rllib.radio.area import Area
from slicing_rllib.radio.environment import ENVIRONMENTS
from slicing_rllib.radio.fields import FieldSampler
from slicing_rllib.radio.propagation import noise_power_dbm
from slicing_rllib.radio.radio_spec import RadioSpec
from slicing_rllib.radio.random_streams import Stream, make_generator
from slicing_rllib.radio.sites import MastSpec, SiteSpec

Map = Float[np.ndarray, "row column"]


@dataclass(frozen=True)
class GainMap:
    """Linear SNR of every cell at every map position, at full power over the whole carrier."""

    shape: tuple[int, int]
    """Rows and columns of the map."""
    snr: Float[np.ndarray, "position cell"]


@lru_cache(maxsize=4)
def build_gain_map(
    sites: tuple[SiteSpec, ...], area: Area, radio: RadioSpec, map_seed: int
) -> GainMap:
    """The map of a network for one draw of its shadowing and line of sight."""
    shape = area.grid_shape(radio.map_resolution_m)
    shadowing = Shadowing(area, shape, radio, map_seed)
    snr_db = [
        sector_snr_db(site.mast, links, shadowing.loss_db(index, site.mast, links), radio)
        for index, site in enumerate(sites)
        for links in [
            LinkGeometry.from_offsets(
                site.mast, offsets_from_site_m(site, area, area.grid_m(shape)), radio
            )
        ]
    ]
    flat_db = np.concatenate(snr_db, axis=-1).reshape(shape[0] * shape[1], -1)
    return GainMap(shape, np.ascontiguousarray(10 ** (flat_db / 10)))


@dataclass(frozen=True)
class LinkGeometry:
    """Angles and distances from a site to map positions."""

    azimuth_deg: Float[np.ndarray, "*points"]
    """Anticlockwise from the x axis."""
    depression_deg: Float[np.ndarray, "*points"]
    """Angle below the horizon."""
    horizontal_m: Float[np.ndarray, "*points"]
    distance_m: Float[np.ndarray, "*points"]
    """In three dimensions."""

    @classmethod
    def from_offsets(
        cls, mast: MastSpec, offsets_m: Float[np.ndarray, "*points 2"], radio: RadioSpec
    ) -> "LinkGeometry":
        """From horizontal vectors; positions nearer than `min_distance_m` count as that far."""
        horizontal_m = np.maximum(np.linalg.norm(offsets_m, axis=-1), radio.min_distance_m)
        drop_m = mast.height_m - radio.ue_height_m
        return cls(
            azimuth_deg=np.degrees(np.arctan2(offsets_m[..., 1], offsets_m[..., 0])),
            depression_deg=np.degrees(np.arctan2(drop_m, horizontal_m)),
            horizontal_m=horizontal_m,
            distance_m=np.hypot(horizontal_m, drop_m),
        )


def offsets_from_site_m(
    site: SiteSpec, area: Area, positions_m: Float[np.ndarray, "*points 2"]
) -> Float[np.ndarray, "*points 2"]:
    """The shortest vector from a site to each position."""
    return area.displacements_m(np.array([site.x_m, site.y_m]), positions_m)


class Shadowing:
    """Line of sight and shadowing of each site.

    The shadowing is S = sqrt(c) common + sqrt(1 - c) own, where `common` is one field for all sites
    and c is the correlation between sites. Line of sight is independent between sites.
    """

    def __init__(self, area: Area, shape: tuple[int, int], radio: RadioSpec, map_seed: int) -> None:
        self._radio = radio
        self._map_seed = map_seed
        self._environment = ENVIRONMENTS[radio.environment]
        environment = self._environment
        self._los_field = FieldSampler(area, shape, environment.los_correlation_m)
        self._nlos_field = FieldSampler(area, shape, environment.nlos_correlation_m)
        self._common = self._draw_fields(Stream.COMMON_SHADOWING, 0)

    def loss_db(self, index: int, mast: MastSpec, links: LinkGeometry) -> Map:
        """Path loss and shadowing to the site with that index."""
        common, own = self._radio.site_correlation, 1 - self._radio.site_correlation
        los_field, nlos_field = np.sqrt(common) * self._common + np.sqrt(own) * self._draw_fields(
            Stream.SHADOWING, index
        )
        los = self.draw_line_of_sight(index, links)
        return shadowed_loss_db(mast, links, los, (los_field, nlos_field), self._radio)

    def draw_line_of_sight(self, index: int, links: LinkGeometry) -> Bool[np.ndarray, "row column"]:
        """Which map positions have line of sight to the site with that index."""
        field = self._los_field.draw(make_generator(self._map_seed, Stream.LINE_OF_SIGHT, index))
        return ndtr(field) < self._environment.los_probability(links.horizontal_m)

    def _draw_fields(self, stream: Stream, index: int) -> Float[np.ndarray, "2 row column"]:
        """One field for positions with line of sight, and one for positions without."""
        rng = make_generator(self._map_seed, stream, index)
        return np.stack([self._los_field.draw(rng), self._nlos_field.draw(rng)])


def shadowed_loss_db(
    mast: MastSpec,
    links: LinkGeometry,
    los: Bool[np.ndarray, "*points"],
    fields: tuple[Float[np.ndarray, "*points"], Float[np.ndarray, "*points"]],
    radio: RadioSpec,
) -> Float[np.ndarray, "*points"]:
    """Path loss + shadowing; `fields` are for positions with and without line of sight."""
    environment = ENVIRONMENTS[radio.environment]
    path_db = environment.path_loss_db(
        los,
        links.distance_m,
        bs_height_m=mast.height_m,
        ue_height_m=radio.ue_height_m,
        carrier_hz=radio.carrier_hz,
    )
    sigma_db = environment.shadowing_sigma_db(
        los,
        links.distance_m,
        bs_height_m=mast.height_m,
        ue_height_m=radio.ue_height_m,
        carrier_hz=radio.carrier_hz,
    )
    return path_db + sigma_db * np.where(los, fields[0], fields[1])


def sector_snr_db(
    mast: MastSpec, links: LinkGeometry, loss_db: Float[np.ndarray, "*points"], radio: RadioSpec
) -> Float[np.ndarray, "*points sector"]:
    """SNR of each sector at full power, from the loss that a site's sectors share."""
    noise_dbm = noise_power_dbm(radio.bandwidth_hz, radio.noise_figure_db)
    gains_db = [
        radio.antenna.gain_db(links.azimuth_deg - azimuth, links.depression_deg, tilt_deg)
        for azimuth, tilt_deg in zip(mast.azimuths_deg, mast.tilts_deg, strict=True)
    ]
    powers_dbm = np.array(mast.powers_dbm)
    return powers_dbm - noise_dbm - loss_db[..., None] + np.stack(gains_db, axis=-1)


def expected_loss_db(
    mast: MastSpec, links: LinkGeometry, radio: RadioSpec
) -> Float[np.ndarray, "*points"]:
    """Mean path loss in dB over line of sight and none, weighted by their probabilities."""
    environment = ENVIRONMENTS[radio.environment]
    probability = environment.los_probability(links.horizontal_m)
    los_db, nlos_db = (
        model(
            links.distance_m,
            bs_height_m=mast.height_m,
            ue_height_m=radio.ue_height_m,
            carrier_hz=radio.carrier_hz,
        )
        for model in (environment.path_loss.los_db, environment.path_loss.nlos_db)
    )
    return probability * los_db + (1 - probability) * nlos_db
