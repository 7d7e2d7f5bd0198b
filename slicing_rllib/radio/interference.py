"""Interference in proportion to the neighbours' load, and the fixed point of all loads.

A cell interferes only on the PRBs on which it transmits. How many PRBs it uses depends on the rates
of its UEs, and these depend on the interference that they receive. For fixed shares, the map from
loads to loads is a standard interference function: it is monotone and scalable. Its fixed point
therefore exists and is unique, and plain iteration converges to it from any start: it rises from
all-idle and falls from all-full.

Sources: Yates, JSAC 13(7), 1995; Siomina & Yuan, arXiv:1201.4116.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Int32

from slicing_rllib.radio.link import Link

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


@runtime_checkable
class Placement(Protocol):
    """The PRBs that slices occupy, in a network in which some cells may be off."""

    def interference(self, received: ActiveUes, share: PerSlice) -> Interference:
        """The interference function for these UEs and shares of the carrier."""
        ...


class ContiguousPlacement:
    """Each slice occupies a contiguous range of PRBs; ranges follow each other in slice order.

    A slice n of cell k receives from cell i the mean utilisation of cell i on that slice's PRBs,
    w[k,n,i] = sum_m |range(k,n) & range(i,m)| / |range(k,n)| rho[i,m], but at least `idle_load`.

    Args:
        on: which cells are on the air.
        n_slices: number of slices.
        idle_load: load at which a cell that is on interferes without traffic, in [0, 1].
    """

    def __init__(self, on: Bool[np.ndarray, " cell"], n_slices: int, idle_load: float) -> None:
        self._is_other_cell = np.repeat(~np.eye(len(on), dtype=bool), n_slices, axis=0)
        self._floor = idle_load * (on & self._is_other_cell)
        self._column = np.arange(len(on) * n_slices) * len(on)
        self._column += np.repeat(np.arange(len(on)), n_slices)

    def interference(self, received: ActiveUes, share: PerSlice) -> Interference:
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
    """Slices occupy random PRBs: each UE receives the mean load of a cell, w[i] = sum_m a rho.

    The arguments are those of `ContiguousPlacement`.
    """

    def __init__(self, on: Bool[np.ndarray, " cell"], n_slices: int, idle_load: float) -> None:
        self._floor = idle_load * on
        self._n_slices = n_slices

    def interference(self, received: ActiveUes, share: PerSlice) -> Interference:
        serving = received.key // self._n_slices

        def compute_interference(utilisation: PerSlice) -> PerUe:
            load = np.maximum((share * utilisation).sum(axis=1), self._floor)
            return received.snr @ load - received.signal * load.take(serving)

        return compute_interference


PLACEMENTS = {"contiguous": ContiguousPlacement, "random": RandomPlacement}


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
    link: Link,
    bandwidth_hz: float,
    start: PerSlice,
    tolerance: float = TOLERANCE,
) -> LoadFixedPoint:
    """Iterates rho[k,n] = min(1, sum_u lambda_n / (a[k,n] B SE(SINR_u(rho)))) from `start`.

    Args:
        received: the active UEs and their link gains.
        interference: interference over noise per UE at a given utilisation.
        share: a, each slice's share of its cell's PRBs, in [0, 1].
        rate_mbps: lambda, the traffic that one active UE of each slice offers.
        link: spectral efficiency SE at a SINR.
        bandwidth_hz: B, the bandwidth of the carrier.
        start: utilisation at which the iteration starts, in [0, 1].
        tolerance: change of any load at which the iteration stops.

    It also stops after `MAX_ITERATIONS`; `residual` then exceeds the tolerance.
    Source: Siomina & Yuan, arXiv:1201.4116.
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
