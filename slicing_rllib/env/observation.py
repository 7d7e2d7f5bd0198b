"""The observation of a cell, as one float32 row; the row is zero for a cell that is not live.

Four kinds: the paper's (own KPIs and the neighbours' message); the widened one, which adds offered
and needed shares and the base policy's split; blocks of per-slice features without a message; and
those that response curves are learned from, which remember the last reports.
A message is what each cell learns about the load of other cells, as a row of fixed width.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, Float, Float32

from slicing_rllib.env.actor_form import Heard
from slicing_rllib.env.base_policies import Smoothing
from slicing_rllib.env.measurement import Measured
from slicing_rllib.env.protocols import Network
from slicing_rllib.env.response_curves import observe_response
from slicing_rllib.radio import StepKpis
from slicing_rllib.registry import get_part

Load = Float[np.ndarray, "cell slice"]
Message = Callable[[Load], Float[np.ndarray, "cell message"]]
"""Computes the message that each cell receives, from the load of all cells."""


def mean_load(network: Network) -> Message:
    """c_k = 1/|K_k| * sum of l_i over the neighbours i of k, per slice; 0 without neighbours.

    Source: the paper, eq. (5).
    """
    neighbours = network.neighbours
    present = neighbours >= 0
    weight = 1.0 / np.maximum(present.sum(axis=1, keepdims=True), 1)
    return lambda load: (load[neighbours] * present[:, :, None]).sum(axis=1) * weight


def per_neighbour(network: Network) -> Message:
    """The load of each neighbour, most strongly coupled neighbour first."""
    neighbours = network.neighbours
    present = neighbours >= 0
    return lambda load: (load[neighbours] * present[:, :, None]).reshape(len(load), -1)


def all_cells(network: Network) -> Message:
    """The load of every cell of the network: the same row for all cells."""
    return lambda load: np.broadcast_to(load.reshape(1, -1), (len(load), load.size))


def no_message(network: Network) -> Message:
    """An empty message: cells do not exchange their load."""
    return lambda load: np.empty((len(load), 0))


class LearnedMessage:
    """A message that each cell learns to make of its neighbours' reports.

    Observations then contain the load of each neighbour, as with `per_neighbour`; so does the
    replay buffer. Each network of a cell begins with a torch module of its own, which turns these
    reports into the message. Its gradient ends there: no cell learns through another one.

    Args:
        build: f(n_neighbours, n_slices) -> torch module without buffers, from (batch, neighbour,
            slice) to (batch, number). Reports of missing neighbours are zeros.
    """

    def __init__(self, build: Callable[[int, int], Any]) -> None:
        self.build = build

    def __call__(self, network: Network) -> Message:
        """The reports themselves."""
        return per_neighbour(network)


class ReportsBox(spaces.Box):
    """Observations with the neighbours' reports, of which networks make a learned message."""

    heard: Heard


def make_space_of_reports(low: np.ndarray, high: np.ndarray, heard: Heard | None) -> spaces.Box:
    """The space of observations within these bounds; `heard` is None without a learned message."""
    if heard is None:
        return spaces.Box(low, high)
    space = ReportsBox(low, high)
    space.heard = heard
    return space


THROUGHPUT_SCALE_MBPS = 4.0
"""Throughput at which its part of the observation is 0.5."""
SMALLEST_SPLIT = 0.01
"""Added to shares before their logarithm is taken, so that it stays bounded for empty slices."""
SINR_SCALE_DB = 10.0
KPIS = tuple(name for name in StepKpis._fields if name != "phase")
"""KPIs per cell and slice."""

Layout = dict[str, slice]
"""The columns of an observation that hold each quantity."""
Columns = dict[str, Float[np.ndarray, "cell column"]]
"""By the name of each quantity, in the order of the observation."""


class Reports(NamedTuple):
    """What observations are computed from."""

    measured: Sequence[Measured]
    """The last reports, the newest one last."""
    base_policy: str
    """Its name."""
    smoothing: Smoothing

    @property
    def base_split(self) -> Float[np.ndarray, "cell slice"]:
        """The base policy's answer to the reports."""
        return get_part("base_policy", self.base_policy)(self.measured, self.smoothing)


Observe = Callable[[Reports, Network, Message], Columns]


def observe_paper(reports: Reports, network: Network, message: Message) -> Columns:
    """The paper's observation.

    Throughput phi / (phi + 4 Mbit/s) is steep in the range of the SLAs. A load of 1, also in
    messages, is a slice that uses its equal share of PRBs. Users are divided by the slice's UEs per
    cell, and above 1 in crowded cells.
    """
    kpis = reports.measured[-1].kpis
    phi = kpis.throughput_mbps
    return {
        "throughput": phi / (phi + THROUGHPUT_SCALE_MBPS),
        "load": network.n_slices * kpis.load,
        "users": kpis.users * (1.0 / np.array([spec.users for spec in network.slices])),
        "message": network.n_slices * message(kpis.load),
    }


def observe_widened(reports: Reports, network: Network, message: Message) -> Columns:
    """The paper's observation, then log(x + 0.01) of offered, needed and base policy's share."""
    newest = reports.measured[-1]
    return observe_paper(reports, network, message) | {
        "log_offered": np.log(newest.offered + SMALLEST_SPLIT),
        "log_needed": np.log(newest.needed + SMALLEST_SPLIT),
        "log_base_split": np.log(reports.base_split + SMALLEST_SPLIT),
    }


def observe_per_slice(reports: Reports, network: Network, message: Message) -> Columns:
    """Blocks of one number per slice, for equivariant actors.

    Messages are left out: their meaning depends on the network.
    """
    newest = reports.measured[-1]
    kpis = newest.kpis
    return {
        "log_offered": np.log(newest.offered + SMALLEST_SPLIT),
        "log_needed": np.log(newest.needed + SMALLEST_SPLIT),
        "log_applied": np.log(kpis.prb_ratio + SMALLEST_SPLIT),
        "utilisation": kpis.utilisation,
        "log_users": np.log1p(kpis.users),
        "sinr_p10": kpis.sinr_db_p10 / SINR_SCALE_DB,
        "sinr_p50": kpis.sinr_db_p50 / SINR_SCALE_DB,
        "sinr_p90": kpis.sinr_db_p90 / SINR_SCALE_DB,
        "log_base_split": np.log(reports.base_split + SMALLEST_SPLIT),
    }


def observe_response_curves(reports: Reports, network: Network, message: Message) -> Columns:
    """Blocks of one number per slice, for critics per slice; see `response_curves`."""
    newest = reports.measured[-1]
    sla = network.sla_throughput_mbps, network.sla_delay_ms
    return observe_response(reports.measured, *sla, message(newest.kpis.load))


def find_heard(message: str, layout: Layout, network: Network) -> Heard | None:
    """Where observations have the reports for a learned message; None for other messages.

    Raises: ValueError for an observation without them.
    """
    if not isinstance(get_part("message", message), LearnedMessage):
        return None
    columns, n_neighbours = layout.get("message", slice(0, 0)), network.neighbours.shape[1]
    if columns.stop - columns.start != n_neighbours * network.n_slices or n_neighbours == 0:
        raise ValueError(
            f"message {message!r}: expected neighbours, and an observation whose columns "
            "'message' are a number per neighbour and slice, such as paper"
        )
    return Heard(message, columns.start, n_neighbours)


class CellObserver:
    """Turns what cells measured into a row per cell.

    Raises: ValueError for an unknown name, and for an observation that is not a row per cell.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        message: Message,
        base_policy: str = "persistence",
        smoothing: Smoothing | None = None,
    ) -> None:
        """`base_policy` is the name of the rule whose split observations end with."""
        get_part("base_policy", base_policy)
        self._network, self._message = network, message
        self._base_policy, self._smoothing = base_policy, smoothing or Smoothing()
        self._observe: Observe = get_part("observation", name)
        self.layout: Layout = {}
        self.size = 0
        """Length of an observation."""
        nothing = np.zeros((len(network.cells), network.n_slices))
        kpis = StepKpis(**{of: nothing for of in KPIS}, phase=np.zeros(len(nothing), np.int64))
        probe = Reports([Measured(kpis, nothing, nothing)], base_policy, self._smoothing)
        for quantity, columns in self._observe(probe, network, message).items():
            if np.ndim(columns) != 2 or len(columns) != len(nothing):
                raise ValueError(
                    f"observation {name!r}: {quantity}: expected a row for each of "
                    f"{len(nothing)} cells, got shape {np.shape(columns)}"
                )
            self.layout[quantity] = slice(self.size, self.size + columns.shape[1])
            self.size += columns.shape[1]

    def __call__(
        self, measured: Sequence[Measured], live: Bool[np.ndarray, " cell"]
    ) -> Float32[np.ndarray, "cell obs"]:
        """A row per cell from the last reports, the newest one last; zeros for cells not live."""
        reports = Reports(measured, self._base_policy, self._smoothing)
        columns = self._observe(reports, self._network, self._message)
        obs = np.concatenate([*columns.values()], axis=1, dtype=np.float32)
        obs[~live] = 0.0
        return obs
