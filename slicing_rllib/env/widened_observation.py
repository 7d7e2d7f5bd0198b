"""Observations that also hold offered and needed shares, and the split that follows from them."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32

from slicing_rllib.env.measurement import Measured
from slicing_rllib.env.observation import Message, ObservationLayout, Observer
from slicing_rllib.env.observed_network import Network

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
