"""Interference in proportion to the neighbours' load, and the fixed point of all loads.

A cell interferes only on the PRBs on which it transmits. How many PRBs it uses depends on the rates
of its UEs, and these depend on the interference that they receive. For fixed shares, the map from
loads to loads is a standard interference function: it is monotone and scalable. Its fixed point
therefore exists and is unique, and plain iteration converges to it from any start: it rises from
all-idle and falls from all-full.

In large networks, a UE receives only its strongest cells. There, only pairs (serving cell,
interferer) that occur on the map are computed, in single precision: its error is far below the
tolerance of the fixed point.

Sources: Yates, JSAC 13(7), 1995; Siomina & Yuan, arXiv:1201.4116.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32
from scipy.sparse import csr_array

from slicing_rllib.radio.link import ShannonLink
from slicing_rllib.radio.sparse_map import CellPairs

PerSlice = Float[np.ndarray, "cell slice"]
PerUe = Float[np.ndarray, " ue"]

TOLERANCE = 1e-3
"""The iteration stops once no load (share of a carrier's PRBs in use) changes by more."""
MAX_ITERATIONS = 100
NARROWEST_SHARE = 1e-9
"""Smallest share of the carrier that is divided by; avoids 0 / 0 for slices without PRBs."""


class ActiveUes(NamedTuple):
    """The active UEs of one step and the SNR at which they receive cells at full power."""

    key: Int[np.ndarray, " ue"]
    """Index of the serving cell * number of slices + index of the slice."""
    signal: PerUe
    """SNR of the serving cell, linear."""
    snr: Float[np.ndarray, "ue received"]
    """SNR of every cell, or of the strongest cells at the UE's position, linear."""
    users: PerSlice
    """Number of active UEs."""
    pair: Int32[np.ndarray, "ue received"] | None = None
    """Index of the pair (serving cell, received cell); None if `snr` covers every cell."""


Interference = Callable[[PerSlice], PerUe]
"""Maps the utilisation of all slices to each UE's interference over noise."""


class ContiguousPlacement:
    """Each slice occupies a contiguous range of PRBs; ranges follow each other in slice order.

    A slice n of cell k receives from cell i the mean utilisation of cell i on that slice's PRBs,
    w[k,n,i] = sum_m |range(k,n) & range(i,m)| / |range(k,n)| rho[i,m], but at least `idle_load`.

    `on` says which cells are on the air, `idle_load` the load at which those interfere without
    traffic.
    """

    def __init__(self, on: Bool[np.ndarray, " cell"], n_slices: int, idle_load: float) -> None:
        self._is_other_cell = np.repeat(~np.eye(len(on), dtype=bool), n_slices, axis=0)
        self._floor = idle_load * (on & self._is_other_cell)
        self._column = np.arange(len(on) * n_slices) * len(on)
        self._column += np.repeat(np.arange(len(on)), n_slices)

    def interference(self, received: ActiveUes, share: PerSlice) -> Interference:
        """The interference function for these UEs and shares of the carrier."""
        weight = prb_overlap(share) * self._is_other_cell[:, :, None]
        weight = weight.reshape(share.size, share.size)
        # Utilisations in a block diagonal, so that one product sums each cell's slices separately.
        diagonal = np.zeros((share.size, len(share)))
        every_cell = np.ones(len(share))

        def compute_interference(utilisation: PerSlice) -> PerUe:
            diagonal.ravel()[self._column] = utilisation.ravel()
            interferer = np.maximum(weight @ diagonal, self._floor).take(received.key, axis=0)
            interferer *= received.snr
            return interferer @ every_cell

        return compute_interference


class RandomPlacement:
    """Slices occupy random PRBs: each UE receives the mean load of a cell, w[i] = sum_m a rho."""

    def __init__(self, on: Bool[np.ndarray, " cell"], n_slices: int, idle_load: float) -> None:
        self._floor = idle_load * on
        self._n_slices = n_slices

    def interference(self, received: ActiveUes, share: PerSlice) -> Interference:
        serving = received.key // self._n_slices

        def compute_interference(utilisation: PerSlice) -> PerUe:
            load = np.maximum((share * utilisation).sum(axis=1), self._floor)
            return received.snr @ load - received.signal * load.take(serving)

        return compute_interference


def prb_overlap(share: PerSlice) -> Float[np.ndarray, "range cell slice"]:
    """The part of each slice's PRB range that each slice of each cell covers, in [0, 1].

    Ranges are numbered like `ActiveUes.key`.
    """
    end = np.cumsum(share, axis=1)
    width = np.maximum(share, NARROWEST_SHARE).ravel()
    start = (end - share).ravel()
    first = np.minimum(start, 1.0 - NARROWEST_SHARE)
    common = np.minimum((first + width)[:, None], end.ravel())
    common -= np.maximum(first[:, None], start)
    np.maximum(common, 0.0, out=common)
    common *= (1.0 / width)[:, None]
    return common.reshape(-1, *share.shape)


class LoadFixedPoint(NamedTuple):
    """The utilisations at which interference and loads agree."""

    utilisation: PerSlice
    """Share of its own PRBs that each slice uses, at most 1."""
    sinr: PerUe
    """Linear SINR under the interference of the second-to-last iterate."""
    residual: float
    """Largest change of a load in the last iteration."""
    iterations: int
    """Number of iterations done."""


def solve_load_fixed_point(
    received: ActiveUes,
    interference: Interference,
    share: PerSlice,
    rate_mbps: Float[np.ndarray, " slice"],
    link: ShannonLink,
    bandwidth_hz: float,
    start: PerSlice,
    tolerance: float = TOLERANCE,
) -> LoadFixedPoint:
    """Iterates rho[k,n] = min(1, sum_u lambda_n / (a[k,n] B SE(SINR_u(rho)))) from `start`.

    a is `share`, each slice's share of its cell's PRBs; lambda is `rate_mbps`, the traffic that one
    active UE of each slice offers; B is the bandwidth and SE the spectral efficiency of `link`.
    The iteration stops once no load changes by more than `tolerance`, or after `MAX_ITERATIONS`;
    `residual` then exceeds the tolerance. Source: Siomina & Yuan, arXiv:1201.4116.
    """
    # Utilisation of a slice per unit of sum_u 1 / SE(SINR_u).
    scale = (rate_mbps * 1e6 / bandwidth_hz / np.maximum(share, NARROWEST_SHARE)).ravel()
    utilisation, residual, iterations = start, np.inf, 0
    sinr = np.zeros(0)
    while residual > tolerance and iterations < MAX_ITERATIONS:
        sinr = received.signal / (1.0 + interference(utilisation))
        work = np.bincount(received.key, 1.0 / link.continuous_efficiency(sinr), share.size)
        next_utilisation = np.minimum(work * scale, 1.0).reshape(share.shape)
        residual = float(np.abs((next_utilisation - utilisation) * share).max())
        utilisation, iterations = next_utilisation, iterations + 1
    return LoadFixedPoint(utilisation, sinr, residual, iterations)


NARROWEST_SPARSE_SHARE = np.float32(1e-6)
"""Smallest share of the carrier that is divided by; avoids 0 / 0 for slices without PRBs."""
BLOCK_PAIRS = 8192
"""Number of pairs whose overlaps are computed together: as many as fit the cache."""


class SparseContiguousPlacement:
    """`ContiguousPlacement` for the pairs of cells that occur on the map.

    The load that a slice receives is the difference between the loads below the two ends of its PRB
    range. Pairs are the last axis of every array, because there are many pairs and few slices.
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
        width = np.maximum(np.ascontiguousarray(share.T, np.float32), NARROWEST_SPARSE_SHARE)
        (1 / width).take(self._pairs.serving, axis=1, out=self._scale, mode="clip")
        snr_matrix = _make_snr_matrix(received, share.shape[1], self._load.shape[1])

        def compute_interference(utilisation: PerSlice) -> PerUe:
            by_slice = np.ascontiguousarray(utilisation.T, np.float32)
            by_slice.take(self._pairs.interferer, axis=1, out=self._utilisation, mode="clip")
            load, last = self._load[:, :-1], len(self._below)
            for load_below, below in zip(load, self._below, strict=False):
                np.einsum("mp,mp->p", below, self._utilisation, out=load_below)
            cell_load = (by_slice * share.T).sum(axis=0, dtype=np.float32)
            load[last] = cell_load.take(self._pairs.interferer)
            for index in range(last, 0, -1):
                load[index] -= load[index - 1]
            load *= self._scale
            np.maximum(load, self._floor, out=load)
            return snr_matrix @ self._load.ravel()

        return compute_interference


class SparseRandomPlacement:
    """`RandomPlacement` for the pairs of cells that occur on the map."""

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


@runtime_checkable
class Placement(Protocol):
    """Where slices lie on the carrier, for the cells that are on the air."""

    def interference(self, received: ActiveUes, share: PerSlice) -> Interference:
        """The interference function for these UEs and shares of the carrier."""
        ...


class PrbPlacement(NamedTuple):
    """One placement, for both kinds of map."""

    dense: Callable[[Bool[np.ndarray, " cell"], int, float], Placement]
    """Makes it of (on, n_slices, idle_load) where every UE receives all cells."""
    sparse: Callable[[Bool[np.ndarray, " cell"], int, float, CellPairs], Placement]
    """Also of the pairs of cells that occur, where every UE receives its strongest cells."""


CONTIGUOUS = PrbPlacement(ContiguousPlacement, SparseContiguousPlacement)
RANDOM = PrbPlacement(RandomPlacement, SparseRandomPlacement)


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
