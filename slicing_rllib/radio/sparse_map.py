"""The map of a large network: each position's strongest cells, and all pairs that they form."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

from slicing_rllib.radio.area import Area
from slicing_rllib.radio.radio_spec import RadioSpec
from slicing_rllib.radio.sites import SiteSpec
from slicing_rllib.radio.strongest_cells import StrongestCells, find_strongest_cells

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

    shape: tuple[int, int]
    """Rows and columns of the map."""
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
    hysteresis_db: float
    """Handover hysteresis."""

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


def remove_silent_cells(cell_map: SparseMap, on: Bool[np.ndarray, " cell"]) -> SparseMap:
    """The map of the same network in which only the cells in `on` are on the air."""
    cell, snr = cell_map.cell.copy(), cell_map.snr()
    changed = np.flatnonzero(~on[cell].all(axis=1))
    remaining = np.where(on[cell[changed]], snr[changed], np.float32(0))
    order = np.argsort(-remaining, axis=1, kind="stable")
    cell[changed] = np.take_along_axis(cell[changed], order, axis=1)
    snr[changed] = np.take_along_axis(remaining, order, axis=1)
    return index_pairs(StrongestCells(cell_map.shape, cell, snr), cell_map.hysteresis_db)


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
    row = allocate_aligned(len(position), 2 * kept)
    np.take(strongest.snr.view(np.int32), position, axis=0, out=row[:, :kept], mode="clip")
    keys = _number_pairs(strongest.cell, position, serving, out=row[:, kept:])
    return SparseMap(
        strongest.shape,
        strongest.cell,
        strongest.cell[:, 0].astype(np.min_scalar_type(-1 - int(strongest.cell.max()))),
        candidates,
        other_row,
        row,
        CellPairs(keys >> 32, keys & 0xFFFFFFFF),
        hysteresis_db,
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


def allocate_aligned(rows: int, columns: int) -> Int32[np.ndarray, "row column"]:
    """An uninitialised table aligned to cache lines, so that a row spans as few as possible."""
    memory = np.empty(rows * columns + ALIGNMENT, np.int32)
    first = -memory.ctypes.data // memory.itemsize % ALIGNMENT
    return memory[first : first + rows * columns].reshape(rows, columns)
