"""Interference that is as strong as neighbours are busy, and the loads at which that settles.

A cell interferes only where and as much as it transmits; how much it transmits depends on the rates
that interference leaves to its UEs. For fixed shares that map is a standard interference function:
monotone and scalable, so its fixed point exists, is unique, and plain iteration finds it from
anywhere: from 0 it rises, from 1 it falls. Sources: Yates, JSAC 13(7), 1995; Siomina & Yuan,
arXiv:1201.4116.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Int32

from slicing_rllib.radio.link import Link

PerSlice = Float[np.ndarray, "cell slice"]
PerUe = Float[np.ndarray, " ue"]

TOLERANCE = 1e-3
"""Change of any load (share of a carrier in use) at which the iteration stops."""
MAX_ITERATIONS = 100
NARROWEST_SHARE = 1e-9
"""Stands for an empty range of PRBs where a mean over it is taken."""


class Received(NamedTuple):
    """Active UEs of one slot and what they receive, as SNR at full power."""

    key: Int[np.ndarray, " ue"]
    """Serving cell times the number of slices, plus slice."""
    signal: PerUe
    """Of the serving cell."""
    snr: Float[np.ndarray, "ue heard"]
    """Of all cells, or of the strongest at the UE's place."""
    users: PerSlice
    """How many there are."""
    pair: Int32[np.ndarray, "ue heard"] | None = None
    """Which pair each heard cell makes with the serving one; None where all cells are heard."""


Interference = Callable[[PerSlice], PerUe]
"""Interference over noise per UE, for given utilisations of everybody's PRBs."""


@runtime_checkable
class Placement(Protocol):
    """Which PRBs slices lie on, in a network with some cells on the air."""

    def interference(self, received: Received, share: PerSlice) -> Interference: ...


class ContiguousPlacement:
    """Slices lie side by side in slice order: a slice meets those that share its PRBs.

    w[k,n,i] = sum_m |range(k,n) & range(i,m)| / |range(k,n)| rho[i,m], at least the idle load.
    """

    def __init__(self, on: Bool[np.ndarray, " cell"], n_slices: int, idle_load: float) -> None:
        self._elsewhere = np.repeat(~np.eye(len(on), dtype=bool), n_slices, axis=0)
        self._floor = idle_load * (on & self._elsewhere)
        self._column = np.arange(len(on) * n_slices) * len(on)
        self._column += np.repeat(np.arange(len(on)), n_slices)

    def interference(self, received: Received, share: PerSlice) -> Interference:
        covered = overlap(share) * self._elsewhere[:, :, None]
        covered = covered.reshape(share.size, share.size)
        # Utilisations in a block diagonal, so that one product sums each cell's slices apart.
        diagonal = np.zeros((share.size, len(share)))
        every_cell = np.ones(len(share))

        def meet(utilisation: PerSlice) -> PerUe:
            diagonal.ravel()[self._column] = utilisation.ravel()
            heard = np.maximum(covered @ diagonal, self._floor).take(received.key, axis=0)
            heard *= received.snr
            return heard @ every_cell

        return meet


class RandomPlacement:
    """Slices lie anywhere: every UE meets its neighbours' mean load, w[i] = sum_m a rho."""

    def __init__(self, on: Bool[np.ndarray, " cell"], n_slices: int, idle_load: float) -> None:
        self._floor = idle_load * on
        self._n_slices = n_slices

    def interference(self, received: Received, share: PerSlice) -> Interference:
        serving = received.key // self._n_slices

        def meet(utilisation: PerSlice) -> PerUe:
            heard = np.maximum((share * utilisation).sum(axis=1), self._floor)
            return received.snr @ heard - received.signal * heard.take(serving)

        return meet


PLACEMENTS = {"contiguous": ContiguousPlacement, "random": RandomPlacement}


def overlap(share: PerSlice) -> Float[np.ndarray, "range cell slice"]:
    """Of each cell's slice's range of PRBs, the part that each cell's each slice covers."""
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
    """Where loads and rates agree."""

    utilisation: PerSlice
    """Share of its own PRBs that each slice uses, at most 1."""
    sinr: PerUe
    """Under the interference of the iterate before: `residual` apart from the one above."""
    residual: float
    """Largest change of a load in the last iteration."""
    iterations: int


def solve_load_fixed_point(
    received: Received,
    interference: Interference,
    share: PerSlice,
    rate_mbps: Float[np.ndarray, " slice"],
    link: Link,
    bandwidth_hz: float,
    start: PerSlice,
    tolerance: float = TOLERANCE,
) -> LoadFixedPoint:
    """Iterates rho[k,n] = min(1, sum_u lambda / (a B SE(SINR_u(rho)))) from a start.

    `rate_mbps` is what one active UE of each slice offers, lambda.
    """
    # Share of its own PRBs that a slice uses, per unit of the sum of one over efficiencies.
    scale = (rate_mbps * 1e6 / bandwidth_hz / np.maximum(share, NARROWEST_SHARE)).ravel()
    utilisation, residual, iterations = start, np.inf, 0
    sinr = np.zeros(0)
    while residual > tolerance and iterations < MAX_ITERATIONS:
        sinr = received.signal / (1.0 + interference(utilisation))
        work = np.bincount(received.key, 1.0 / link.continuous(sinr), share.size)
        renewed = np.minimum(work * scale, 1.0).reshape(share.shape)
        residual = float(np.abs((renewed - utilisation) * share).max())
        utilisation, iterations = renewed, iterations + 1
    return LoadFixedPoint(utilisation, sinr, residual, iterations)
