"""Shadowing and line of sight of many sites, tile by tile of a large map.

Shadowing is the sum of a field that all sites share, drawn over the whole map, and a field of the
site's own. The latter is cut, at a random offset, from one of a few periodic fields. Two sites that
use the same periodic field at different offsets are nearly uncorrelated, and a position always has
the same channel. Memory grows with the map and not with the number of sites times the map.
"""

import math

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.fft import next_fast_len
from scipy.special import ndtr

from slicing_rllib.radio.area import Area, Vector
from slicing_rllib.radio.environment import ENVIRONMENTS
from slicing_rllib.radio.fields import FieldSampler
from slicing_rllib.radio.gain_map import LinkGeometry, shadowed_loss_db
from slicing_rllib.radio.radio_spec import RadioSpec
from slicing_rllib.radio.random_streams import Stream, make_generator
from slicing_rllib.radio.sites import MastSpec, SiteSpec

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
