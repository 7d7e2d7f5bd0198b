"""The observation of a cell: its own KPIs and a message about the load of its neighbours."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from slicing_rllib.env.observed_network import Network
from slicing_rllib.radio import StepKpis

THROUGHPUT_SCALE_MBPS = 4.0
"""Throughput at which its part of the observation is 0.5."""


@runtime_checkable
class Message(Protocol):
    """Computes what each cell learns about the load of other cells, as a row of fixed width."""

    @property
    def name(self) -> str:
        """Name of the message in the configuration."""
        ...

    def width(self, n_slices: int) -> int:
        """Number of values per cell."""
        ...

    def __call__(self, load: Float[np.ndarray, "cell slice"]) -> Float[np.ndarray, "cell message"]:
        """The message that each cell receives, from the load of all cells."""
        ...


class NoMessage:
    """An empty message: cells do not exchange their load."""

    name = "none"

    def width(self, n_slices: int) -> int:
        return 0

    def __call__(self, load: Float[np.ndarray, "cell slice"]) -> Float[np.ndarray, "cell message"]:
        return np.empty((len(load), 0))


class MeanLoad:
    """The mean load of the neighbours, per slice. Source: the paper, eq. (5)."""

    name = "mean_load"

    def __init__(self, neighbours: Int[np.ndarray, "cell neighbour"]) -> None:
        self._neighbours = neighbours
        self._present = neighbours >= 0
        self._weight = 1.0 / np.maximum(self._present.sum(axis=1, keepdims=True), 1)

    def width(self, n_slices: int) -> int:
        return n_slices

    def __call__(self, load: Float[np.ndarray, "cell slice"]) -> Float[np.ndarray, "cell message"]:
        """c_k = 1/|K_k| * sum of l_i over the neighbours i of k; 0 without neighbours.

        Source: the paper, eq. (5).
        """
        neighbour_load = load[self._neighbours] * self._present[:, :, None]
        return neighbour_load.sum(axis=1) * self._weight


class PerNeighbour:
    """The load of each neighbour, most strongly coupled neighbour first."""

    name = "per_neighbour"

    def __init__(self, neighbours: Int[np.ndarray, "cell neighbour"]) -> None:
        self._neighbours = neighbours
        self._present = neighbours >= 0

    def width(self, n_slices: int) -> int:
        return self._neighbours.shape[1] * n_slices

    def __call__(self, load: Float[np.ndarray, "cell slice"]) -> Float[np.ndarray, "cell message"]:
        neighbour_load = load[self._neighbours] * self._present[:, :, None]
        return neighbour_load.reshape(len(load), -1)


class AllCells:
    """The load of every cell of the network: the same row for all cells."""

    name = "all_cells"

    def __init__(self, n_cells: int) -> None:
        self._n_cells = n_cells

    def width(self, n_slices: int) -> int:
        return self._n_cells * n_slices

    def __call__(self, load: Float[np.ndarray, "cell slice"]) -> Float[np.ndarray, "cell message"]:
        return np.broadcast_to(load.reshape(1, -1), (len(load), load.size))


MESSAGES = ("none", "mean_load", "per_neighbour", "all_cells")


def make_message(name: str, network: Network) -> Message:
    """The message with that name, for the neighbours of a network.

    Raises: ValueError for a name that is not in MESSAGES.
    """
    match name:
        case "none":
            return NoMessage()
        case "mean_load":
            return MeanLoad(network.neighbours)
        case "per_neighbour":
            return PerNeighbour(network.neighbours)
        case "all_cells":
            return AllCells(len(network.cells))
        case _:
            raise ValueError(f"message: expected one of {', '.join(MESSAGES)}, got {name!r}")


@dataclass(frozen=True)
class ObservationLayout:
    """The slice of an observation that holds each quantity: obs[layout.throughput] and so on."""

    n_slices: int
    """Number of slices of a cell."""
    message_width: int
    """Number of values of a message."""

    @property
    def throughput(self) -> slice:
        """phi / (phi + 4 Mbit/s) per slice, in [0, 1]; steep in the range of the SLAs."""
        return slice(0, self.n_slices)

    @property
    def load(self) -> slice:
        """Load per slice times the number of slices: 1 if a slice uses its equal share of PRBs."""
        return slice(self.n_slices, 2 * self.n_slices)

    @property
    def users(self) -> slice:
        """Active UEs per slice over the slice's UEs per cell; above 1 in crowded cells."""
        return slice(2 * self.n_slices, 3 * self.n_slices)

    @property
    def message(self) -> slice:
        """The message, on the scale of `load`."""
        return slice(3 * self.n_slices, self.size)

    @property
    def size(self) -> int:
        """Length of an observation."""
        return 3 * self.n_slices + self.message_width


class Observer:
    """Computes the observations of all cells from the KPIs of a step."""

    def __init__(self, network: Network, message: Message) -> None:
        self.layout = ObservationLayout(network.n_slices, message.width(network.n_slices))
        self._message = message
        self._users_scale = 1.0 / np.array([spec.users for spec in network.slices])

    def __call__(
        self, kpis: StepKpis, live: Bool[np.ndarray, " cell"]
    ) -> Float32[np.ndarray, "cell obs"]:
        """One normalised row per cell; zeros for cells that are not live."""
        layout = self.layout
        obs = np.empty((len(live), layout.size), np.float32)
        phi = kpis.throughput_mbps
        obs[:, layout.throughput] = phi / (phi + THROUGHPUT_SCALE_MBPS)
        obs[:, layout.load] = layout.n_slices * kpis.load
        obs[:, layout.users] = kpis.users * self._users_scale
        obs[:, layout.message] = layout.n_slices * self._message(kpis.load)
        if not live.all():
            obs[~live] = 0.0
        return obs
