"""Interference in large networks, in which a UE receives only its strongest cells.

Only pairs (serving cell, interferer) that occur on the map are computed, in single precision: its
error is far below the tolerance of the load fixed point.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float32
from scipy.sparse import csr_array

from slicing_rllib.radio.interference import ActiveUes, Interference, PerSlice, PerUe
from slicing_rllib.radio.sparse_map import CellPairs

NARROWEST_SHARE = np.float32(1e-6)
"""Smallest share of the carrier that is divided by; avoids 0 / 0 for slices without PRBs."""
BLOCK_PAIRS = 8192
"""Number of pairs whose overlaps are computed together: as many as fit the cache."""


class SparseContiguousPlacement:
    """`ContiguousPlacement` for the pairs of cells that occur on the map.

    The load that a slice receives is the difference between the loads below the two ends of its PRB
    range. Pairs are the last axis of every array, because there are many pairs and few slices.

    Args:
        on: which cells are on the air.
        n_slices: number of slices.
        idle_load: load at which a cell that is on interferes without traffic, in [0, 1].
        pairs: the pairs (serving cell, interferer).
    """

    def __init__(
        self, on: Bool[np.ndarray, " cell"], n_slices: int, idle_load: float, pairs: CellPairs
    ) -> None:
        self._pairs = pairs
        self._floor = (idle_load * on)[pairs.interferer].astype(np.float32)
        # The entry after the last pair belongs to serving cells, which do not interfere: it is 0.
        self._load = np.zeros((n_slices, len(pairs.interferer) + 1), np.float32)
        self._below = np.zeros((n_slices - 1, n_slices, len(pairs.interferer)), np.float32)
        self._scale = np.zeros((n_slices, len(pairs.interferer)), np.float32)
        self._utilisation = np.zeros((n_slices, len(pairs.interferer)), np.float32)

    def interference(self, received: ActiveUes, share: PerSlice) -> Interference:
        compute_overlap_below(share, self._pairs, out=self._below)
        width = np.maximum(np.ascontiguousarray(share.T, np.float32), NARROWEST_SHARE)
        (1 / width).take(self._pairs.serving, axis=1, out=self._scale, mode="clip")
        snr_matrix = _make_snr_matrix(received, share.shape[1], self._load.shape[1])

        def compute_interference(utilisation: PerSlice) -> PerUe:
            self._update_load(np.ascontiguousarray(utilisation.T, np.float32), share)
            return snr_matrix @ self._load.ravel()

        return compute_interference

    def _update_load(self, utilisation: Float32[np.ndarray, "slice cell"], share: PerSlice) -> None:
        """Sets the load at which each slice of a pair's serving cell receives the interferer."""
        utilisation.take(self._pairs.interferer, axis=1, out=self._utilisation, mode="clip")
        load, last = self._load[:, :-1], len(self._below)
        for load_below, below in zip(load, self._below, strict=False):
            np.einsum("mp,mp->p", below, self._utilisation, out=load_below)
        cell_load = (utilisation * share.T).sum(axis=0, dtype=np.float32)
        load[last] = cell_load.take(self._pairs.interferer)
        for index in range(last, 0, -1):
            load[index] -= load[index - 1]
        load *= self._scale
        np.maximum(load, self._floor, out=load)


class SparseRandomPlacement:
    """`RandomPlacement` for the pairs of cells that occur on the map.

    The arguments are those of `SparseContiguousPlacement`.
    """

    def __init__(
        self, on: Bool[np.ndarray, " cell"], n_slices: int, idle_load: float, pairs: CellPairs
    ) -> None:
        self._interferer = pairs.interferer
        self._floor = idle_load * on
        self._load = np.zeros(len(pairs.interferer) + 1, np.float32)

    def interference(self, received: ActiveUes, share: PerSlice) -> Interference:
        snr_matrix = _make_snr_matrix(received, 1, len(self._load))

        def compute_interference(utilisation: PerSlice) -> PerUe:
            cell_load = np.maximum((share * utilisation).sum(axis=1), self._floor)
            self._load[:-1] = cell_load.take(self._interferer)
            return snr_matrix @ self._load

        return compute_interference


SPARSE_PLACEMENTS = {"contiguous": SparseContiguousPlacement, "random": SparseRandomPlacement}


def _make_snr_matrix(received: ActiveUes, n_slices: int, width: int) -> csr_array[np.float32, Any]:
    """Matrix from the loads of all pairs, slice by slice, to the interference of each UE."""
    pair = received.pair
    if pair is None:
        raise ValueError("received: expected the pairs of serving and received cells")
    column = (received.key % n_slices).astype(np.int32) * np.int32(width)
    matrix = csr_array((len(pair), n_slices * width), dtype=np.float32)
    # Set field by field: the constructor would check the indices, which are valid by construction.
    matrix.data, matrix.indices = received.snr.ravel(), (pair + column[:, None]).ravel()
    matrix.indptr = np.arange(0, pair.size + 1, pair.shape[1], dtype=np.int32)
    return matrix


def compute_overlap_below(
    share: PerSlice, pairs: CellPairs, *, out: Float32[np.ndarray, "inner slice pair"]
) -> None:
    """Writes to `out` how much of the interferer's slices lies below the serving cell's boundaries.

    `inner` are the upper ends of all slices of the serving cell but the last.
    """
    width = np.ascontiguousarray(share.T, np.float32)
    end = np.cumsum(width, axis=0)
    start = end - width
    for first in range(0, out.shape[2], BLOCK_PAIRS):
        block = slice(first, first + BLOCK_PAIRS)
        boundary = end[:-1].take(pairs.serving[block], axis=1)
        interferer = pairs.interferer[block]
        interferer_start, interferer_width = (
            edge.take(interferer, axis=1) for edge in (start, width)
        )
        for index, overlap in enumerate(out[:, :, block]):
            np.subtract(boundary[index], interferer_start, out=overlap)
            np.maximum(overlap, 0.0, out=overlap)
            np.minimum(overlap, interferer_width, out=overlap)
