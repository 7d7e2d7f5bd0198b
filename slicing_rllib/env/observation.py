"""The observation of a cell: its own KPIs and a message about the load of its neighbours.

Observations that also hold offered and needed shares, and the split that follows from them.

How an actor reads an observation: the contract between observations and actors.

Training (torch) and evaluation (NumPy) compute the same actor from the same form.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from slicing_rllib.env.measurement import Measured
from slicing_rllib.env.protocols import Network
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


OBSERVATIONS = ("paper", "widened", "per_slice")
SMALLEST_SPLIT = 0.01
"""Added to shares before their logarithm is taken, so that it stays bounded for empty slices."""
SINR_SCALE_DB = 10.0


@runtime_checkable
class CellObserver(Protocol):
    """Turns what cells measured into their observations."""

    @property
    def layout(self) -> "Layout":
        """Where each quantity stands."""
        ...

    def __call__(
        self, measured: Measured, live: Bool[np.ndarray, " cell"]
    ) -> Float32[np.ndarray, "cell obs"]:
        """One float32 row per cell; zeros for cells that are not live."""
        ...


@runtime_checkable
class Layout(Protocol):
    """Where quantities stand in an observation."""

    @property
    def size(self) -> int:
        """Numbers per cell."""
        ...


@dataclass(frozen=True)
class WidenedLayout(ObservationLayout):
    """The paper's observation, then log S, log m, and the log of the base policy's split."""

    @property
    def message(self) -> slice:
        """Neighbours' loads, on the scale of `load`."""
        return slice(3 * self.n_slices, 3 * self.n_slices + self.message_width)

    @property
    def log_offered(self) -> slice:
        """log(S + 0.01) of each slice's offered share S."""
        return self._block(0)

    @property
    def log_needed(self) -> slice:
        """log(m + 0.01) of each slice's needed share m."""
        return self._block(1)

    @property
    def log_base_split(self) -> slice:
        """log(a + 0.01) of the base policy's share a of each slice."""
        return self._block(2)

    @property
    def size(self) -> int:
        """Numbers per cell."""
        return self.log_base_split.stop

    def _block(self, number: int) -> slice:
        start = self.message.stop + number * self.n_slices
        return slice(start, start + self.n_slices)


class WidenedObserver:
    """The paper's observation and, per slice, log S, log m and log base split."""

    def __init__(self, network: Network, message: Message) -> None:
        """`message` is what neighbours tell, as in the paper's observation."""
        self._paper = Observer(network, message)
        self.layout = WidenedLayout(network.n_slices, message.width(network.n_slices))

    def __call__(
        self, measured: Measured, live: Bool[np.ndarray, " cell"]
    ) -> Float32[np.ndarray, "cell obs"]:
        """One float32 row per cell; zeros for cells that are not live."""
        shares = (measured.offered, measured.needed, measured.base_split)
        logs = np.log(np.concatenate(shares, axis=1) + SMALLEST_SPLIT)
        obs = np.concatenate([self._paper(measured.kpis, live), logs], axis=1, dtype=np.float32)
        obs[~live] = 0.0
        return obs


@dataclass(frozen=True)
class PerSliceLayout:
    """Blocks of one number per slice, for equivariant actors; no message is among them."""

    n_slices: int
    FEATURES = (
        "log_offered",
        "log_needed",
        "log_applied",
        "utilisation",
        "log_users",
        "sinr_p10",
        "sinr_p50",
        "sinr_p90",
        "log_base_split",
    )

    def __getitem__(self, feature: str) -> slice:
        """Columns of a feature of all slices. Raises: ValueError for an unknown feature."""
        start = self.FEATURES.index(feature) * self.n_slices
        return slice(start, start + self.n_slices)

    @property
    def log_base_split(self) -> slice:
        """log(a + 0.01) of the base policy's share a of each slice."""
        return self["log_base_split"]

    @property
    def size(self) -> int:
        """Numbers per cell."""
        return len(self.FEATURES) * self.n_slices


class PerSliceObserver:
    """Per slice: log S, log m, log applied share, utilisation, users, SINR, log base split."""

    def __init__(self, network: Network) -> None:
        """Messages are left out: their meaning depends on the network."""
        self.layout = PerSliceLayout(network.n_slices)

    def __call__(
        self, measured: Measured, live: Bool[np.ndarray, " cell"]
    ) -> Float32[np.ndarray, "cell obs"]:
        """One float32 row per cell; zeros for cells that are not live."""
        obs = np.concatenate(self._compute_features(measured), axis=1, dtype=np.float32)
        obs[~live] = 0.0
        return obs

    @staticmethod
    def _compute_features(measured: Measured) -> list[Float[np.ndarray, "cell slice"]]:
        kpis = measured.kpis
        return [
            np.log(measured.offered + SMALLEST_SPLIT),
            np.log(measured.needed + SMALLEST_SPLIT),
            np.log(kpis.prb_ratio + SMALLEST_SPLIT),
            kpis.utilisation,
            np.log1p(kpis.users),
            kpis.sinr_db_p10 / SINR_SCALE_DB,
            kpis.sinr_db_p50 / SINR_SCALE_DB,
            kpis.sinr_db_p90 / SINR_SCALE_DB,
            np.log(measured.base_split + SMALLEST_SPLIT),
        ]


class PaperObserver:
    """The paper's observation: throughput, load, users and the neighbours' message."""

    def __init__(self, network: Network, message: Message) -> None:
        """`message` is what neighbours tell."""
        self._observer = Observer(network, message)
        self.layout = self._observer.layout

    def __call__(
        self, measured: Measured, live: Bool[np.ndarray, " cell"]
    ) -> Float32[np.ndarray, "cell obs"]:
        """One float32 row per cell; zeros for cells that are not live."""
        return self._observer(measured.kpis, live)


def make_observer(name: str, network: Network, message: Message) -> CellObserver:
    """The observer of that name. Raises: ValueError for a name that is not in OBSERVATIONS."""
    match name:
        case "paper":
            return PaperObserver(network, message)
        case "widened":
            return WidenedObserver(network, message)
        case "per_slice":
            return PerSliceObserver(network)
        case _:
            known = ", ".join(OBSERVATIONS)
            raise ValueError(f"observation: expected one of {known}, got {name!r}")


ActorKind = Literal["mlp", "equivariant"]
BasePolicy = Literal["none", "persistence"]
Squash = Literal["softmax", "tanh"]
"""How logits become an action: shares with a sum of 1, or numbers from -1 to 1."""

POOLED_FEATURES = 3
"""An equivariant actor sees each per-slice feature itself, its mean and its maximum over slices."""


@dataclass(frozen=True)
class ActorForm:
    """What is built around an actor's MLP.

    With a *base policy*, the last columns of an observation are the logarithms of the split that a
    model proposes, and the MLP's output is a correction that is added to them. An *equivariant*
    actor applies one MLP to every slice: relabelling slices relabels its answer, and its weights
    serve any number of slices.
    """

    n_actions: int
    """Components of an action: slices."""
    kind: ActorKind = "mlp"
    """`equivariant` needs observations that are blocks of `n_actions` per-slice features."""
    base_policy: BasePolicy = "none"
    """With `persistence`, the observation's last `n_actions` columns are added to the logits."""
    squash: Squash = "softmax"
    """`tanh` is for bounded actions; whoever applies them scales -1 to 1 to the action's bounds."""

    def __post_init__(self) -> None:
        """Raises: ValueError where an actor that divides a whole is to give bounded actions."""
        if self.squash == "tanh" and (self.kind, self.base_policy) != ("mlp", "none"):
            raise ValueError(
                "actor equivariant and base_policy persistence: expected actions on a simplex, "
                "got bounded actions; actor mlp and base_policy none work with both"
            )

    def compute_widths(self, obs_size: int, hiddens: tuple[int, ...]) -> tuple[int, ...]:
        """Widths of the MLP's layers, input and output included.

        Raises: ValueError for an observation that an equivariant actor cannot read.
        """
        if self.kind == "mlp":
            return (obs_size, *hiddens, self.n_actions)
        n_features, rest = divmod(obs_size, self.n_actions)
        if rest:
            raise ValueError(
                f"equivariant actor: expected blocks of {self.n_actions} per-slice features, got "
                f"{obs_size} numbers; env.observation=per_slice has them"
            )
        return (POOLED_FEATURES * n_features, *hiddens, 1)
