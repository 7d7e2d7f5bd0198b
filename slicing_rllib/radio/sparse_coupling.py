"""Interference in networks where everybody hears but a few cells: the pairs of those that meet.

Single precision throughout: rates and loads settle far more coarsely than that.
"""

import numpy as np
from jaxtyping import Bool, Float32
from scipy.sparse import csr_array

from slicing_rllib.radio.coupling import Interference, PerSlice, PerUe, Received
from slicing_rllib.radio.sparse_map import Pairs

NARROWEST = np.float32(1e-6)
"""Stands for an empty range of PRBs where a mean over it is taken."""
BLOCK = 8192
"""Pairs whose overlaps are found together: as many as a cache holds."""


class SparseContiguousPlacement:
    """The same as `ContiguousPlacement`, for the pairs of cells that meet.

    Pairs are the last axis throughout: many pairs, few slices.
    """

    def __init__(
        self, on: Bool[np.ndarray, " cell"], n_slices: int, idle_load: float, pairs: Pairs
    ) -> None:
        self._pairs = pairs
        self._floor = (idle_load * on)[pairs.other].astype(np.float32)
        # The entry beyond the last pair is the serving cell's: it does not meet itself.
        self._heard = np.zeros((n_slices, len(pairs.other) + 1), np.float32)
        self._covered = np.zeros((n_slices, n_slices, len(pairs.other)), np.float32)

    def interference(self, received: Received, share: PerSlice) -> Interference:
        paired_overlap(share, self._pairs, out=self._covered)
        weights = _by_entry(received, share.shape[1], self._heard.shape[1])

        def meet(utilisation: PerSlice) -> PerUe:
            busy = np.ascontiguousarray(utilisation.T, np.float32).take(self._pairs.other, axis=1)
            for heard, parts in zip(self._heard[:, :-1], self._covered, strict=True):
                np.einsum("mp,mp->p", parts, busy, out=heard)
                np.maximum(heard, self._floor, out=heard)
            return weights @ self._heard.ravel()

        return meet


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
    first = np.arange(0, pair.size + 1, pair.shape[1], dtype=np.int32)
    entries = (received.snr.ravel(), (pair + column[:, None]).ravel(), first)
    return csr_array(entries, shape=(len(pair), n_slices * width))


def paired_overlap(
    share: PerSlice, pairs: Pairs, *, out: Float32[np.ndarray, "slice slice pair"]
) -> None:
    """Of each slice's range in the first cell, the part that each slice of the second covers."""
    narrow = np.ascontiguousarray(share.T, np.float32)
    end = np.cumsum(narrow, axis=0)
    start = end - narrow
    width = np.maximum(narrow, NARROWEST)
    first = np.minimum(start, 1 - NARROWEST)
    for lowest in range(0, out.shape[2], BLOCK):
        block = slice(lowest, lowest + BLOCK)
        serving, other = pairs.serving[block], pairs.other[block]
        own_first, own_last, scale = (
            edge.take(serving, axis=1) for edge in (first, first + width, 1 / width)
        )
        its_start, its_end = start.take(other, axis=1), end.take(other, axis=1)
        for number, parts in enumerate(out[:, :, block]):
            np.minimum(own_last[number], its_end, out=parts)
            parts -= np.maximum(own_first[number], its_start)
            np.maximum(parts, 0.0, out=parts)
            parts *= scale[number]
