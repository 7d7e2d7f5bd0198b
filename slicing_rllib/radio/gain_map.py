"""Link gains on the map: the loss to each site and the SNR of its sectors, for one map seed.

Line of sight and shadowing are maps, too, and not drawn per UE: two UEs at one position have the
same channel, and the sectors of a site share line of sight and shadowing. Both come from spatially
correlated Gaussian random fields.

Small networks have fields of each site over the whole map (`Shadowing`), and a dense map. In large
ones (`ShadowedLoss`), only the field that all sites share is drawn over the whole map. A site's own
field is cut, at a random offset, from one of a few periodic fields. Two sites that use the same
periodic field at different offsets are nearly uncorrelated, and a position always has the same
channel. Memory grows with the map and not with the number of sites times the map.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy.fft import next_fast_len
from scipy.special import ndtr

from slicing_rllib.radio.propagation import (
    Environment,
    Metres,
    RadioPath,
    noise_power_dbm,
)
from slicing_rllib.radio.sites import Area, MastSpec, SiteSpec
from slicing_rllib.radio.specs import RadioSpec
from slicing_rllib.random_streams import Stream, make_generator
from slicing_rllib.registry import get_part

Field = Float[np.ndarray, "row column"]


class FieldSampler:
    """Draws fields with zero mean, unit variance and correlation exp(-d / correlation_m).

    On a torus, d is the wrapped distance. In an area with walls, the field is cut from a torus of
    twice the size, so that its values at opposite walls are uncorrelated.
    """

    def __init__(self, area: Area, shape: tuple[int, int], correlation_m: float) -> None:
        self._shape = shape
        self._torus_shape = shape if area.wraps else (2 * shape[0], 2 * shape[1])
        scale = 1.0 if area.wraps else 2.0
        (a, b), (c, d) = area.edges_m
        edges_m = (a * scale, b * scale), (c * scale, d * scale)
        torus = Area(origin_m=(0.0, 0.0), edges_m=edges_m, wraps=True)
        positions_m = torus.grid_m(self._torus_shape)
        offsets_m = torus.displacements_m(positions_m[0, 0], positions_m)
        correlation = np.exp(-np.linalg.norm(offsets_m, axis=-1) / correlation_m)
        # Square root of the power spectrum, for the non-redundant half of the frequencies. Wrapping
        # the correlation around the torus makes a few eigenvalues slightly negative: they are set
        # to zero, and the spectrum is rescaled to unit variance.
        spectrum = np.maximum(np.fft.fft2(correlation).real, 0.0)
        half = self._torus_shape[1] // 2 + 1
        self._amplitudes = np.sqrt(spectrum / spectrum.mean())[:, :half]

    def draw(self, rng: np.random.Generator) -> Field:
        """One field, from standard normal draws of `rng`."""
        white = np.fft.rfft2(rng.standard_normal(self._torus_shape))
        field = np.fft.irfft2(self._amplitudes * white, self._torus_shape)
        return field[: self._shape[0], : self._shape[1]]


@lru_cache(maxsize=4)
def build_gain_map(
    sites: tuple[SiteSpec, ...], area: Area, radio: RadioSpec, map_seed: int
) -> Float[np.ndarray, "position cell"]:
    """Linear SNR of every cell at every map position, at full power over the whole carrier.

    `map_seed` determines shadowing and line of sight.
    """
    shape = area.grid_shape(radio.map_resolution_m)
    shadowing = Shadowing(area, shape, radio, map_seed)
    snr_db: list[Float[np.ndarray, "row column sector"]] = []
    for index, site in enumerate(sites):
        offsets_m = area.displacements_m(np.array([site.x_m, site.y_m]), area.grid_m(shape))
        links = LinkGeometry.from_offsets(site.mast, offsets_m, radio)
        snr_db.append(sector_snr_db(site.mast, links, shadowing.loss_db(index, links), radio))
    flat_db = np.concatenate(snr_db, axis=-1).reshape(shape[0] * shape[1], -1)
    return np.ascontiguousarray(10 ** (flat_db / 10))


@dataclass(frozen=True)
class LinkGeometry:
    """Angles and distances from a site to positions of UEs."""

    azimuth_deg: Float[np.ndarray, "*points"]
    """Anticlockwise from the x axis."""
    depression_deg: Float[np.ndarray, "*points"]
    """Angle below the horizon."""
    horizontal_m: Float[np.ndarray, "*points"]
    path: RadioPath
    """What the path loss depends on."""

    @classmethod
    def from_offsets(
        cls,
        mast: MastSpec,
        offsets_m: Float[np.ndarray, "*points 2"],
        radio: RadioSpec,
        ue_height_m: Metres | None = None,
    ) -> "LinkGeometry":
        """From horizontal vectors; positions nearer than `min_distance_m` count as that far.

        Without `ue_height_m`, UEs are at street level.
        """
        height_m = radio.ue_height_m if ue_height_m is None else ue_height_m
        horizontal_m = np.maximum(np.linalg.norm(offsets_m, axis=-1), radio.min_distance_m)
        drop_m = mast.height_m - height_m
        return cls(
            azimuth_deg=np.degrees(np.arctan2(offsets_m[..., 1], offsets_m[..., 0])),
            depression_deg=np.degrees(np.arctan2(drop_m, horizontal_m)),
            horizontal_m=horizontal_m,
            path=RadioPath(
                np.hypot(horizontal_m, drop_m), mast.height_m, height_m, radio.carrier_hz
            ),
        )


class Shadowing:
    """Line of sight and shadowing of each site.

    The shadowing is S = sqrt(c) common + sqrt(1 - c) own, where `common` is one field for all sites
    and c is the correlation between sites. Line of sight is independent between sites.
    """

    def __init__(self, area: Area, shape: tuple[int, int], radio: RadioSpec, map_seed: int) -> None:
        self._map_seed, self._correlation = map_seed, radio.site_correlation
        self._environment = environment = get_part("propagation", radio.environment)
        self._los_field = FieldSampler(area, shape, environment.los_correlation_m)
        self._nlos_field = FieldSampler(area, shape, environment.nlos_correlation_m)
        self._common = self._draw_fields(Stream.COMMON_SHADOWING, 0)

    def loss_db(self, index: int, links: LinkGeometry) -> Field:
        """Path loss and shadowing to the site with that index."""
        common, own = self._correlation, 1 - self._correlation
        los_field, nlos_field = np.sqrt(common) * self._common + np.sqrt(own) * self._draw_fields(
            Stream.SHADOWING, index
        )
        los = self.draw_line_of_sight(index, links)
        return shadowed_loss_db(links, los, (los_field, nlos_field), self._environment)

    def draw_line_of_sight(self, index: int, links: LinkGeometry) -> Bool[np.ndarray, "row column"]:
        """Which map positions have line of sight to the site with that index."""
        field = self._los_field.draw(make_generator(self._map_seed, Stream.LINE_OF_SIGHT, index))
        return ndtr(field) < self._environment.los_probability(links.horizontal_m)

    def _draw_fields(self, stream: Stream, index: int) -> Float[np.ndarray, "2 row column"]:
        """One field for positions with line of sight, and one for positions without."""
        rng = make_generator(self._map_seed, stream, index)
        return np.stack([self._los_field.draw(rng), self._nlos_field.draw(rng)])


def shadowed_loss_db(
    links: LinkGeometry,
    los: Bool[np.ndarray, "*points"],
    fields: tuple[Float[np.ndarray, "*points"], Float[np.ndarray, "*points"]],
    environment: Environment,
) -> Float[np.ndarray, "*points"]:
    """Path loss + shadowing; `fields` are for positions with and without line of sight."""
    sigma_db = environment.shadowing_sigma_db(los, links.path)
    path_db = environment.path_loss_db(los, links.path)
    return path_db + sigma_db * np.where(los, fields[0], fields[1])


def sector_snr_db(
    mast: MastSpec, links: LinkGeometry, loss_db: Float[np.ndarray, "*points"], radio: RadioSpec
) -> Float[np.ndarray, "*points sector"]:
    """SNR of each sector at full power, from the loss that a site's sectors share."""
    noise_dbm = noise_power_dbm(radio.bandwidth_hz, radio.noise_figure_db)
    powers_dbm = np.array(mast.powers_dbm)
    return powers_dbm - noise_dbm - loss_db[..., None] + sector_gains_db(mast, links, radio)


def sector_gains_db(
    mast: MastSpec, links: LinkGeometry, radio: RadioSpec
) -> Float[np.ndarray, "*points sector"]:
    """Antenna gain of each sector."""
    gains_db = [
        radio.antenna.gain_db(links.azimuth_deg - azimuth, links.depression_deg, tilt_deg)
        for azimuth, tilt_deg in zip(mast.azimuths_deg, mast.tilts_deg, strict=True)
    ]
    return np.stack(gains_db, axis=-1)


PERIOD_M = 3500.0
"""Period of a site's own shadowing, far beyond the distance at which the site is received."""
FIELDS = 48
"""Number of independent periodic fields from which sites' own shadowing is cut."""

Tile = tuple[slice, slice]
"""Rows and columns of the map."""
Sites = Int[np.ndarray, " site"]
PerPosition = Float[np.ndarray, "site row column"]


class ShadowedLoss:
    """Path loss and shadowing with the line of sight and the fields of one seed."""

    def __init__(
        self,
        sites: tuple[SiteSpec, ...],
        area: Area,
        radio: RadioSpec,
        shape: tuple[int, int],
        map_seed: int,
    ) -> None:
        self._shape, self._correlation = shape, radio.site_correlation
        self._environment = environment = get_part("propagation", radio.environment)
        correlations_m = environment.los_correlation_m, environment.nlos_correlation_m
        rng = make_generator(map_seed, Stream.COMMON_SHADOWING, 0)
        self._common = np.stack([
            FieldSampler(area, shape, correlation_m).draw(rng).astype(np.float32)
            for correlation_m in correlations_m
        ])  # fmt: skip
        # The period is that of a small map itself, which avoids a seam.
        rows, columns = (
            min(size, int(next_fast_len(math.ceil(PERIOD_M / math.hypot(*edge) * size)) or size))
            for edge, size in zip(area.edges_m, shape, strict=True)
        )
        self._period = rows, columns
        (a, b), (c, d) = area.edges_m
        edges_m = (
            (a * rows / shape[0], b * rows / shape[0]),
            (c * columns / shape[1], d * columns / shape[1]),
        )
        torus = Area(origin_m=(0.0, 0.0), edges_m=edges_m, wraps=True)
        los, nlos = (FieldSampler(torus, self._period, each_m) for each_m in correlations_m)
        self._fields = np.empty((FIELDS, 3, *self._period), np.float32)
        for index, fields in enumerate(self._fields):
            rng = make_generator(map_seed, Stream.SHADOWING, index)
            fields[:] = los.draw(rng), nlos.draw(rng), ndtr(los.draw(rng))
        self._field_and_offset = np.array([
            make_generator(map_seed, Stream.LINE_OF_SIGHT, index)
            .integers(0, (FIELDS, *self._period))
            for index in range(len(sites))
        ])  # fmt: skip
        # Row and column of the map opposite of each site: where the seam of its fields is.
        self._antipode = np.zeros((len(sites), 2), np.int64)
        if area.wraps:
            location = area.fractions(np.array([(site.x_m, site.y_m) for site in sites]))
            self._antipode[:] = np.floor((location + 0.5) * shape)

    def __call__(self, sites: Sites, links: LinkGeometry, tile: Tile) -> PerPosition:
        own = self._cut_fields(sites, tile)
        los = own[2] < self._environment.los_probability(links.horizontal_m)
        correlation = self._correlation
        common = self._common[:, None, tile[0], tile[1]]
        los_field, nlos_field = (
            math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own[:2]
        )
        return shadowed_loss_db(links, los, (los_field, nlos_field), self._environment)

    def _cut_fields(self, sites: Sites, tile: Tile) -> Float32[np.ndarray, "3 site row column"]:
        """Each site's own fields: shadowing with line of sight, without, and a uniform field.

        A position has line of sight where the uniform field is below the probability of it.
        """
        rows, columns = (
            ((np.arange(self._shape[number])[axis] - self._antipode[sites, number, None])
             % self._shape[number] + self._field_and_offset[sites, 1 + number, None])
            % self._period[number]
            for number, axis in enumerate(tile)
        )  # fmt: skip
        field = self._field_and_offset[sites, 0, None, None]
        return np.moveaxis(self._fields[field, :, rows[:, :, None], columns[:, None, :]], -1, 0)
