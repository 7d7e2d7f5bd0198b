"""The strongest cells of each map position, for networks too large to keep all cells.

The map is computed tile by tile. For the positions of a tile, the SNR of the cells of the nearest
sites is computed, and the strongest cells are kept. Time and memory grow linearly with the map.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from slicing_rllib.radio.area import Area
from slicing_rllib.radio.gain_map import LinkGeometry, expected_loss_db, sector_snr_db
from slicing_rllib.radio.radio_spec import RadioSpec
from slicing_rllib.radio.sites import MastSpec, SiteSpec
from slicing_rllib.radio.tiled_shadowing import (
    PerPosition,
    ShadowedLoss,
    Sites,
    Tile,
    list_indices,
)

SITES_CONSIDERED = 32
"""Number of nearest sites whose cells are candidates; more if many cells are kept."""
TILE = 32
"""Map positions along the edge of a tile."""


@dataclass(frozen=True)
class StrongestCells:
    """The strongest cells of each map position, strongest first."""

    shape: tuple[int, int]
    """Rows and columns of the map."""
    cell: Int32[np.ndarray, "position kept"]
    """Indices of the cells."""
    snr: Float32[np.ndarray, "position kept"]
    """Their linear SNR at full power."""


Loss = Callable[[Sites, MastSpec, LinkGeometry, Tile], PerPosition]
"""Loss in dB between the positions of a tile and sites that have the same mast."""


def find_strongest_cells(
    sites: tuple[SiteSpec, ...], area: Area, radio: RadioSpec, map_seed: int
) -> StrongestCells:
    """The strongest cells for one draw of shadowing and line of sight."""
    shape = area.grid_shape(radio.map_resolution_m)
    loss = ShadowedLoss(sites, area, radio, shape, map_seed)
    return _select_strongest_cells(sites, area, radio, shape, loss)


@lru_cache(maxsize=2)
def find_expected_strongest_cells(
    sites: tuple[SiteSpec, ...], area: Area, radio: RadioSpec, resolution_m: float
) -> StrongestCells:
    """The strongest cells by mean path loss, without shadowing."""

    def compute_loss_db(_: Sites, mast: MastSpec, links: LinkGeometry, tile: Tile) -> PerPosition:
        return expected_loss_db(mast, links, radio)

    shape = area.grid_shape(resolution_m)
    return _select_strongest_cells(sites, area, radio, shape, compute_loss_db)


def _select_strongest_cells(
    sites: tuple[SiteSpec, ...],
    area: Area,
    radio: RadioSpec,
    shape: tuple[int, int],
    compute_loss_db: Loss,
) -> StrongestCells:
    candidates = _Candidates(sites, area, radio, shape, compute_loss_db)
    kept = candidates.kept
    cell = np.zeros((*shape, kept), np.int32)
    snr = np.zeros((*shape, kept), np.float32)
    for tile in _iterate_tiles(shape):
        found = candidates.compute_snr(tile)
        size = cell[tile].shape
        best = np.argpartition(-found.snr_db, kept - 1, axis=0)[:kept]
        best_db = np.take_along_axis(found.snr_db, best, axis=0)
        # Cells with equal SNR come in the order of their indices.
        order = np.lexsort((found.cell[best], -best_db), axis=0)
        cell[tile] = np.take_along_axis(found.cell[best], order, axis=0).T.reshape(size)
        snr[tile] = 10 ** (np.take_along_axis(best_db, order, axis=0).T.reshape(size) / 10)
    positions = shape[0] * shape[1]
    return StrongestCells(shape, cell.reshape(positions, kept), snr.reshape(positions, kept))


def _iterate_tiles(shape: tuple[int, int]) -> Iterator[Tile]:
    for row in range(0, shape[0], TILE):
        for column in range(0, shape[1], TILE):
            rows = slice(row, min(row + TILE, shape[0]))
            yield rows, slice(column, min(column + TILE, shape[1]))


class _CandidateSnr(NamedTuple):
    """SNR of the candidate cells at the positions of a tile."""

    cell: Int[np.ndarray, " candidate"]
    snr_db: Float[np.ndarray, "candidate position"]


class _Candidates:
    """The cells of the sites around a tile, from which the strongest are chosen."""

    def __init__(
        self,
        sites: tuple[SiteSpec, ...],
        area: Area,
        radio: RadioSpec,
        shape: tuple[int, int],
        compute_loss_db: Loss,
    ) -> None:
        self._area, self._radio, self._shape = area, radio, shape
        self._compute_loss_db = compute_loss_db
        self._site_m = np.array([(site.x_m, site.y_m) for site in sites])
        sectors = np.array([len(site.mast.azimuths_deg) for site in sites])
        self._first_cell = np.cumsum(sectors) - sectors
        self.kept = min(radio.cells_kept, int(sectors.sum()))
        self._n_sites = max(SITES_CONSIDERED, math.ceil(self.kept / sectors.min()))
        self._masts: list[MastSpec] = list(dict.fromkeys(site.mast for site in sites))
        number = {mast: index for index, mast in enumerate(self._masts)}
        self._mast = np.array([number[site.mast] for site in sites])

    def compute_snr(self, tile: Tile) -> _CandidateSnr:
        rows, columns = (
            (list_indices(axis) + 0.5) / size for axis, size in zip(tile, self._shape, strict=True)
        )
        positions_m = self._area.metres(np.stack(np.meshgrid(rows, columns, indexing="ij"), -1))
        near, offsets_m = self._find_sites(positions_m)
        cells: list[Int[np.ndarray, " candidate"]] = []
        snrs_db: list[Float[np.ndarray, "candidate position"]] = []
        for number, mast in enumerate(self._masts):
            has_mast = self._mast[near] == number
            if not has_mast.any():
                continue
            sites = near[has_mast]
            links = LinkGeometry.from_offsets(mast, offsets_m[has_mast], self._radio)
            loss_db = self._compute_loss_db(sites, mast, links, tile)
            sectors = len(mast.azimuths_deg)
            cells.append((self._first_cell[sites, None] + np.arange(sectors)).ravel())
            snr_db = np.moveaxis(sector_snr_db(mast, links, loss_db, self._radio), -1, 1)
            snrs_db.append(snr_db.reshape(len(cells[-1]), -1))
        return _CandidateSnr(np.concatenate(cells), np.concatenate(snrs_db))

    def _find_sites(
        self, positions_m: Float[np.ndarray, "row column 2"]
    ) -> tuple[Sites, Float32[np.ndarray, "site row column 2"]]:
        """The sites nearest to a tile, and the vector from each site to each position."""
        centre_m = positions_m.mean(axis=(0, 1))
        to_centre_m = self._area.displacements_m(self._site_m, centre_m)
        near = np.argsort((to_centre_m**2).sum(axis=1), kind="stable")[: self._n_sites]
        if len(self._site_m) > 3 * self._n_sites:
            offsets_m = to_centre_m[near, None, None] + (positions_m - centre_m)
        else:
            # On a small torus, the shortest way to a position may wrap around another edge than
            # the shortest way to the tile's centre.
            offsets_m = self._area.displacements_m(self._site_m[near, None, None], positions_m)
        return near, offsets_m.astype(np.float32)
