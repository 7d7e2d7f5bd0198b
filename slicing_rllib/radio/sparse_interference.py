"""Interference in networks where everybody hears but a few cells: the pairs of those that meet.

Single precision throughout: rates and loads solve_load_fixed_point far more coarsely than that.
"""

import numpy as np
from jaxtyping import Bool, Float32
from scipy.sparse import csr_array

from slicing_rllib.radio.interference import Interference, PerSlice, PerUe, Received
from slicing_rllib.radio.sparse_map import Pairs

NARROWEST = np.float32(1e-6)
"""Stands for an empty range of PRBs where a mean over it is taken."""
BLOCK = 8192
"""Pairs whose overlaps are found together: as many as a cache holds."""


class SparseContiguousPlacement:
    """The same as `ContiguousPlacement`, for the pairs of cells that meet.

    What a slice meets is the difference of what lies below its range's two ends. Pairs are the last
    axis throughout: many pairs, few slices.
    """

    def __init__(
        self, on: Bool[np.ndarray, " cell"], n_slices: int, idle_load: float, pairs: Pairs
    ) -> None:
        self._pairs = pairs
        self._floor = (idle_load * on)[pairs.other].astype(np.float32)
        # The entry beyond the last pair is the serving cell's: it does not meet itself.
        self._heard = np.zeros((n_slices, len(pairs.other) + 1), np.float32)
        self._below = np.zeros((n_slices - 1, n_slices, len(pairs.other)), np.float32)
        self._scale = np.zeros((n_slices, len(pairs.other)), np.float32)
        self._busy = np.zeros((n_slices, len(pairs.other)), np.float32)

    def interference(self, received: Received, share: PerSlice) -> Interference:
        paired_below(share, self._pairs, out=self._below)
        width = np.maximum(np.ascontiguousarray(share.T, np.float32), NARROWEST)
        (1 / width).take(self._pairs.serving, axis=1, out=self._scale, mode="clip")
        weights = _by_entry(received, share.shape[1], self._heard.shape[1])

        def meet(utilisation: PerSlice) -> PerUe:
            self._meet(np.ascontiguousarray(utilisation.T, np.float32), share)
            return weights @ self._heard.ravel()

        return meet

    def _meet(self, utilisation: Float32[np.ndarray, "slice cell"], share: PerSlice) -> None:
        """Fills in what every slice of every pair's first cell hears of the second."""
        utilisation.take(self._pairs.other, axis=1, out=self._busy, mode="clip")
        heard, last = self._heard[:, :-1], len(self._below)
        for ends, below in zip(heard, self._below, strict=False):
            np.einsum("mp,mp->p", below, self._busy, out=ends)
        load = (utilisation * share.T).sum(axis=0, dtype=np.float32)
        heard[last] = load.take(self._pairs.other)
        for number in range(last, 0, -1):
            heard[number] -= heard[number - 1]
        heard *= self._scale
        np.maximum(heard, self._floor, out=heard)


class SparseRandomPlacement:
    """The same as `RandomPlacement`, for the pairs of cells that meet."""

    def __init__(
        self, on: Bool[np.ndarray, " cell"], n_slices: int, idle_load: float, pairs: Pairs
    ) -> None:
        self._other = pairs.other
        self._floor = idle_load * on
        self._heard = np.zeros(len(pairs.other) + 1, np.float32)

    def interference(self, received: Received, share: PerSlice) -> Interference:
        weights = _by_entry(received, 1, len(self._heard))

        def meet(utilisation: PerSlice) -> PerUe:
            load = np.maximum((share * utilisation).sum(axis=1), self._floor)
            self._heard[:-1] = load.take(self._other)
            return weights @ self._heard

        return meet


SPARSE_PLACEMENTS = {"contiguous": SparseContiguousPlacement, "random": SparseRandomPlacement}


def _by_entry(received: Received, n_slices: int, width: int) -> csr_array:
    """Matrix from what each pair hears, slice by slice, to what each UE does."""
    pair = received.pair
    if pair is None:
        raise ValueError("received: expected the pairs of serving and heard cells")
    column = (received.key % n_slices).astype(np.int32) * np.int32(width)
    matrix = csr_array((len(pair), n_slices * width), dtype=np.float32)
    # Set one by one: all are in order by construction, and the constructor would check that.
    matrix.data, matrix.indices = received.snr.ravel(), (pair + column[:, None]).ravel()
    matrix.indptr = np.arange(0, pair.size + 1, pair.shape[1], dtype=np.int32)
    return matrix


def paired_below(
    share: PerSlice, pairs: Pairs, *, out: Float32[np.ndarray, "inner slice pair"]
) -> None:
    """How much of each slice of the second cell lies below each inner boundary of the first."""
    narrow = np.ascontiguousarray(share.T, np.float32)
    end = np.cumsum(narrow, axis=0)
    start = end - narrow
    for lowest in range(0, out.shape[2], BLOCK):
        block = slice(lowest, lowest + BLOCK)
        boundary = end[:-1].take(pairs.serving[block], axis=1)
        its_start, its_width = (edge.take(pairs.other[block], axis=1) for edge in (start, narrow))
        for number, parts in enumerate(out[:, :, block]):
            np.subtract(boundary[number], its_start, out=parts)
            np.maximum(parts, 0.0, out=parts)
            np.minimum(parts, its_width, out=parts)
