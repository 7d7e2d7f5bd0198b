"""What a cell sees: its own KPIs and what its neighbours tell it about their load."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from slicing_rllib.radio import Scenario, StepKpis

THROUGHPUT_SCALE_MBPS = 4.0
"""The throughput that an observation shows as one half."""


@runtime_checkable
class Message(Protocol):
    """What the neighbours' loads tell a cell, laid out as a row of fixed width."""

    @property
    def name(self) -> str: ...

    def width(self, n_slices: int) -> int:
        """Numbers per cell."""
        ...

    def __call__(self, load: Float[np.ndarray, "cell slice"]) -> Float[np.ndarray, "cell message"]:
        """The message that each cell receives."""
        ...


@dataclass(frozen=True)
class NoMessage:
    """Cells keep their load to themselves."""

    name: str = "none"

    def width(self, n_slices: int) -> int:
        return 0

    def __call__(self, load: Float[np.ndarray, "cell slice"]) -> Float[np.ndarray, "cell message"]:
        return np.empty((len(load), 0))


class MeanLoad:
    """Mean load of the neighbours, slice by slice: eq. (5)."""

    name = "mean_load"

    def __init__(self, neighbours: Int[np.ndarray, "cell neighbour"]) -> None:
        self._neighbours = neighbours
        self._present = neighbours >= 0
        self._share = 1.0 / np.maximum(self._present.sum(axis=1, keepdims=True), 1)

    def width(self, n_slices: int) -> int:
        return n_slices

    def __call__(self, load: Float[np.ndarray, "cell slice"]) -> Float[np.ndarray, "cell message"]:
        """c_k = 1/|K_k| sum of l_i over the neighbours i of k; zero without neighbours.

        Source: the paper, eq. (5).
        """
        heard = load[self._neighbours] * self._present[:, :, None]
        return heard.sum(axis=1) * self._share


class PerNeighbour:
    """Every neighbour's load by itself, strongest-coupled neighbour first."""

    name = "per_neighbour"

    def __init__(self, neighbours: Int[np.ndarray, "cell neighbour"]) -> None:
        self._neighbours = neighbours
        self._present = neighbours >= 0

    def width(self, n_slices: int) -> int:
        return self._neighbours.shape[1] * n_slices

    def __call__(self, load: Float[np.ndarray, "cell slice"]) -> Float[np.ndarray, "cell message"]:
        heard = load[self._neighbours] * self._present[:, :, None]
        return heard.reshape(len(load), -1)


class AllCells:
    """The load of every cell of the network, oneself included: the same row for all."""

    name = "all_cells"

    def __init__(self, n_cells: int) -> None:
        self._n_cells = n_cells

    def width(self, n_slices: int) -> int:
        return self._n_cells * n_slices

    def __call__(self, load: Float[np.ndarray, "cell slice"]) -> Float[np.ndarray, "cell message"]:
        return np.broadcast_to(load.reshape(1, -1), (len(load), load.size))


MESSAGES = ("none", "mean_load", "per_neighbour", "all_cells")


def make_message(name: str, scenario: Scenario) -> Message:
    """The message of that name for a scenario's neighbour graph.

    Raises: ValueError for a name that is not in MESSAGES.
    """
    match name:
        case "none":
            return NoMessage()
        case "mean_load":
            return MeanLoad(scenario.neighbours)
        case "per_neighbour":
            return PerNeighbour(scenario.neighbours)
        case "all_cells":
            return AllCells(len(scenario.cells))
    raise ValueError(f"message: expected one of {', '.join(MESSAGES)}, got {name!r}")


@dataclass(frozen=True)
class ObservationLayout:
    """Where each quantity stands in an observation: obs[layout.throughput] and so on."""

    n_slices: int
    message_width: int

    @property
    def throughput(self) -> slice:
        """phi / (phi + 4 Mbit/s): monotone, and steep where requirements lie."""
        return slice(0, self.n_slices)

    @property
    def load(self) -> slice:
        """PRBs in use over an equal slice of the carrier: 1 where a quarter of it is, of four."""
        return slice(self.n_slices, 2 * self.n_slices)

    @property
    def users(self) -> slice:
        """Active UEs over the slice's UEs per cell; above 1 where UEs crowd."""
        return slice(2 * self.n_slices, 3 * self.n_slices)

    @property
    def message(self) -> slice:
        """Neighbours' loads, on the scale of `load`."""
        return slice(3 * self.n_slices, self.size)

    @property
    def size(self) -> int:
        return 3 * self.n_slices + self.message_width


class Observer:
    """Turns a step's KPIs into the observations of all cells."""

    def __init__(self, scenario: Scenario, message: Message) -> None:
        self.layout = ObservationLayout(scenario.n_slices, message.width(scenario.n_slices))
        self._message = message
        self._users_scale = 1.0 / np.array([spec.users for spec in scenario.slices])

    def __call__(
        self, kpis: StepKpis, live: Bool[np.ndarray, " cell"]
    ) -> Float32[np.ndarray, "cell obs"]:
        """One float32 row per cell, normalised; zero for cells that are not live."""
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
