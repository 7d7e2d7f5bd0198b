"""How strongly every place of the map hears every cell: built once per seed, looked up per step.

Line of sight and shadowing are maps, not draws: two UEs at one place see one channel, and the
sectors of a site share both.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtr

from slicing_rllib.radio.environment import ENVIRONMENTS
from slicing_rllib.radio.fields import FieldSampler
from slicing_rllib.radio.layout import Layout
from slicing_rllib.radio.propagation import noise_power_dbm
from slicing_rllib.radio.random_streams import Stream, generator
from slicing_rllib.radio.scenario import RadioSpec
from slicing_rllib.radio.sites import MastSpec, SiteSpec

Map = Float[np.ndarray, "row column"]


@dataclass(frozen=True)
class GainMap:
    """SNR, linear, of every cell at full power at every place, over the carrier's noise."""

    shape: tuple[int, int]
    snr: Float[np.ndarray, "position cell"]


@lru_cache(maxsize=4)
def gain_map(
    sites: tuple[SiteSpec, ...], ground: Layout, radio: RadioSpec, map_seed: int
) -> GainMap:
    """The map of a network for one draw of its shadowing and line of sight."""
    shape = ground.grid_shape(radio.map_resolution_m)
    shadows = Shadowing(ground, shape, radio, map_seed)
    snr_db = [
        sector_snr_db(site.mast, sight, shadows.loss_db(index, site.mast, sight), radio)
        for index, site in enumerate(sites)
        for sight in [Sight.of(site.mast, away_m(site, ground, ground.grid_m(shape)), radio)]
    ]
    flat_db = np.concatenate(snr_db, axis=-1).reshape(shape[0] * shape[1], -1)
    return GainMap(shape, np.ascontiguousarray(10 ** (flat_db / 10)))


@dataclass(frozen=True)
class Sight:
    """A place as seen from a site."""

    azimuth_deg: Float[np.ndarray, "*places"]
    depression_deg: Float[np.ndarray, "*places"]
    horizontal_m: Float[np.ndarray, "*places"]
    distance_m: Float[np.ndarray, "*places"]

    @classmethod
    def of(
        cls, mast: MastSpec, away_m: Float[np.ndarray, "*places 2"], radio: RadioSpec
    ) -> "Sight":
        """From the ways to the places; nothing is nearer than `min_distance_m`."""
        horizontal_m = np.maximum(np.linalg.norm(away_m, axis=-1), radio.min_distance_m)
        drop_m = mast.height_m - radio.ue_height_m
        return cls(
            azimuth_deg=np.degrees(np.arctan2(away_m[..., 1], away_m[..., 0])),
            depression_deg=np.degrees(np.arctan2(drop_m, horizontal_m)),
            horizontal_m=horizontal_m,
            distance_m=np.hypot(horizontal_m, drop_m),
        )


def away_m(
    site: SiteSpec, ground: Layout, places_m: Float[np.ndarray, "*places 2"]
) -> Float[np.ndarray, "*places 2"]:
    """The shortest way from a site to each place."""
    return ground.displacements_m(np.array([site.x_m, site.y_m]), places_m)


class Shadowing:
    """Draws each site's line of sight and shadowing, with a share of it common to all sites.

    S = sqrt(c) common + sqrt(1 - c) own, c the correlation between sites. Whether a site is seen
    is its own affair: the field that decides it is the site's alone.
    """

    def __init__(
        self, ground: Layout, shape: tuple[int, int], radio: RadioSpec, map_seed: int
    ) -> None:
        self._radio = radio
        self._map_seed = map_seed
        self._environment = ENVIRONMENTS[radio.environment]
        environment = self._environment
        self._los_field = FieldSampler(ground, shape, environment.los_correlation_m)
        self._nlos_field = FieldSampler(ground, shape, environment.nlos_correlation_m)
        self._common = self._fields(Stream.COMMON_SHADOWING, 0)

    def loss_db(self, index: int, mast: MastSpec, sight: Sight) -> Map:
        """Path loss and shadowing towards one site."""
        common, own = self._radio.site_correlation, 1 - self._radio.site_correlation
        in_sight, hidden = np.sqrt(common) * self._common + np.sqrt(own) * self._fields(
            Stream.SHADOWING, index
        )
        los = self.sees(index, sight)
        return faded_loss_db(mast, sight, los, (in_sight, hidden), self._radio)

    def sees(self, index: int, sight: Sight) -> Bool[np.ndarray, "row column"]:
        """Which places have line of sight to a site."""
        field = self._los_field.draw(generator(self._map_seed, Stream.LINE_OF_SIGHT, index))
        return ndtr(field) < self._environment.los_probability(sight.horizontal_m)

    def _fields(self, stream: Stream, index: int) -> Float[np.ndarray, "2 row column"]:
        """The field for places with, and the one for places without line of sight."""
        rng = generator(self._map_seed, stream, index)
        return np.stack([self._los_field.draw(rng), self._nlos_field.draw(rng)])


def faded_loss_db(
    mast: MastSpec,
    sight: Sight,
    los: Bool[np.ndarray, "*places"],
    fields: tuple[Float[np.ndarray, "*places"], Float[np.ndarray, "*places"]],
    radio: RadioSpec,
) -> Float[np.ndarray, "*places"]:
    """Path loss and shadowing, from one field for places in sight and one for the others."""
    environment = ENVIRONMENTS[radio.environment]
    heights = {"bs_height_m": mast.height_m, "ue_height_m": radio.ue_height_m}
    path_loss, carrier_hz = environment.path_loss, radio.carrier_hz
    path_db = np.where(
        los,
        path_loss.los_db(sight.distance_m, carrier_hz=carrier_hz, **heights),
        path_loss.nlos_db(sight.distance_m, carrier_hz=carrier_hz, **heights),
    )
    sigma_db = environment.shadowing_sigma_db(
        los, sight.distance_m, carrier_hz=carrier_hz, **heights
    )
    return path_db + sigma_db * np.where(los, fields[0], fields[1])


def sector_snr_db(
    mast: MastSpec, sight: Sight, loss_db: Float[np.ndarray, "*places"], radio: RadioSpec
) -> Float[np.ndarray, "*places sector"]:
    """SNR of each sector at full power."""
    noise_dbm = noise_power_dbm(radio.bandwidth_hz, radio.noise_figure_db)
    gains_db = [
        radio.antenna.gain_db(sight.azimuth_deg - azimuth, sight.depression_deg, mast.tilt_deg)
        for azimuth in mast.azimuths_deg
    ]
    return mast.power_dbm - noise_dbm - loss_db[..., None] + np.stack(gains_db, axis=-1)


def expected_loss_db(
    mast: MastSpec, sight: Sight, radio: RadioSpec
) -> Float[np.ndarray, "*places"]:
    """Mean path loss in dB: what geometry alone says."""
    environment = ENVIRONMENTS[radio.environment]
    seen = environment.los_probability(sight.horizontal_m)
    heights = {"bs_height_m": mast.height_m, "ue_height_m": radio.ue_height_m}
    distance_m, carrier_hz = sight.distance_m, radio.carrier_hz
    loss_db = seen * environment.path_loss.los_db(distance_m, carrier_hz=carrier_hz, **heights)
    return loss_db + (1 - seen) * environment.path_loss.nlos_db(
        distance_m, carrier_hz=carrier_hz, **heights
    )
