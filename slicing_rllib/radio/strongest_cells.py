"""The strongest cells of every place, for networks too large to keep all of them.

The map is gone through tile by tile; at each, the sites around it are heard and the strongest cells
kept. Shadowing is the sum of a field common to all sites, drawn over the whole map, and one of the
site's own, cut from a few periodic fields at a place of the site's own: two sites that share one
are still independent, and a place has one channel however often it is looked up. Time and memory
grow with the map, not with the square of it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32
from scipy.fft import next_fast_len
from scipy.special import ndtr

from slicing_rllib.radio.environment import ENVIRONMENTS
from slicing_rllib.radio.fields import FieldSampler
from slicing_rllib.radio.gain_map import Sight, expected_loss_db, faded_loss_db, sector_snr_db
from slicing_rllib.radio.layout import Layout, Vector
from slicing_rllib.radio.random_streams import Stream, generator
from slicing_rllib.radio.scenario import RadioSpec
from slicing_rllib.radio.sites import MastSpec, SiteSpec

SITES_HEARD = 32
"""Nearest sites that are asked how well a place hears them; more if many cells are kept."""
TILE = 32
"""Map positions along the edge of a tile."""
PERIOD_M = 3500.0
"""After which a site's own shadowing repeats itself, far beyond where it is heard."""
FIELDS = 48
"""Independent fields that sites' own shadowing is cut from."""

Tile = tuple[slice, slice]
Sites = Int[np.ndarray, " site"]
Places = Float[np.ndarray, "site row column"]


@dataclass(frozen=True)
class StrongestCells:
    """Per place its strongest cells, strongest first, and their SNR, linear, at full power."""

    shape: tuple[int, int]
    cell: Int32[np.ndarray, "position kept"]
    snr: Float32[np.ndarray, "position kept"]


Loss = Callable[[Sites, MastSpec, Sight, Tile], Places]
"""Loss in dB from a tile's places to sites with the same mast."""


def strongest_cells(
    sites: tuple[SiteSpec, ...], ground: Layout, radio: RadioSpec, map_seed: int
) -> StrongestCells:
    """The map of a network for one draw of its shadowing and line of sight."""
    shape = ground.grid_shape(radio.map_resolution_m)
    return _strongest(sites, ground, radio, shape, _Shadowed(sites, ground, radio, shape, map_seed))


@lru_cache(maxsize=2)
def expected_strongest_cells(
    sites: tuple[SiteSpec, ...], ground: Layout, radio: RadioSpec, resolution_m: float
) -> StrongestCells:
    """The same from geometry alone, without shadowing."""

    def loss_db(_: Sites, mast: MastSpec, sight: Sight, tile: Tile) -> Places:
        return expected_loss_db(mast, sight, radio)

    return _strongest(sites, ground, radio, ground.grid_shape(resolution_m), loss_db)


class _Shadowed:
    """Loss with the line of sight and shadowing of one seed."""

    def __init__(
        self,
        sites: tuple[SiteSpec, ...],
        ground: Layout,
        radio: RadioSpec,
        shape: tuple[int, int],
        map_seed: int,
    ) -> None:
        self._radio, self._shape = radio, shape
        self._environment = ENVIRONMENTS[radio.environment]
        environment = self._environment
        correlations_m = environment.los_correlation_m, environment.nlos_correlation_m
        rng = generator(map_seed, Stream.COMMON_SHADOWING, 0)
        self._common = np.stack([
            FieldSampler(ground, shape, correlation_m).draw(rng).astype(np.float32)
            for correlation_m in correlations_m
        ])  # fmt: skip
        self._period = _period(ground, shape)
        torus = _torus(ground, shape, self._period)
        los, nlos = (FieldSampler(torus, self._period, each_m) for each_m in correlations_m)
        self._bank = np.empty((FIELDS, 3, *self._period), np.float32)
        for index, fields in enumerate(self._bank):
            rng = generator(map_seed, Stream.SHADOWING, index)
            fields[:] = los.draw(rng), nlos.draw(rng), ndtr(los.draw(rng))
        self._cut = np.array([
            generator(map_seed, Stream.LINE_OF_SIGHT, index).integers(0, (FIELDS, *self._period))
            for index in range(len(sites))
        ])  # fmt: skip
        self._antipode = _antipodes(sites, ground, shape)

    def __call__(self, sites: Sites, mast: MastSpec, sight: Sight, tile: Tile) -> Places:
        own = self._own(sites, tile)
        los = own[2] < self._environment.los_probability(sight.horizontal_m)
        alike = self._radio.site_correlation
        common = self._common[:, None, tile[0], tile[1]]
        in_sight, hidden = math.sqrt(alike) * common + math.sqrt(1 - alike) * own[:2]
        return faded_loss_db(mast, sight, los, (in_sight, hidden), self._radio)

    def _own(self, sites: Sites, tile: Tile) -> Float32[np.ndarray, "3 site row column"]:
        """Both fields of each site's own, and how unlikely a line of sight it takes to see it.

        A site's field is cut open opposite of it, where the map wraps around.
        """
        rows, columns = (
            ((np.arange(axis.start, axis.stop) - self._antipode[sites, number, None])
             % self._shape[number] + self._cut[sites, 1 + number, None]) % self._period[number]
            for number, axis in enumerate(tile)
        )  # fmt: skip
        field = self._cut[sites, 0, None, None]
        return np.moveaxis(self._bank[field, :, rows[:, :, None], columns[:, None, :]], -1, 0)


def _period(ground: Layout, shape: tuple[int, int]) -> tuple[int, int]:
    """The map's own where that is small, so that it wraps around without a seam."""
    rows, columns = (
        min(size, int(next_fast_len(math.ceil(PERIOD_M / math.hypot(*edge) * size)) or size))
        for edge, size in zip(ground.edges_m, shape, strict=True)
    )
    return rows, columns


def _torus(ground: Layout, shape: tuple[int, int], period: tuple[int, int]) -> Layout:
    edges: list[Vector] = [
        (edge[0] * part / whole, edge[1] * part / whole)
        for edge, part, whole in zip(ground.edges_m, period, shape, strict=True)
    ]
    return Layout(origin_m=(0.0, 0.0), edges_m=(edges[0], edges[1]), wraps=True)


def _antipodes(
    sites: tuple[SiteSpec, ...], ground: Layout, shape: tuple[int, int]
) -> Int[np.ndarray, "site 2"]:
    """Row and column opposite of each site on a torus; the first ones between walls."""
    if not ground.wraps:
        return np.zeros((len(sites), 2), np.int64)
    places = ground.fractions(np.array([(site.x_m, site.y_m) for site in sites]))
    return np.floor((places + 0.5) * shape).astype(np.int64)


def _strongest(
    sites: tuple[SiteSpec, ...],
    ground: Layout,
    radio: RadioSpec,
    shape: tuple[int, int],
    loss_db: Loss,
) -> StrongestCells:
    listener = _Listener(sites, ground, radio, shape, loss_db)
    kept = listener.kept
    cell = np.zeros((*shape, kept), np.int32)
    snr = np.zeros((*shape, kept), np.float32)
    for tile in _tiles(shape):
        found = listener.at(tile)
        size = cell[tile].shape
        best = np.argpartition(-found.snr_db, kept - 1, axis=0)[:kept]
        best_db = np.take_along_axis(found.snr_db, best, axis=0)
        # Equal ones in the order of their numbers.
        order = np.lexsort((found.cell[best], -best_db), axis=0)
        cell[tile] = np.take_along_axis(found.cell[best], order, axis=0).T.reshape(size)
        snr[tile] = 10 ** (np.take_along_axis(best_db, order, axis=0).T.reshape(size) / 10)
    positions = shape[0] * shape[1]
    return StrongestCells(shape, cell.reshape(positions, kept), snr.reshape(positions, kept))


def _tiles(shape: tuple[int, int]) -> Iterator[Tile]:
    for row in range(0, shape[0], TILE):
        for column in range(0, shape[1], TILE):
            rows = slice(row, min(row + TILE, shape[0]))
            yield rows, slice(column, min(column + TILE, shape[1]))


class _Heard(NamedTuple):
    """Cells that a tile's places are asked about."""

    cell: Int[np.ndarray, " candidate"]
    snr_db: Float[np.ndarray, "candidate position"]


class _Listener:
    """Knows which sites stand around a tile, and how well its places hear them."""

    def __init__(
        self,
        sites: tuple[SiteSpec, ...],
        ground: Layout,
        radio: RadioSpec,
        shape: tuple[int, int],
        loss_db: Loss,
    ) -> None:
        self._ground, self._radio, self._shape, self._loss_db = ground, radio, shape, loss_db
        self._site_m = np.array([(site.x_m, site.y_m) for site in sites])
        sectors = np.array([len(site.mast.azimuths_deg) for site in sites])
        self._first_cell = np.cumsum(sectors) - sectors
        self.kept = min(radio.cells_kept, int(sectors.sum()))
        self._heard = max(SITES_HEARD, math.ceil(self.kept / sectors.min()))
        self._masts = list(dict.fromkeys(site.mast for site in sites))
        number = {mast: index for index, mast in enumerate(self._masts)}
        self._mast = np.array([number[site.mast] for site in sites])

    def at(self, tile: Tile) -> _Heard:
        rows, columns = ((np.arange(axis.start, axis.stop) + 0.5) / size
                         for axis, size in zip(tile, self._shape, strict=True))  # fmt: skip
        places_m = self._ground.metres(np.stack(np.meshgrid(rows, columns, indexing="ij"), -1))
        near, away_m = self._around(places_m)
        cells, found = [], []
        for number in np.unique(self._mast[near]):
            mast, chosen = self._masts[number], self._mast[near] == number
            which = near[chosen]
            sight = Sight.of(mast, away_m[chosen], self._radio)
            loss_db = self._loss_db(which, mast, sight, tile)
            sectors = len(mast.azimuths_deg)
            cells.append((self._first_cell[which, None] + np.arange(sectors)).ravel())
            snr_db = np.moveaxis(sector_snr_db(mast, sight, loss_db, self._radio), -1, 1)
            found.append(snr_db.reshape(len(cells[-1]), -1))
        return _Heard(np.concatenate(cells), np.concatenate(found))

    def _around(
        self, places_m: Float[np.ndarray, "row column 2"]
    ) -> tuple[Sites, Float32[np.ndarray, "site row column 2"]]:
        """The sites nearest to a tile, and the way from each to each place."""
        centre_m = places_m.mean(axis=(0, 1))
        to_centre_m = self._ground.displacements_m(self._site_m, centre_m)
        near = np.argsort((to_centre_m**2).sum(axis=1), kind="stable")[: self._heard]
        if len(self._site_m) > 3 * self._heard:
            away_m = to_centre_m[near, None, None] + (places_m - centre_m)
        else:
            # On a small torus the way to a place may be round the other side.
            away_m = self._ground.displacements_m(self._site_m[near, None, None], places_m)
        return near, away_m.astype(np.float32)
