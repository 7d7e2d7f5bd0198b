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

from slicing_rllib.radio.propagation import ENVIRONMENTS, RadioPath, noise_power_dbm
from slicing_rllib.radio.sites import Area, MastSpec, SiteSpec, Vector
from slicing_rllib.radio.specs import RadioSpec
from slicing_rllib.random_streams import Stream, make_generator

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
    environment, path = ENVIRONMENTS[radio.environment], make_path(mast, links, radio)
    sigma_db = environment.shadowing_sigma_db(los, path)
    return environment.path_loss_db(los, path) + sigma_db * np.where(los, fields[0], fields[1])


def make_path(mast: MastSpec, links: LinkGeometry, radio: RadioSpec) -> RadioPath:
    """What the path loss of these links depends on."""
    return RadioPath(links.distance_m, mast.height_m, radio.ue_height_m, radio.carrier_hz)


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
    environment, path = ENVIRONMENTS[radio.environment], make_path(mast, links, radio)
    probability, model = environment.los_probability(links.horizontal_m), environment.path_loss
    return probability * model.los_db(path) + (1 - probability) * model.nlos_db(path)


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
        self._radio, self._shape = radio, shape
        self._environment = ENVIRONMENTS[radio.environment]
        environment = self._environment
        correlations_m = environment.los_correlation_m, environment.nlos_correlation_m
        rng = make_generator(map_seed, Stream.COMMON_SHADOWING, 0)
        self._common = np.stack([
            FieldSampler(area, shape, correlation_m).draw(rng).astype(np.float32)
            for correlation_m in correlations_m
        ])  # fmt: skip
        self._period = _field_period(area, shape)
        torus = _field_torus(area, shape, self._period)
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
        self._antipode = _find_antipodes(sites, area, shape)

    def __call__(
        self, sites: Sites, mast: MastSpec, links: LinkGeometry, tile: Tile
    ) -> PerPosition:
        own = self._cut_fields(sites, tile)
        los = own[2] < self._environment.los_probability(links.horizontal_m)
        correlation = self._radio.site_correlation
        common = self._common[:, None, tile[0], tile[1]]
        los_field, nlos_field = (
            math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own[:2]
        )
        return shadowed_loss_db(mast, links, los, (los_field, nlos_field), self._radio)

    def _cut_fields(self, sites: Sites, tile: Tile) -> Float32[np.ndarray, "3 site row column"]:
        """Each site's own fields: shadowing with line of sight, without, and a uniform field.

        A position has line of sight where the uniform field is below the probability of it. The
        seam of a site's fields on the torus lies opposite of the site.
        """
        rows, columns = (
            ((list_indices(axis) - self._antipode[sites, number, None])
             % self._shape[number] + self._field_and_offset[sites, 1 + number, None])
            % self._period[number]
            for number, axis in enumerate(tile)
        )  # fmt: skip
        field = self._field_and_offset[sites, 0, None, None]
        return np.moveaxis(self._fields[field, :, rows[:, :, None], columns[:, None, :]], -1, 0)


def list_indices(axis: slice) -> Int[np.ndarray, " index"]:
    """The indices that a slice with a start and a stop selects."""
    return np.arange(int(axis.start), int(axis.stop))


def _field_period(area: Area, shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the periodic fields: the map's own if it is small, to avoid a seam."""
    rows, columns = (
        min(size, int(next_fast_len(math.ceil(PERIOD_M / math.hypot(*edge) * size)) or size))
        for edge, size in zip(area.edges_m, shape, strict=True)
    )
    return rows, columns


def _field_torus(area: Area, shape: tuple[int, int], period: tuple[int, int]) -> Area:
    """The torus that the periodic fields cover, with the map's resolution."""
    edges: list[Vector] = [
        (edge[0] * part / whole, edge[1] * part / whole)
        for edge, part, whole in zip(area.edges_m, period, shape, strict=True)
    ]
    return Area(origin_m=(0.0, 0.0), edges_m=(edges[0], edges[1]), wraps=True)


def _find_antipodes(
    sites: tuple[SiteSpec, ...], area: Area, shape: tuple[int, int]
) -> Int[np.ndarray, "site 2"]:
    """Row and column of the map opposite of each site on a torus; zeros between walls."""
    if not area.wraps:
        return np.zeros((len(sites), 2), np.int64)
    location = area.fractions(np.array([(site.x_m, site.y_m) for site in sites]))
    return np.floor((location + 0.5) * shape).astype(np.int64)
