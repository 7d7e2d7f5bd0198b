"""The observation of a cell, as one float32 row; the row is zero for a cell that is not live.

Three kinds: the paper's (own KPIs and the neighbours' message); the widened one, which adds offered
and needed shares and the base policy's split; and blocks of per-slice features without a message.
A message is what each cell learns about the load of other cells, as a row of fixed width.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from slicing_rllib.env.base_policies import BASE_POLICIES, Smoothing
from slicing_rllib.env.measurement import Measured
from slicing_rllib.env.protocols import Network

Load = Float[np.ndarray, "cell slice"]
Message = Callable[[Load], Float[np.ndarray, "cell message"]]
"""Computes the message that each cell receives, from the load of all cells."""


def mean_load(neighbours: Int[np.ndarray, "cell neighbour"]) -> Message:
    """c_k = 1/|K_k| * sum of l_i over the neighbours i of k, per slice; 0 without neighbours.

    Source: the paper, eq. (5).
    """
    present = neighbours >= 0
    weight = 1.0 / np.maximum(present.sum(axis=1, keepdims=True), 1)
    return lambda load: (load[neighbours] * present[:, :, None]).sum(axis=1) * weight


def per_neighbour(neighbours: Int[np.ndarray, "cell neighbour"]) -> Message:
    """The load of each neighbour, most strongly coupled neighbour first."""
    present = neighbours >= 0
    return lambda load: (load[neighbours] * present[:, :, None]).reshape(len(load), -1)


def all_cells(load: Load) -> Float[np.ndarray, "cell message"]:
    """The load of every cell of the network: the same row for all cells."""
    return np.broadcast_to(load.reshape(1, -1), (len(load), load.size))


def no_message(load: Load) -> Float[np.ndarray, "cell message"]:
    """An empty message: cells do not exchange their load."""
    return np.empty((len(load), 0))


MESSAGES: dict[str, Callable[[Network], Message]] = {
    "none": lambda _: no_message,
    "mean_load": lambda network: mean_load(network.neighbours),
    "per_neighbour": lambda network: per_neighbour(network.neighbours),
    "all_cells": lambda _: all_cells,
}
"""The messages by name, for the neighbours of a network."""


def make_message(name: str, network: Network) -> Message:
    """The message with that name. Raises: ValueError for a name that is not in MESSAGES."""
    if name not in MESSAGES:
        raise ValueError(f"message: expected one of {', '.join(MESSAGES)}, got {name!r}")
    return MESSAGES[name](network)


THROUGHPUT_SCALE_MBPS = 4.0
"""Throughput at which its part of the observation is 0.5."""
SMALLEST_SPLIT = 0.01
"""Added to shares before their logarithm is taken, so that it stays bounded for empty slices."""
SINR_SCALE_DB = 10.0

Layout = dict[str, slice]
"""The columns of an observation that hold each quantity."""
Columns = list[Float[np.ndarray, "cell column"]]


class Reports(NamedTuple):
    """What observations are computed from."""

    measured: Sequence[Measured]
    """The last reports, the newest one last."""
    base_policy: str
    """One of `BASE_POLICIES`."""
    smoothing: Smoothing

    @property
    def base_split(self) -> Float[np.ndarray, "cell slice"]:
        """The base policy's answer to the reports."""
        return BASE_POLICIES[self.base_policy](self.measured, self.smoothing)


Observe = Callable[[Reports, Network, Message], Columns]

PAPER = ("throughput", "load", "users", "message")
SHARES = ("log_offered", "log_needed", "log_base_split")
PER_SLICE = (
    "log_offered", "log_needed", "log_applied", "utilisation", "log_users",
    "sinr_p10", "sinr_p50", "sinr_p90", "log_base_split",
)  # fmt: skip


def observe_paper(reports: Reports, network: Network, message: Message) -> Columns:
    """The paper's observation.

    Throughput phi / (phi + 4 Mbit/s) is steep in the range of the SLAs. A load of 1, also in
    messages, is a slice that uses its equal share of PRBs. Users are divided by the slice's UEs per
    cell, and above 1 in crowded cells.
    """
    kpis = reports.measured[-1].kpis
    phi = kpis.throughput_mbps
    return [
        phi / (phi + THROUGHPUT_SCALE_MBPS),
        network.n_slices * kpis.load,
        kpis.users * (1.0 / np.array([spec.users for spec in network.slices])),
        network.n_slices * message(kpis.load),
    ]


def observe_widened(reports: Reports, network: Network, message: Message) -> Columns:
    """The paper's observation, then log(x + 0.01) of offered, needed and base policy's share."""
    newest = reports.measured[-1]
    shares = (newest.offered, newest.needed, reports.base_split)
    logs = [np.log(share + SMALLEST_SPLIT) for share in shares]
    return [*observe_paper(reports, network, message), *logs]


def observe_per_slice(reports: Reports, network: Network, message: Message) -> Columns:
    """Blocks of one number per slice, for equivariant actors.

    Messages are left out: their meaning depends on the network.
    """
    newest = reports.measured[-1]
    kpis = newest.kpis
    return [
        np.log(newest.offered + SMALLEST_SPLIT),
        np.log(newest.needed + SMALLEST_SPLIT),
        np.log(kpis.prb_ratio + SMALLEST_SPLIT),
        kpis.utilisation,
        np.log1p(kpis.users),
        kpis.sinr_db_p10 / SINR_SCALE_DB,
        kpis.sinr_db_p50 / SINR_SCALE_DB,
        kpis.sinr_db_p90 / SINR_SCALE_DB,
        np.log(reports.base_split + SMALLEST_SPLIT),
    ]


OBSERVATIONS: dict[str, tuple[tuple[str, ...], Observe]] = {
    "paper": (PAPER, observe_paper),
    "widened": ((*PAPER, *SHARES), observe_widened),
    "per_slice": (PER_SLICE, observe_per_slice),
}
"""The kinds of observations by name: the quantities, and the function that gives their columns."""


class CellObserver:
    """Turns what cells measured into a row per cell.

    Raises: ValueError for an observation or a base policy that does not exist.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        message: Message = no_message,
        base_policy: str = "persistence",
        smoothing: Smoothing | None = None,
    ) -> None:
        """`base_policy` is one of `BASE_POLICIES`: the split that observations end with."""
        if name not in OBSERVATIONS:
            expected = ", ".join(OBSERVATIONS)
            raise ValueError(f"observation: expected one of {expected}, got {name!r}")
        if base_policy not in BASE_POLICIES:
            expected = ", ".join(BASE_POLICIES)
            raise ValueError(f"base_policy: expected one of {expected}, got {base_policy!r}")
        self._network, self._message = network, message
        self._base_policy, self._smoothing = base_policy, smoothing or Smoothing()
        quantities, self._observe = OBSERVATIONS[name]
        message_width = message(np.zeros((len(network.cells), network.n_slices))).shape[1]
        self.layout: Layout = {}
        self.size = 0
        """Length of an observation."""
        for quantity in quantities:
            width = message_width if quantity == "message" else network.n_slices
            self.layout[quantity] = slice(self.size, self.size + width)
            self.size += width

    def __call__(
        self, measured: Sequence[Measured], live: Bool[np.ndarray, " cell"]
    ) -> Float32[np.ndarray, "cell obs"]:
        """A row per cell from the last reports, the newest one last; zeros for cells not live."""
        reports = Reports(measured, self._base_policy, self._smoothing)
        columns = self._observe(reports, self._network, self._message)
        obs = np.concatenate(columns, axis=1, dtype=np.float32)
        obs[~live] = 0.0
        return obs
