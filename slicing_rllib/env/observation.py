"""The observation of a cell, as one float32 row; the row is zero for a cell that is not live.

Three kinds: the paper's (own KPIs and the neighbours' message); the widened one, which adds offered
and needed shares and the base policy's split; and blocks of per-slice features without a message.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from slicing_rllib.env.measurement import Measured
from slicing_rllib.env.messages import Message
from slicing_rllib.env.protocols import Network

THROUGHPUT_SCALE_MBPS = 4.0
"""Throughput at which its part of the observation is 0.5."""
SMALLEST_SPLIT = 0.01
"""Added to shares before their logarithm is taken, so that it stays bounded for empty slices."""
SINR_SCALE_DB = 10.0


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
        return slice(3 * self.n_slices, 3 * self.n_slices + self.message_width)

    @property
    def size(self) -> int:
        """Length of an observation."""
        return self.message.stop


class PaperObserver:
    """The paper's observation: throughput, load, users and the neighbours' message.

    An observer turns what cells measured into a row per cell.
    """

    def __init__(self, network: Network, message: Message) -> None:
        n_cells, n_slices = len(network.cells), network.n_slices
        message_width = message(np.zeros((n_cells, n_slices))).shape[1]
        self.layout = ObservationLayout(n_slices, message_width)
        self._message = message
        self._users_scale = 1.0 / np.array([spec.users for spec in network.slices])

    def __call__(
        self, measured: Measured, live: Bool[np.ndarray, " cell"]
    ) -> Float32[np.ndarray, "cell obs"]:
        kpis, layout = measured.kpis, self.layout
        obs = np.empty((len(live), layout.size), np.float32)
        phi = kpis.throughput_mbps
        obs[:, layout.throughput] = phi / (phi + THROUGHPUT_SCALE_MBPS)
        obs[:, layout.load] = layout.n_slices * kpis.load
        obs[:, layout.users] = kpis.users * self._users_scale
        obs[:, layout.message] = layout.n_slices * self._message(kpis.load)
        obs[~live] = 0.0
        return obs


@dataclass(frozen=True)
class WidenedLayout(ObservationLayout):
    """The paper's observation, then log(x + 0.01) of three shares x of each slice."""

    @property
    def log_offered(self) -> slice:
        """Of the offered share S."""
        return self._block(0)

    @property
    def log_needed(self) -> slice:
        """Of the needed share m."""
        return self._block(1)

    @property
    def log_base_split(self) -> slice:
        """Of the base policy's share a."""
        return self._block(2)

    @property
    def size(self) -> int:
        """Length of an observation."""
        return self.log_base_split.stop

    def _block(self, number: int) -> slice:
        start = self.message.stop + number * self.n_slices
        return slice(start, start + self.n_slices)


class WidenedObserver:
    """The paper's observation and, per slice, log S, log m and log base split."""

    def __init__(self, network: Network, message: Message) -> None:
        self._paper = PaperObserver(network, message)
        self.layout = WidenedLayout(network.n_slices, self._paper.layout.message_width)

    def __call__(
        self, measured: Measured, live: Bool[np.ndarray, " cell"]
    ) -> Float32[np.ndarray, "cell obs"]:
        shares = (measured.offered, measured.needed, measured.base_split)
        logs = np.log(np.concatenate(shares, axis=1) + SMALLEST_SPLIT)
        obs = np.concatenate([self._paper(measured, live), logs], axis=1, dtype=np.float32)
        obs[~live] = 0.0
        return obs


@dataclass(frozen=True)
class PerSliceLayout:
    """Blocks of one number per slice, for equivariant actors."""

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
        """Length of an observation."""
        return len(self.FEATURES) * self.n_slices


class PerSliceObserver:
    """Per slice: log S, log m, log applied share, utilisation, users, SINR, log base split.

    Messages are left out: their meaning depends on the network.
    """

    def __init__(self, network: Network) -> None:
        self.layout = PerSliceLayout(network.n_slices)

    def __call__(
        self, measured: Measured, live: Bool[np.ndarray, " cell"]
    ) -> Float32[np.ndarray, "cell obs"]:
        kpis = measured.kpis
        features = [
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
        obs = np.concatenate(features, axis=1, dtype=np.float32)
        obs[~live] = 0.0
        return obs


Layout = ObservationLayout | PerSliceLayout
CellObserver = PaperObserver | WidenedObserver | PerSliceObserver

OBSERVATIONS: dict[str, Callable[[Network, Message], CellObserver]] = {
    "paper": PaperObserver,
    "widened": WidenedObserver,
    "per_slice": lambda network, _: PerSliceObserver(network),
}
"""The kinds of observations by name."""


def make_observer(name: str, network: Network, message: Message) -> CellObserver:
    """The observer of that name. Raises: ValueError for a name that is not in OBSERVATIONS."""
    if name not in OBSERVATIONS:
        raise ValueError(f"observation: expected one of {', '.join(OBSERVATIONS)}, got {name!r}")
    return OBSERVATIONS[name](network, message)
