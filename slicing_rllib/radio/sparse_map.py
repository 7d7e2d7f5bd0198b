"""The strongest cells of every place, and all pairs of cells that meet in some UE's ears."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

from slicing_rllib.radio.layout import Layout
from slicing_rllib.radio.scenario import RadioSpec
from slicing_rllib.radio.sites import SiteSpec
from slicing_rllib.radio.strongest_cells import StrongestCells, strongest_cells

CHUNK = 2**15
"""Rows that are paired together: bounds the memory of what is in between."""
CACHE_LINE = 32
"""Two lines of 64 bytes, in integers of 4: processors fetch lines in pairs."""


class Pairs(NamedTuple):
    """Cells that serve somewhere with cells that are heard there, ordered by the former."""

    serving: Int[np.ndarray, " pair"]
    other: Int[np.ndarray, " pair"]


@dataclass(frozen=True)
class SparseMap:
    """What a place hears, and a row of pairs for every cell that may serve there."""

    shape: tuple[int, int]
    cell: Int32[np.ndarray, "position kept"]
    """Strongest first."""
    best_cell: Int[np.ndarray, " position"]
    """In as few bytes as will do: looked up for all UEs in every step."""
    candidates: Int32[np.ndarray, " position"]
    """How many of the strongest cells are strong enough to keep a UE that they serve."""
    other_row: Int32[np.ndarray, " position"]
    """Row of a place's candidates but for the first, less their rank; the first's is the place."""
    row: Int32[np.ndarray, "row twice_kept"]
    """Per candidate the SNR of each heard cell, as bits, and the pair that it makes with it.

    Side by side, as they are looked up together. The candidate's own pair is the number of pairs.
    """
    pairs: Pairs
    hysteresis_db: float

    def snr(self) -> Float32[np.ndarray, "position kept"]:
        """Of the cells in `cell`."""
        places, kept = self.cell.shape
        return np.ascontiguousarray(self.row[:places, :kept]).view(np.float32)


@lru_cache(maxsize=2)
def sparse_map(
    sites: tuple[SiteSpec, ...],
    ground: Layout,
    radio: RadioSpec,
    hysteresis_db: float,
    map_seed: int,
) -> SparseMap:
    """The map of a network for one draw of its shadowing and line of sight."""
    return paired(strongest_cells(sites, ground, radio, map_seed), hysteresis_db)


def without_silent(heard: SparseMap, on: Bool[np.ndarray, " cell"]) -> SparseMap:
    """The same network with some cells off the air: nobody hears them."""
    cell, snr = heard.cell.copy(), heard.snr()
    touched = np.flatnonzero(~on[cell].all(axis=1))
    left = np.where(on[cell[touched]], snr[touched], np.float32(0))
    order = np.argsort(-left, axis=1, kind="stable")
    cell[touched] = np.take_along_axis(cell[touched], order, axis=1)
    snr[touched] = np.take_along_axis(left, order, axis=1)
    return paired(StrongestCells(heard.shape, cell, snr), heard.hysteresis_db)


def paired(heard: StrongestCells, hysteresis_db: float) -> SparseMap:
    """Looks up which cells meet, chunk by chunk."""
    weakest = heard.snr[:, :1] / np.float32(10 ** (hysteresis_db / 10))
    candidates = (heard.snr >= weakest).sum(axis=1, dtype=np.int32)
    places = np.arange(len(candidates), dtype=np.int32)
    others = candidates - 1
    # Ranks begin at 1 behind the places' own rows.
    other_row = len(places) + np.cumsum(others, dtype=np.int32) - candidates
    again = np.repeat(places, others)
    place = np.concatenate([places, again])
    rank = np.zeros(len(place), np.int32)
    rank[len(places) :] = np.arange(len(places), len(place)) - other_row[again]
    serving = heard.cell.ravel()[place.astype(np.int64) * heard.cell.shape[1] + rank]
    kept = heard.cell.shape[1]
    row = aligned(len(place), 2 * kept)
    np.take(heard.snr.view(np.int32), place, axis=0, out=row[:, :kept], mode="clip")
    keys = _numbered(heard.cell, place, serving, out=row[:, kept:])
    return SparseMap(
        heard.shape,
        heard.cell,
        heard.cell[:, 0].astype(np.min_scalar_type(-1 - int(heard.cell.max()))),
        candidates,
        other_row,
        row,
        Pairs(keys >> 32, keys & 0xFFFFFFFF),
        hysteresis_db,
    )


def _numbered(
    cell: Int32[np.ndarray, "position kept"],
    place: Int32[np.ndarray, " row"],
    serving: Int32[np.ndarray, " row"],
    *,
    out: Int32[np.ndarray, "row kept"],
) -> Int[np.ndarray, " pair"]:
    """All keys (serving cell, other cell) in order; per row the numbers of its keys."""
    found = []
    for start in range(0, len(place), CHUNK):
        rows = slice(start, start + CHUNK)
        key = (serving[rows, None].astype(np.int64) << 32) + cell[place[rows]]
        known, number = np.unique(key, return_inverse=True)
        out[rows] = number.reshape(key.shape)
        found.append(known)
    keys = np.unique(np.concatenate(found))
    keys = keys[keys >> 32 != keys & 0xFFFFFFFF]
    for known, start in zip(found, range(0, len(place), CHUNK), strict=True):
        # Not found is the serving cell itself.
        at = np.searchsorted(keys, known).astype(np.int32)
        at[known >> 32 == known & 0xFFFFFFFF] = len(keys)
        out[start : start + CHUNK] = at[out[start : start + CHUNK]]
    return keys


def aligned(rows: int, columns: int) -> Int32[np.ndarray, "row column"]:
    """An empty table that begins where a cache line does, so that looking a row up takes fewest."""
    memory = np.empty(rows * columns + CACHE_LINE, np.int32)
    first = -memory.ctypes.data // memory.itemsize % CACHE_LINE
    return memory[first : first + rows * columns].reshape(rows, columns)
