"""What measurement and observation need to know of a network, without its simulation."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from slicing_rllib.radio import Scenario


@dataclass(frozen=True, kw_only=True)
class ObservedSlice:
    """A slice, as far as observations depend on it."""

    name: str
    """Name of the slice."""
    users: int
    """UEs per cell of the network, active or not: the scale of the number of users."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ObservedNetwork:
    """The part of a `Scenario` that observations depend on, which a policy bundle can keep."""

    cells: tuple[str, ...]
    """Names of the cells, one per row of KPIs."""
    slices: tuple[ObservedSlice, ...]
    """The slices, one per column of KPIs."""
    sla_throughput_mbps: Float[np.ndarray, "cell slice"]
    """Required throughput."""
    sla_delay_ms: Float[np.ndarray, "cell slice"]
    """Highest permitted delay."""
    neighbours: Int[np.ndarray, "cell neighbour"]
    """Rows of each cell's neighbours, most strongly coupled first; -1 fills short rows."""

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return len(self.slices)


Network = Scenario | ObservedNetwork
"""What KPIs are measured in."""
