"""The strongest cells of each map position, and what follows from them: neighbours, sparse maps.

Networks too large to keep every cell everywhere keep the strongest ones. They are found tile by
tile: for the positions of a tile, the SNR of the cells of the nearest sites is computed, and the
strongest cells are kept. Time and memory grow linearly with the map. The sparse map numbers the
pairs (serving cell, interferer) that these cells form.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

from slicing_rllib.radio.gain_map import (
    LinkGeometry,
    PerPosition,
    ShadowedLoss,
    Sites,
    Tile,
    sector_snr_db,
)
from slicing_rllib.radio.propagation import Environment
from slicing_rllib.radio.sites import Area, MastSpec, SiteSpec
from slicing_rllib.radio.specs import RadioSpec
from slicing_rllib.registry import get_part

SITES_CONSIDERED = 32
"""Number of nearest sites whose cells are candidates; more if many cells are kept."""
TILE = 32
"""Map positions along the edge of a tile."""


@dataclass(frozen=True)
class StrongestCells:
    """The strongest cells of each map position, strongest first."""

    cell: Int32[np.ndarray, "position kept"]
    """Indices of the cells."""
    snr: Float32[np.ndarray, "position kept"]
    """Their linear SNR at full power."""


Loss = Callable[[Sites, LinkGeometry, Tile], PerPosition]
"""Loss in dB between the positions of a tile and sites that have the same mast."""


def find_strongest_cells(
    sites: tuple[SiteSpec, ...], area: Area, radio: RadioSpec, map_seed: int
) -> StrongestCells:
    """The strongest cells for one draw of shadowing and line of sight."""
    shape = area.grid_shape(radio.map_resolution_m)
    loss = ShadowedLoss(sites, area, radio, shape, map_seed)
    return _StrongestCellSearch(sites, area, radio, shape, loss).run()


class _StrongestCellSearch:
    """Finds the strongest of the cells of the sites around each tile."""

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
        self._kept = min(radio.cells_kept, int(sectors.sum()))
        self._n_sites = max(SITES_CONSIDERED, math.ceil(self._kept / sectors.min()))
        self._masts: list[MastSpec] = list(dict.fromkeys(site.mast for site in sites))
        number = {mast: index for index, mast in enumerate(self._masts)}
        self._mast = np.array([number[site.mast] for site in sites])

    def run(self) -> StrongestCells:
        shape, kept = self._shape, self._kept
        cell = np.zeros((*shape, kept), np.int32)
        snr = np.zeros((*shape, kept), np.float32)
        for row, column in product(range(0, shape[0], TILE), range(0, shape[1], TILE)):
            rows = slice(row, min(row + TILE, shape[0]))
            tile = rows, slice(column, min(column + TILE, shape[1]))
            candidate, candidate_db = self._compute_snr(tile)
            size = cell[tile].shape
            best = np.argpartition(-candidate_db, kept - 1, axis=0)[:kept]
            best_db = np.take_along_axis(candidate_db, best, axis=0)
            # Cells with equal SNR come in the order of their indices.
            order = np.lexsort((candidate[best], -best_db), axis=0)
            cell[tile] = np.take_along_axis(candidate[best], order, axis=0).T.reshape(size)
            snr[tile] = 10 ** (np.take_along_axis(best_db, order, axis=0).T.reshape(size) / 10)
        positions = shape[0] * shape[1]
        return StrongestCells(cell.reshape(positions, kept), snr.reshape(positions, kept))

    def _compute_snr(
        self, tile: Tile
    ) -> tuple[Int[np.ndarray, " candidate"], Float[np.ndarray, "candidate position"]]:
        """The candidates and their SNR in dB at the positions of a tile."""
        rows, columns = (
            (np.arange(size)[axis] + 0.5) / size
            for axis, size in zip(tile, self._shape, strict=True)
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
            loss_db = self._compute_loss_db(sites, links, tile)
            sectors = len(mast.azimuths_deg)
            cells.append((self._first_cell[sites, None] + np.arange(sectors)).ravel())
            snr_db = np.moveaxis(sector_snr_db(mast, links, loss_db, self._radio), -1, 1)
            snrs_db.append(snr_db.reshape(len(cells[-1]), -1))
        return np.concatenate(cells), np.concatenate(snrs_db)

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


COUPLING_RESOLUTION_M = 25.0
"""Smallest distance between the map positions over which coupling is averaged."""


@lru_cache(maxsize=2)
def select_neighbours(
    sites: tuple[SiteSpec, ...], area: Area, radio: RadioSpec, kept: int
) -> Int[np.ndarray, "cell neighbour"]:
    """The `kept` most strongly coupled cells of each cell, strongest first; -1 fills short rows.

    The coupling of a pair of cells is the power of the interferer over that of the serving cell at
    full power, mean over the area that the latter serves. It follows from the geometry alone, with
    the path loss weighted by the probability of line of sight and without shadowing, so that
    neighbours do not depend on the seed.
    """
    environment: Environment = get_part("propagation", radio.environment)

    def compute_mean_loss_db(_: Sites, links: LinkGeometry, tile: Tile) -> PerPosition:
        probability, model = environment.los_probability(links.horizontal_m), environment.path_loss
        los_db, nlos_db = model.los_db(links.path), model.nlos_db(links.path)
        return probability * los_db + (1 - probability) * nlos_db

    shape = area.grid_shape(max(COUPLING_RESOLUTION_M, radio.map_resolution_m))
    strongest = _StrongestCellSearch(sites, area, radio, shape, compute_mean_loss_db).run()
    n_cells = sum(len(site.mast.azimuths_deg) for site in sites)
    serving = np.broadcast_to(strongest.cell[:, :1], strongest.cell.shape)
    interferes = (strongest.cell != serving) & (strongest.snr > 0)
    key = serving[interferes].astype(np.int64) * n_cells + strongest.cell[interferes]
    relative_power = (strongest.snr.astype(np.float64) / strongest.snr[:, :1])[interferes]
    pairs, pair = np.unique(key, return_inverse=True)
    serving, interferer = np.divmod(pairs, n_cells)
    positions_served = np.bincount(strongest.cell[:, 0], minlength=n_cells)
    coupling = np.bincount(pair, relative_power) / positions_served[serving]
    # Rounded, so that cells with equal strength by symmetry come in the order of their indices.
    order = np.lexsort((interferer, -coupling.round(5), serving))
    rank = np.arange(len(order)) - np.searchsorted(serving, serving)
    width = min(kept, n_cells - 1)
    neighbours = np.full((n_cells, width), -1)
    is_kept = rank < width
    neighbours[serving[is_kept], rank[is_kept]] = interferer[order][is_kept]
    return neighbours


CHUNK_ROWS = 2**15
"""Number of rows whose pairs are numbered together; it bounds the memory of intermediate arrays."""
ALIGNMENT = 32
"""Two cache lines of 64 bytes, in integers of 4 bytes: processors fetch cache lines in pairs."""


class CellPairs(NamedTuple):
    """Pairs (serving cell, interferer) that occur on the map, ordered by the serving cell."""

    serving: Int[np.ndarray, " pair"]
    """Index of the serving cell."""
    interferer: Int[np.ndarray, " pair"]
    """Index of the other cell."""


@dataclass(frozen=True)
class SparseMap:
    """The strongest cells of each map position, with one row per cell that may serve there.

    A cell may serve a position (it is a candidate) if no other cell is stronger by more than the
    hysteresis. Rows of the strongest cells come first, in the order of positions.
    """

    cell: Int32[np.ndarray, "position kept"]
    """Indices of the cells that are kept, strongest first."""
    best_cell: Int[np.ndarray, " position"]
    """The strongest cell, in the smallest integer type, because every step reads it for all UEs."""
    candidates: Int32[np.ndarray, " position"]
    """Number of candidates."""
    other_row: Int32[np.ndarray, " position"]
    """Row of a candidate of rank r > 0, minus r; that of rank 0 is the index of the position."""
    row: Int32[np.ndarray, "row twice_kept"]
    """SNR of each kept cell (float32 bits), then the index of its pair with the candidate.

    Both are in one row because they are read together. The candidate itself has the index
    `len(pairs.serving)`.
    """
    pairs: CellPairs
    """The pairs that rows refer to."""

    def snr(self) -> Float32[np.ndarray, "position kept"]:
        """Linear SNR of the cells in `cell`."""
        positions, kept = self.cell.shape
        return np.ascontiguousarray(self.row[:positions, :kept]).view(np.float32)


@lru_cache(maxsize=2)
def build_sparse_map(
    sites: tuple[SiteSpec, ...],
    area: Area,
    radio: RadioSpec,
    hysteresis_db: float,
    map_seed: int,
) -> SparseMap:
    """The map of a network for one draw of its shadowing and line of sight."""
    return index_pairs(find_strongest_cells(sites, area, radio, map_seed), hysteresis_db)


def remove_silent_cells(
    cell_map: SparseMap, on: Bool[np.ndarray, " cell"], hysteresis_db: float
) -> SparseMap:
    """The map of the same network in which only the cells in `on` are on the air."""
    cell, snr = cell_map.cell.copy(), cell_map.snr()
    changed = np.flatnonzero(~on[cell].all(axis=1))
    remaining = np.where(on[cell[changed]], snr[changed], np.float32(0))
    order = np.argsort(-remaining, axis=1, kind="stable")
    cell[changed] = np.take_along_axis(cell[changed], order, axis=1)
    snr[changed] = np.take_along_axis(remaining, order, axis=1)
    return index_pairs(StrongestCells(cell, snr), hysteresis_db)


def index_pairs(strongest: StrongestCells, hysteresis_db: float) -> SparseMap:
    """The map of these cells: finds the candidates of each position and numbers their pairs."""
    weakest = strongest.snr[:, :1] / np.float32(10 ** (hysteresis_db / 10))
    candidates = (strongest.snr >= weakest).sum(axis=1, dtype=np.int32)
    positions = np.arange(len(candidates), dtype=np.int32)
    others = candidates - 1
    # Ranks of the other candidates start at 1, and their rows follow those of all positions.
    other_row = len(positions) + np.cumsum(others, dtype=np.int32) - candidates
    repeated = np.repeat(positions, others)
    position = np.concatenate([positions, repeated])
    rank = np.zeros(len(position), np.int32)
    rank[len(positions) :] = np.arange(len(positions), len(position)) - other_row[repeated]
    kept = strongest.cell.shape[1]
    serving = strongest.cell.ravel()[position.astype(np.int64) * kept + rank]
    # Aligned to cache lines, so that a row spans as few as possible.
    memory = np.empty(len(position) * 2 * kept + ALIGNMENT, np.int32)
    first = -memory.ctypes.data // memory.itemsize % ALIGNMENT
    row = memory[first : first + len(position) * 2 * kept].reshape(len(position), 2 * kept)
    np.take(strongest.snr.view(np.int32), position, axis=0, out=row[:, :kept], mode="clip")
    keys = _number_pairs(strongest.cell, position, serving, out=row[:, kept:])
    return SparseMap(
        strongest.cell,
        strongest.cell[:, 0].astype(np.min_scalar_type(-1 - int(strongest.cell.max()))),
        candidates,
        other_row,
        row,
        CellPairs(keys >> 32, keys & 0xFFFFFFFF),
    )


def _number_pairs(
    cell: Int32[np.ndarray, "position kept"],
    position: Int32[np.ndarray, " row"],
    serving: Int32[np.ndarray, " row"],
    *,
    out: Int32[np.ndarray, "row kept"],
) -> Int[np.ndarray, " pair"]:
    """Writes the index of each pair to `out`; returns the keys of all pairs, in order.

    The key of a pair is (serving cell << 32) + other cell.
    """
    chunks = [slice(first, first + CHUNK_ROWS) for first in range(0, len(position), CHUNK_ROWS)]
    keys_of_chunks: list[Int[np.ndarray, " pair"]] = []
    for rows in chunks:
        key = (serving[rows, None].astype(np.int64) << 32) + cell[position[rows]]
        chunk_keys, index = np.unique(key, return_inverse=True)
        out[rows] = index.reshape(key.shape)
        keys_of_chunks.append(chunk_keys)
    keys: Int[np.ndarray, " pair"] = np.unique(np.concatenate(keys_of_chunks))
    keys = keys[keys >> 32 != keys & 0xFFFFFFFF]
    for rows, chunk_keys in zip(chunks, keys_of_chunks, strict=True):
        index_of_key = np.searchsorted(keys, chunk_keys).astype(np.int32)
        is_serving_cell = chunk_keys >> 32 == chunk_keys & 0xFFFFFFFF
        index_of_key[is_serving_cell] = len(keys)
        out[rows] = index_of_key[out[rows]]
    return keys
