"""Interference that is as strong as neighbours are busy, and the loads at which that settles.

A cell interferes only where and as much as it transmits; how much it transmits depends on the rates
that interference leaves to its UEs. For fixed shares that map is a standard interference function:
monotone and scalable, so its fixed point exists, is unique, and plain iteration finds it from
anywhere: from 0 it rises, from 1 it falls. Sources: Yates, JSAC 13(7), 1995; Siomina & Yuan,
arXiv:1201.4116.
"""

from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

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
    snr: Float[np.ndarray, "ue cell"]


class Interference(Protocol):
    """Interference over noise per UE, for given utilisations of everybody's PRBs."""

    def __call__(self, utilisation: PerSlice) -> PerUe: ...


class ContiguousInterference:
    """Slices lie side by side in slice order: a slice meets those that share its PRBs.

    w[k,n,i] = sum_m |range(k,n) & range(i,m)| / |range(k,n)| rho[i,m], at least the idle load.
    """

    def __init__(
        self, received: Received, share: PerSlice, on: Bool[np.ndarray, " cell"], idle_load: float
    ) -> None:
        self._received = received
        self._overlap = overlap(share)
        self._floor, self._own = floors(share.shape, on, idle_load)

    def __call__(self, utilisation: PerSlice) -> PerUe:
        heard = np.einsum("kim,im->ki", self._overlap, utilisation)
        np.maximum(heard, self._floor, out=heard)
        heard[self._own] = 0.0
        return np.einsum("ui,ui->u", self._received.snr, heard.take(self._received.key, axis=0))


class RandomInterference:
    """Slices lie anywhere: every UE meets its neighbours' mean load, w[i] = sum_m a rho."""

    def __init__(
        self, received: Received, share: PerSlice, on: Bool[np.ndarray, " cell"], idle_load: float
    ) -> None:
        self._received = received
        self._share = share
        self._floor = idle_load * on
        self._serving = received.key // share.shape[1]

    def __call__(self, utilisation: PerSlice) -> PerUe:
        heard = np.maximum((self._share * utilisation).sum(axis=1), self._floor)
        return self._received.snr @ heard - self._received.signal * heard[self._serving]


def overlap(share: PerSlice) -> Float[np.ndarray, "range cell slice"]:
    """Of each cell's slice's range of PRBs, the part that each cell's each slice covers."""
    end = np.cumsum(share, axis=1)
    start = end - share
    width = np.maximum(share, NARROWEST_SHARE).ravel()
    first = np.minimum(start.ravel(), 1.0 - NARROWEST_SHARE)
    last = first + width
    common = np.minimum(last[:, None], end.ravel()) - np.maximum(first[:, None], start.ravel())
    covered = np.maximum(common, 0.0) / width[:, None]
    return covered.reshape(-1, *share.shape)


def floors(
    shape: tuple[int, int], on: Bool[np.ndarray, " cell"], idle_load: float
) -> tuple[Float[np.ndarray, "range cell"], Bool[np.ndarray, "range cell"]]:
    """Least interference of each cell on each range, and where a range is the cell's own."""
    own = np.repeat(np.eye(shape[0], dtype=bool), shape[1], axis=0)
    return np.where(own, 0.0, idle_load * on), own


class Settled(NamedTuple):
    """Where loads and rates agree."""

    utilisation: PerSlice
    """Share of its own PRBs that each slice uses, at most 1."""
    sinr: PerUe
    """Under the interference of the iterate before: `residual` apart from the one above."""
    residual: float
    """Largest change of a load in the last iteration."""
    iterations: int


def settle(
    received: Received,
    interference: Interference,
    share: PerSlice,
    rate_mbps: Float[np.ndarray, " slice"],
    link: Link,
    bandwidth_hz: float,
    start: PerSlice,
    tolerance: float = TOLERANCE,
) -> Settled:
    """Iterates rho[k,n] = min(1, sum_u lambda / (a B SE(SINR_u(rho)))) from a start.

    `rate_mbps` is what one active UE of each slice offers, lambda.
    """
    per_hz = rate_mbps * 1e6 / bandwidth_hz
    width = np.maximum(share, NARROWEST_SHARE)
    utilisation, residual, iterations = start, np.inf, 0
    sinr = np.zeros(0)
    while residual > tolerance and iterations < MAX_ITERATIONS:
        sinr = received.signal / (1.0 + interference(utilisation))
        work = np.bincount(received.key, 1.0 / link.continuous(sinr), share.size)
        renewed = np.minimum(work.reshape(share.shape) * per_hz / width, 1.0)
        residual = float((np.abs(renewed - utilisation) * share).max())
        utilisation, iterations = renewed, iterations + 1
    return Settled(utilisation, sinr, residual, iterations)
